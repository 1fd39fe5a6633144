//! Experiments: who answers, what it counts as, and what no client ever sees.

use inference_scoring::Trial;
use router::{Happening, NoEvidence, NotTaken, Told};
use traffic::assignment::{Assigner, Key};
use traffic::evidence::experiment::{Evidence, Sums};
use traffic::table::experiment::Arm;

use super::*;

const CONTROL: Arm = Arm::CONTROL;

fn arm(place: usize) -> Arm {
    Arm::new(place).unwrap()
}

/// A table whose stable revision is the control, with one variant beside it or two.
fn table_of(generation: u64, stable: &Server, variants: &[&Server], change: Value) -> Value {
    let mut table = table(generation, json!([row("s", "Stable", 10_000, &[stable])]));
    let share = 10_000 / (variants.len() + 1);
    let mut all = vec![json!({"name": "v1", "slots": [[0, share]]})];
    for (place, server) in variants.iter().enumerate() {
        let from = share * (place + 1);
        all.push(json!({
            "name": format!("v{}", place + 2), "revision": (["c", "d"][place]),
            "endpoints": [server.address.to_string()], "slots": [[from, from + share]],
        }));
    }
    table["experiment"] = json!({
        "name": "e", "uid": "e1", "epoch": 1, "salt": "salt", "mode": "Split", "control": "v1",
        "key": {"header": "x-user-id"}, "variants": all,
        "overrides": [{"header": "x-variant", "value": "v2", "variant": "v2"}],
        "metrics": [
            {"name": "reward", "signal": "Score"},
            {"name": "errors", "signal": "Errors"},
            {"name": "time", "signal": "Latency"},
            {"name": "clicks", "event": "click"},
            {"name": "pref", "preferences": true},
        ],
    });
    for (member, value) in change.as_object().unwrap() {
        table["experiment"][member] = value.clone();
    }
    // Of a few users half may fail at once.
    table["fallback"]["budgetPercent"] = json!(100);
    table
}

fn of_user(user: &str) -> ScoreRequest {
    let mut request = request("text");
    request.origin = Arc::new(Origin {
        key: "the prompt".to_owned(),
        trial: Some(Trial {
            user: Some(user.to_owned()),
            headers: Vec::new(),
        }),
        ..Origin::default()
    });
    request
}

async fn ask_as(router: &Router, user: &str) -> Result<Scores, ScoreError> {
    router.score(of_user(user)).await
}

fn variant(scores: &Scores) -> Option<&str> {
    scores.variant.as_deref()
}

fn evidence(router: &Router) -> Evidence {
    router.experiment_evidence(None, None).unwrap()
}

fn sums(router: &Router) -> Sums {
    evidence(router).sums
}

/// Requests and errors of an arm.
fn counted(router: &Router, arm: Arm) -> (u64, u64) {
    let total = sums(router).arm(arm).unwrap().cells.total();
    (total.requests, total.errors)
}

async fn two(change: Value) -> (Server, Server, Router) {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let router = over(&table_of(1, &stable, &[&other], change)).await;
    (stable, other, router)
}

fn user(number: usize) -> String {
    format!("user {number}")
}

#[tokio::test]
async fn a_user_has_one_arm_in_every_router_and_says_which() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let table = table_of(1, &stable, &[&other], json!({}));
    let (one, two) = (over(&table).await, over(&table).await);
    let mut arms = [0, 0];
    for number in 0..60 {
        let user = user(number);
        let scores = ask_as(&one, &user).await.unwrap();
        let by = [("v1", "s"), ("v2", "c")];
        let place = usize::from(revision(&scores) == "c");
        arms[place] += 1;
        assert_eq!((variant(&scores).unwrap(), revision(&scores)), by[place]);
        let again = ask_as(&two, &user).await.unwrap();
        assert_eq!(variant(&again), variant(&scores));
    }
    assert!(arms.iter().all(|of| *of > 15), "{arms:?}");
    let sums = sums(&one);
    let users = [CONTROL, arm(1)].map(|arm| usize::try_from(sums.users.of(arm)).unwrap());
    assert_eq!(users, arms);
    assert_eq!(counted(&one, CONTROL).0 + counted(&one, arm(1)).0, 60);
    // A text of four bytes has the score 4 here.
    let rewards = sums.metric(0, arm(1)).unwrap().cells.total();
    assert_eq!(rewards.count, u64::try_from(arms[1]).unwrap());
    assert!((rewards.sum - 4.0 * f64::from(u32::try_from(arms[1]).unwrap())).abs() < 1e-9);
    assert_eq!(evidence(&one).ready, [1, 1]);
}

#[tokio::test]
async fn what_a_variant_does_not_answer_no_client_sees_and_is_its_error() {
    for does in [
        Does::Fails,
        Does::NotANumber,
        Does::Refuses,
        Does::IsNotReady,
        Does::Breaks,
        Does::Babbles,
    ] {
        let (_stable, other, router) = two(json!({})).await;
        other.now(does.clone());
        for number in 0..40 {
            let scores = ask_as(&router, &user(number)).await.unwrap();
            assert!(scores.scores[0].is_finite(), "{does:?}");
            assert_eq!(revision(&scores), "s", "{does:?}");
        }
        let (requests, errors) = counted(&router, arm(1));
        assert!(
            requests > 10 && errors == requests,
            "{does:?}: {errors} of {requests}"
        );
        assert_eq!(counted(&router, CONTROL).1, 0, "{does:?}");
        let sums = sums(&router);
        assert_eq!(sums.arm(arm(1)).unwrap().fallbacks, errors, "{does:?}");
        // Its users stay in their arm, and had an error.
        assert_eq!(
            sums.users.with(arm(1), 1),
            sums.users.of(arm(1)),
            "{does:?}"
        );
    }
}

/// With the budget of fallbacks that is shipped, a fifth.
#[tokio::test]
async fn users_of_a_variant_that_fails_wholly_are_stables_after_ten_requests_and_come_back() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let mut table = table_of(1, &stable, &[&other], json!({}));
    table["fallback"] = json!({"enabled": true, "hedgeAfterMs": 300, "budgetPercent": 20});
    let router = over(&table).await;
    // Enough for a budget to be there, and as many again.
    for number in 0..60 {
        ask_as(&router, &user(number)).await.unwrap();
    }
    let before = counted(&router, arm(1)).0;
    other.now(Does::Fails);
    let mut failed = 0;
    for number in 0..400 {
        failed += u32::from(ask_as(&router, &user(number)).await.is_err());
    }
    assert!(failed <= 10, "{failed}");
    let (requests, errors) = counted(&router, arm(1));
    assert!(requests - before > 150);
    // All of them are the variant's errors, though hardly any was sent to it.
    assert_eq!(errors, requests - before);
    let sent = other.questions();
    let alone = || router.experiment_figures().variants[1].1.is_left_alone;
    assert!(alone() && sent < 100, "{sent}");
    other.now(Does::Scores);
    let number = (0..60).find(|number| {
        // Its users stay in their arm.
        let of = Assigner::new("salt").place(Key::prompt(user(*number).as_bytes()));
        of.slot.get() >= 5_000
    });
    let user = user(number.unwrap());
    let until = Instant::now() + Duration::from_secs(10);
    while alone() && Instant::now() < until {
        ask_as(&router, &user).await.unwrap();
        tokio::time::sleep(20 * MS).await;
    }
    assert_eq!(revision(&ask_as(&router, &user).await.unwrap()), "c");
}

#[tokio::test]
async fn what_a_variant_declines_and_stable_scores_is_the_variants_error() {
    let (stable, other, router) = two(json!({})).await;
    other.now(Does::Declines);
    for number in 0..12 {
        let scores = ask_as(&router, &user(number)).await.unwrap();
        assert_eq!(revision(&scores), "s");
    }
    let (requests, errors) = counted(&router, arm(1));
    assert!(requests > 2 && errors == requests);
    // What both decline is the client's.
    stable.now(Does::Declines);
    for number in 0..12 {
        let declined = ask_as(&router, &user(number)).await.unwrap_err();
        assert!(matches!(declined, ScoreError::Input { .. }));
    }
    assert_eq!(counted(&router, arm(1)), (2 * requests, errors));
    assert_eq!(counted(&router, CONTROL).1, 0);
}

#[tokio::test]
async fn a_variant_that_hangs_is_answered_for_and_how_long_it_took_is_known_later() {
    let (_stable, other, router) = two(json!({})).await;
    other.now(Does::After(500 * MS));
    let began = Instant::now();
    let asked: Vec<_> = (0..20)
        .map(|number| {
            let router = router.clone();
            tokio::spawn(async move { ask_as(&router, &user(number)).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(revision(&asked.await.unwrap().unwrap()), "s");
    }
    assert!(began.elapsed() < 490 * MS, "{:?}", began.elapsed());
    let (requests, errors) = counted(&router, arm(1));
    assert!(requests > 3 && errors == requests);
    let slow = |router: &Router| {
        let sums = sums(router);
        let latencies = sums.metric(2, arm(1)).unwrap().latencies.clone().unwrap();
        // Those above 480 ms.
        let edges = traffic::evidence::experiment::Latencies::edges();
        let from = edges.partition_point(|edge| *edge < 480.0);
        latencies.counts()[from..].iter().sum::<u64>()
    };
    until(|| slow(&router) == requests).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_variant_that_hangs_has_seen_its_error() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let mut table = table_of(1, &stable, &[&other], json!({}));
    table["fallback"] = json!({"enabled": false, "hedgeAfterMs": 30});
    let router = over(&table).await;
    other.now(Does::Hangs);
    for number in 0..20 {
        let _ = tokio::time::timeout(50 * MS, ask_as(&router, &user(number))).await;
    }
    let (requests, errors) = counted(&router, arm(1));
    assert!(requests > 3 && errors == requests);
    assert_eq!(counted(&router, CONTROL).1, 0);
}

#[tokio::test]
async fn a_variant_that_nobody_serves_any_more_is_answered_for() {
    let (_stable, other, router) = two(json!({})).await;
    ask_as(&router, "a").await.unwrap();
    other.vanish();
    until(|| evidence(&router).ready == [1, 0]).await;
    for number in 0..30 {
        assert_eq!(
            revision(&ask_as(&router, &user(number)).await.unwrap()),
            "s"
        );
    }
    let (requests, errors) = counted(&router, arm(1));
    assert!(
        errors > 5 && requests - errors <= 1,
        "{errors} of {requests}"
    );
}

#[tokio::test]
async fn no_arm_has_users_before_it_is_known_of_all_who_serves_them() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let mut table = table_of(1, &stable, &[&other], json!({}));
    let variant = &mut table["experiment"]["variants"][1];
    variant["endpoints"] = json!([]);
    variant["service"] = json!("other-c");
    let router = Router::new(Identity {
        pod: "router-a".to_owned(),
        instance: "1".to_owned(),
    });
    offer(&router, &table).unwrap();
    tokio::spawn(router.clone().probe());
    until(|| router.report().revisions[0].ready == 1).await;
    assert!(!router.is_synced());
    for number in 0..20 {
        let scores = ask_as(&router, &user(number)).await.unwrap();
        assert_eq!(
            (revision(&scores), super::experiment::variant(&scores)),
            ("s", None)
        );
    }
    assert!(sums(&router).users.is_empty());
    let seen = router::Seen {
        address: other.address.to_string(),
        uid: "pod".to_owned(),
        ready: true,
        serving: true,
    };
    let names = router.wanted_elsewhere().borrow().clone();
    assert!(names.contains("other-c"));
    router.seen_elsewhere(names, [("other-c".to_owned(), vec![seen])].into());
    assert!(router.is_synced());
    for number in 0..20 {
        ask_as(&router, &user(number)).await.unwrap();
    }
    assert_eq!(sums(&router).users.len(), 20);
    assert!(other.questions() > 3);
}

#[tokio::test]
async fn users_whose_slot_is_nobodys_are_served_as_ever_and_counted_in_nothing() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let mut table = table_of(1, &stable, &[&other], json!({}));
    for variant in table["experiment"]["variants"].as_array_mut().unwrap() {
        variant["slots"] = json!([]);
    }
    let router = over(&table).await;
    for number in 0..20 {
        let scores = ask_as(&router, &user(number)).await.unwrap();
        assert_eq!((revision(&scores), variant(&scores)), ("s", None));
    }
    // What is pinned or measures is in no experiment either.
    let mut pinned = of_user("a");
    pinned.origin = Arc::new(Origin {
        pin: Some("s".to_owned()),
        ..(*pinned.origin).clone()
    });
    router.score(pinned).await.unwrap();
    let sums = sums(&router);
    assert_eq!((sums.users.len(), counted(&router, CONTROL)), (0, (0, 0)));
}

#[tokio::test]
async fn without_a_user_key_stable_answers_or_nobody_and_it_is_counted() {
    for (rule, refused) in [("Control", false), ("Reject", true)] {
        let (_stable, other, router) = two(json!({"onMissingKey": rule})).await;
        for key in [None, Some(String::new())] {
            let mut request = of_user("");
            request.origin = Arc::new(Origin {
                trial: Some(Trial {
                    user: key,
                    headers: Vec::new(),
                }),
                ..(*request.origin).clone()
            });
            let answer = router.score(request).await;
            match answer {
                Ok(scores) => assert_eq!((refused, variant(&scores)), (false, None)),
                Err(ScoreError::Input { message, .. }) => {
                    assert!(refused && message.contains("header x-user-id"), "{message}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        let sums = sums(&router);
        let counts = (sums.counts.missing_key, sums.counts.refused_key);
        assert_eq!(counts, if refused { (0, 2) } else { (2, 0) });
        assert_eq!((sums.users.len(), other.questions()), (0, 0));
    }
}

#[tokio::test]
async fn a_header_chooses_the_variant_and_the_request_is_no_evidence() {
    let (_stable, other, router) = two(json!({})).await;
    for number in 0..10 {
        let mut request = of_user(&user(number));
        let headers = vec![("x-variant".to_owned(), "v2".to_owned())];
        request.origin = Arc::new(Origin {
            trial: Some(Trial {
                user: None,
                headers,
            }),
            ..(*request.origin).clone()
        });
        let scores = router.score(request).await.unwrap();
        assert_eq!((revision(&scores), variant(&scores)), ("c", Some("v2")));
    }
    let sums = sums(&router);
    assert_eq!((sums.users.len(), sums.counts.overridden), (0, 10));
    assert_eq!((other.questions(), counted(&router, arm(1))), (10, (0, 0)));
}

#[tokio::test]
async fn a_table_without_an_experiment_counts_nothing_new() {
    let stable = Server::start("s").await;
    let router = over(&table(1, json!([row("s", "Stable", 10_000, &[&stable])]))).await;
    assert_eq!(router.wanted(), None);
    let scores = ask_as(&router, "a").await.unwrap();
    assert_eq!(variant(&scores), None);
    assert_eq!(
        router.experiment_evidence(None, None),
        Err(NoEvidence::NoExperiment)
    );
    let figures = router.experiment_figures();
    assert!(figures.epoch.is_none() && figures.variants.is_empty());
    assert_eq!(router.happened(&[click("a")]), Err(NotTaken::NoExperiment));
}

async fn paired() -> (Server, [Server; 2], Router) {
    let stable = Server::start("s").await;
    let others = [Server::start("c").await, Server::start("d").await];
    let change = json!({"mode": "Paired"});
    let router = over(&table_of(1, &stable, &[&others[0], &others[1]], change)).await;
    (stable, others, router)
}

#[tokio::test]
async fn in_pairs_the_control_answers_and_every_variant_scores_afterwards() {
    let (stable, others, router) = paired().await;
    for number in 0..20 {
        let scores = ask_as(&router, &user(number)).await.unwrap();
        assert_eq!((revision(&scores), variant(&scores)), ("s", Some("v1")));
    }
    for place in [1, 2] {
        let paired = || sums(&router).arm(arm(place)).unwrap().paired;
        until(|| paired() == 20).await;
        let sums = sums(&router);
        let of = sums.arm(arm(place)).unwrap();
        assert_eq!(
            (of.eligible, of.missing.total(), of.cells.total().errors),
            (20, 0, 0)
        );
        let pairs = sums.metric(0, arm(place)).unwrap().pairs.clone().unwrap();
        assert_eq!((pairs.cells.total().count, pairs.differ), (20, 0));
        assert_eq!(others[place - 1].seen.bulk.load(Ordering::SeqCst), 20);
    }
    assert_eq!((stable.questions(), sums(&router).users.len()), (20, 20));
}

#[tokio::test]
async fn a_variant_that_hangs_slows_nothing_and_keeps_no_other_one_from_scoring() {
    let (_stable, others, router) = paired().await;
    others[0].now(Does::Hangs);
    let began = Instant::now();
    for number in 0..300 {
        ask_as(&router, &user(number)).await.unwrap();
    }
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    until(|| sums(&router).arm(arm(2)).unwrap().paired == 300).await;
    let sums = sums(&router);
    let hung = sums.arm(arm(1)).unwrap();
    // 256 wait or are worked on; the rest had no room.
    assert_eq!(
        (hung.eligible, hung.paired, hung.missing.full),
        (300, 0, 44)
    );
    assert_eq!(hung.cells.total().errors, 44);
    assert_eq!(sums.arm(arm(2)).unwrap().missing.total(), 0);
    assert_eq!(sums.arm(CONTROL).unwrap().cells.total().errors, 0);
}

#[tokio::test]
async fn a_pair_that_is_missing_is_that_variants_error() {
    for does in [Does::Fails, Does::NotANumber, Does::Breaks, Does::Declines] {
        let (_stable, others, router) = paired().await;
        others[1].now(does.clone());
        for number in 0..10 {
            ask_as(&router, &user(number)).await.unwrap();
        }
        until(|| sums(&router).arm(arm(2)).unwrap().missing.failed == 10).await;
        until(|| sums(&router).arm(arm(1)).unwrap().paired == 10).await;
        let sums = sums(&router);
        assert_eq!(
            sums.arm(arm(2)).unwrap().cells.total().errors,
            10,
            "{does:?}"
        );
        assert_eq!(
            sums.arm(arm(1)).unwrap().cells.total().errors,
            0,
            "{does:?}"
        );
    }
}

fn pair_of(prompt: &str, chosen: &str, rejected: &str) -> router::Preference {
    router::Preference {
        prompt: prompt.to_owned(),
        chosen: chosen.to_owned(),
        rejected: rejected.to_owned(),
        user: None,
    }
}

#[tokio::test]
async fn all_variants_score_a_labelled_pair_a_tie_is_wrong_and_so_is_who_does_not_answer() {
    let (stable, others, router) = paired().await;
    others[0].now(Does::Constant);
    others[1].now(Does::Fails);
    let pairs = vec![
        pair_of("one", "the longer one", "short"),
        pair_of("two", "short", "the longer one"),
    ];
    assert_eq!(router.prefer(pairs.clone()).unwrap().accepted, 2);
    until(|| sums(&router).rights.len() == 2).await;
    let rights = sums(&router).rights;
    let [second, third] = [1, 2].map(|place| rights.counts(arm(place)));
    assert_eq!((second.control_alone, second.both_wrong), (1, 1));
    assert_eq!((third.control_alone, third.both_wrong), (1, 1));
    assert_eq!((rights.missing, stable.questions()), ([0, 0, 2, 0], 2));
    assert_eq!(router.prefer(pairs).unwrap().repeated, 2);
    // Nobody was seen, and nothing was asked for a client.
    assert_eq!(sums(&router).users.len(), 0);
    // What the control does not score is no pair, and may be sent again.
    stable.now(Does::Fails);
    router
        .prefer(vec![pair_of("three", "longer", "short")])
        .unwrap();
    until(|| sums(&router).rights.failed == 1).await;
}

fn click(user: &str) -> Happening {
    Happening {
        user: user.to_owned(),
        event: "click".to_owned(),
        value: 1.0,
        id: None,
    }
}

fn told(told: &Told) -> [usize; 5] {
    [
        told.accepted,
        told.repeated,
        told.unknown_events,
        told.unknown_users,
        told.after,
    ]
}

fn clicks(sums: &Sums) -> u64 {
    let arms = [CONTROL, arm(1)].map(|arm| sums.metric(3, arm).unwrap().cells.total().count);
    arms.into_iter().sum()
}

#[tokio::test]
async fn events_count_for_the_arm_of_their_user_and_what_is_not_taken_is_told() {
    let (_stable, _other, router) = two(json!({})).await;
    ask_as(&router, "a").await.unwrap();
    let twice = Happening {
        id: Some("7".to_owned()),
        ..click("a")
    };
    let unknown = Happening {
        event: "purchase".to_owned(),
        ..click("a")
    };
    // Whether another router has seen b is known when both are read together.
    let sent = [click("a"), twice.clone(), twice, unknown, click("b")];
    assert_eq!(told(&router.happened(&sent).unwrap()), [3, 1, 1, 0, 0]);
    let sums = sums(&router);
    assert_eq!((clicks(&sums), sums.unseen.len()), (2, 1));
    let settled = sums.settled();
    assert_eq!((clicks(&settled), settled.counts.unknown_users), (2, 1));
    let wrong = [click("a"), click("a\0")];
    assert_eq!(router.happened(&wrong), Err(NotTaken::User { index: 1 }));
    let many = vec![click("a"); 257];
    assert_eq!(router.happened(&many), Err(NotTaken::TooMany));
}

#[tokio::test]
async fn a_late_event_counts_for_the_epoch_of_its_score_and_after_the_verdict_for_none() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let router = over(&table_of(1, &stable, &[&other], json!({}))).await;
    ask_as(&router, "a").await.unwrap();
    ask_as(&router, "b").await.unwrap();
    offer(
        &router,
        &table_of(2, &stable, &[&other], json!({"epoch": 2})),
    )
    .unwrap();
    ask_as(&router, "b").await.unwrap();
    assert_eq!(
        told(&router.happened(&[click("a"), click("b")]).unwrap()),
        [2, 0, 0, 0, 0]
    );
    let closed = router.experiment_evidence(None, Some(1)).unwrap();
    assert!(closed.closed);
    assert_eq!(
        (clicks(&closed.sums), closed.sums.counts.late_events),
        (1, 1)
    );
    let open = evidence(&router);
    assert_eq!(
        (
            open.subject.epoch,
            clicks(&open.sums),
            open.sums.users.len()
        ),
        (2, 1, 1)
    );
    let none = router.experiment_evidence(None, Some(3));
    assert_eq!(none, Err(NoEvidence::NoEpoch));
    // The experiment is over: what was counted stays, and what comes is told apart.
    offer(
        &router,
        &table(3, json!([row("s", "Stable", 10_000, &[&stable])])),
    )
    .unwrap();
    let scores = ask_as(&router, "b").await.unwrap();
    assert_eq!((revision(&scores), variant(&scores)), ("s", None));
    assert_eq!(
        told(&router.happened(&[click("b")]).unwrap()),
        [0, 0, 0, 0, 1]
    );
    let last = evidence(&router).sums;
    assert_eq!(
        (clicks(&last), last.counts.events_after, last.users.len()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn an_experiment_that_comes_back_goes_on_and_another_one_begins_anew() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let router = over(&table_of(1, &stable, &[&other], json!({}))).await;
    ask_as(&router, "a").await.unwrap();
    offer(
        &router,
        &table(2, json!([row("s", "Stable", 10_000, &[&stable])])),
    )
    .unwrap();
    offer(&router, &table_of(3, &stable, &[&other], json!({}))).unwrap();
    until(|| router.is_synced()).await;
    ask_as(&router, "b").await.unwrap();
    assert_eq!(sums(&router).users.len(), 2);
    offer(
        &router,
        &table_of(4, &stable, &[&other], json!({"uid": "e2"})),
    )
    .unwrap();
    assert_eq!(sums(&router).users.len(), 0);
}

fn with_token(mut table: Value) -> Value {
    table["adminTokenSha256"] = json!("0".repeat(64));
    table
}

#[tokio::test]
async fn a_router_that_leaves_waits_until_all_metrics_are_fetched_and_loses_nothing() {
    let (stable, other) = (Server::start("s").await, Server::start("c").await);
    let change = json!({"mode": "Paired"});
    let router = over(&with_token(table_of(1, &stable, &[&other], change))).await;
    other.now(Does::After(200 * MS));
    for number in 0..10 {
        ask_as(&router, &user(number)).await.unwrap();
    }
    let leaving = tokio::spawn({
        let router = router.clone();
        async move { router.hand_over(Duration::from_mins(1)).await }
    });
    until(|| evidence(&router).leaving || leaving.is_finished()).await;
    leaving.await.unwrap();
    assert_eq!(sums(&router).arm(arm(1)).unwrap().paired, 10);

    let change = json!({"mode": "Paired"});
    let router = over(&with_token(table_of(1, &stable, &[&other], change))).await;
    let leaving = tokio::spawn({
        let router = router.clone();
        async move { router.hand_over(Duration::from_mins(1)).await }
    });
    let one = |metric: &str| router.experiment_evidence(Some(metric), None);
    until(|| one("reward").unwrap().leaving).await;
    for metric in ["errors", "time", "clicks"] {
        assert!(one(metric).unwrap().leaving);
        assert!(!leaving.is_finished());
    }
    assert_eq!(one("nothing"), Err(NoEvidence::NoMetric));
    one("pref").unwrap();
    leaving.await.unwrap();
}
