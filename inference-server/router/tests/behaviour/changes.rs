//! What stays when tables and endpoints change under requests.

use std::sync::atomic::Ordering;

use router::{Seen, Services};

use super::*;

/// What a watch has seen of the Service of `s`.
fn services(servers: &[&Server]) -> Services {
    let seen = |server: &&Server| Seen {
        address: server.address.to_string(),
        uid: format!("uid-{}", server.address),
        ready: true,
        serving: true,
    };
    Services::from([("s".to_owned(), servers.iter().map(seen).collect())])
}

/// A router whose stable revision is served by what a watch sees.
fn watching(servers: &[&Server]) -> Router {
    let router = Router::new(Identity {
        pod: "router-a".to_owned(),
        instance: "1".to_owned(),
    });
    let rows = json!([{"revision": "s", "role": "Stable", "weight": 10_000, "service": "s"}]);
    offer(&router, &table(1, rows)).unwrap();
    router.seen(services(servers));
    assert!(router.is_ready());
    router
}

#[tokio::test]
async fn an_endpoint_that_was_put_aside_stays_so_when_others_come_and_go() {
    let (good, bad) = (Server::start("s").await, Server::start("s").await);
    let router = watching(&[&good, &bad]);
    bad.now(Does::Fails);
    for key in 0.. {
        let _ = ask(&router, &format!("key {key}")).await;
        if router.figures().ejections == 1 {
            break;
        }
    }
    let before = bad.questions();
    let third = Server::start("s").await;
    for servers in [&[&good, &bad, &third][..], &[&good, &bad]] {
        router.seen(services(servers));
        for key in 0..30 {
            ask(&router, &format!("more {key}")).await.unwrap();
        }
    }
    assert_eq!(bad.questions(), before, "it is asked again at each event");
    assert!(third.questions() > 0);
}

#[tokio::test]
async fn an_endpoint_that_stays_keeps_its_connections_and_its_load() {
    let (one, other) = (Server::start("s").await, Server::start("s").await);
    let router = watching(&[&one]);
    ask(&router, "a").await.unwrap();
    one.now(Does::After(300 * MS));
    let waits = tokio::spawn({
        let router = router.clone();
        async move { ask(&router, "a long text that waits").await }
    });
    until(|| one.seen.under_way.load(Ordering::SeqCst) == 1).await;
    router.seen(services(&[&one, &other]));
    // The one that has something to do is chosen by nobody while the other has nothing.
    for key in 0..20 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    assert_eq!((one.questions(), other.questions()), (2, 20));
    waits.await.unwrap().unwrap();
    assert_eq!(one.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_leaves_gets_nothing_beside_a_revision_that_takes_new_requests() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let router = watching(&[&stable]);
    let row = |revision: &str, role: &str, weight: u16| json!({"revision": revision, "role": role, "weight": weight, "service": revision});
    let rows = json!([row("s", "Stable", 7_500), row("c", "Canary", 2_500)]);
    let mut both = table(2, rows);
    // Texts of one length have one score here.
    both["cutOff"] = json!({"constantScores": false});
    offer(&router, &both).unwrap();
    let seen = |server: &Server, ready: bool| {
        vec![Seen {
            address: server.address.to_string(),
            uid: "uid".to_owned(),
            ready,
            serving: true,
        }]
    };
    let ask_all = || async {
        let mut stables = 0;
        for key in 0..40 {
            let scores = ask(&router, &format!("key {key}")).await.unwrap();
            stables += usize::from(revision(&scores) == "s");
        }
        stables
    };
    for (stable_is_ready, canary_is_ready, expected) in [
        (false, true, 0..1),
        (false, false, 1..40),
        (true, false, 40..41),
    ] {
        router.seen(Services::from([
            ("s".to_owned(), seen(&stable, stable_is_ready)),
            ("c".to_owned(), seen(&canary, canary_is_ready)),
        ]));
        let stables = ask_all().await;
        assert!(expected.contains(&stables), "{stables} of {expected:?}");
    }
}

#[tokio::test]
async fn what_began_in_one_rollout_is_not_counted_for_the_next() {
    let (stable, canary, router) = pair(10_000).await;
    canary.now(Does::After(300 * MS));
    stable.now(Does::After(300 * MS));
    let asked = (0..40).map(|key| {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, &format!("key {key}")).await })
    });
    let asked: Vec<_> = asked.collect();
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 40).await;
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&canary])
    ]);
    let mut next = table(2, rows);
    next["rollout"] = json!("2");
    offer(&router, &next).unwrap();
    canary.break_connections();
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
    let counted = router.report().counted.unwrap();
    assert_eq!(counted.subject.rollout.as_deref(), Some("2"));
    assert_eq!(counted.counters, traffic::cutoff::Counters::default());
    assert_eq!(router.report().cut_off, None);
}

#[tokio::test]
async fn a_calibration_that_is_edited_holds_at_once_and_costs_no_endpoint() {
    let (one, other) = (Server::start("s").await, Server::start("s").await);
    let table_of = |generation: u64, calibration: Value| {
        let mut row = row("s", "Stable", 10_000, &[&one, &other]);
        row["calibration"] = calibration;
        table(generation, json!([row]))
    };
    let router = over(&table_of(1, Value::Null)).await;
    let said = |router: &Router| {
        let model = router.model().borrow().clone().unwrap();
        model.by.calibration
    };
    until(|| router.model().borrow().is_some()).await;
    assert_eq!(said(&router), None);
    other.now(Does::Fails);
    for key in 0.. {
        let _ = ask(&router, &format!("key {key}")).await;
        if router.figures().ejections == 1 {
            break;
        }
    }
    let asked = other.questions();
    for (generation, shift) in [(2, 0.25), (3, 0.5)] {
        let calibration = json!({"scale": "1.5", "shift": shift.to_string()});
        offer(&router, &table_of(generation, calibration)).unwrap();
        assert_eq!(router.report().revisions[0].ready, 2, "both stay");
        for key in 0..20 {
            let scores = ask(&router, &format!("more {key}")).await.unwrap();
            let calibration = scores.by.calibration.map(|c| (c.scale(), c.shift()));
            assert_eq!(calibration, Some((1.5, shift)));
        }
        if generation == 2 {
            assert_eq!(other.questions(), asked, "it is put aside still");
            other.now(Does::Scores);
        }
        until(|| said(&router) == Some((1.5, shift))).await;
    }
    offer(&router, &table_of(4, Value::Null)).unwrap();
    assert_eq!(ask(&router, "a").await.unwrap().by.calibration, None);
    until(|| said(&router).is_none()).await;
}

#[tokio::test]
async fn an_endpoint_that_vanishes_with_its_request_costs_none() {
    let (one, other) = (Server::start("s").await, Server::start("s").await);
    let router = watching(&[&one]);
    one.now(Does::Hangs);
    let asked = tokio::spawn({
        let router = router.clone();
        async move { ask(&router, "a").await }
    });
    until(|| one.seen.under_way.load(Ordering::SeqCst) == 1).await;
    // Its slice names another pod now; then it is gone.
    router.seen(services(&[&other]));
    one.vanish();
    asked.await.unwrap().unwrap_err();
    ask(&router, "a").await.unwrap();
    assert_eq!(other.questions(), 1);
    // Where the revision has another one, the request itself is answered.
    let third = Server::start("s").await;
    router.seen(services(&[&third]));
    third.now(Does::Breaks);
    router.seen(services(&[&other, &third]));
    for key in 0..20 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
}

#[tokio::test]
async fn scores_are_forgotten_by_every_endpoint_or_it_says_by_which_not() {
    let (stable, canary, router) = pair(5_000).await;
    let forgotten = router.forget("v 1").await;
    assert_eq!((forgotten.by, forgotten.failed.len()), (2, 0));
    for server in [&stable, &canary] {
        let bodies = server.seen.forgotten.lock().unwrap().clone();
        assert_eq!(bodies, [r#"{"model_version":"v 1"}"#]);
    }
    canary.now(Does::Fails);
    stable.now(Does::Declines);
    let forgotten = router.forget("v1").await;
    assert_eq!((forgotten.by, forgotten.without_cache), (0, 1));
    assert_eq!(forgotten.failed, [format!("c at {}", canary.address)]);
}

#[tokio::test]
async fn what_happens_is_counted_by_its_cause() {
    let (stable, canary, router) = pair(10_000).await;
    let count = |counts: &[(&str, u64)], word: &str| {
        counts.iter().find(|(name, _)| *name == word).unwrap().1
    };
    for (does, word) in [
        (Does::Fails, "Failed"),
        (Does::NotANumber, "NonFinite"),
        (Does::Refuses, "Refused"),
        (Does::Breaks, "Unreachable"),
        (Does::Hangs, "Slow"),
    ] {
        let mut anew = table(router.figures().generation.unwrap() + 1, json!([]));
        anew["rollout"] = json!(word);
        anew["revisions"] = json!([
            row("s", "Stable", 0, &[&stable]),
            row("c", "Canary", 10_000, &[&canary])
        ]);
        offer(&router, &anew).unwrap();
        let before = count(&router.figures().takeovers, word);
        canary.now(does);
        ask(&router, "a").await.unwrap();
        assert_eq!(
            count(&router.figures().takeovers, word),
            before + 1,
            "{word}"
        );
    }
    offer(&router, &table(9, json!([]))).unwrap_err();
    offer(&router, &json!({"schemaVersion": 2})).unwrap_err();
    let figures = router.figures();
    assert_eq!(count(&figures.refusals, "Value"), 1);
    assert_eq!(count(&figures.refusals, "Schema"), 1);
    assert_eq!(count(&figures.cut_offs, "NonFinite"), 1);
    assert!(figures.retries > 0);
    assert_eq!(figures.revisions.len(), 2);
}

/// Which of so many keys the canary answers, each asked at the next one of the routers.
async fn canarys(routers: &[Router], first: usize, keys: usize) -> Vec<bool> {
    const TASKS: usize = 32;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let routers = routers.to_vec();
        tasks.spawn(async move {
            let mut arms = Vec::new();
            for key in (task..keys).step_by(TASKS) {
                let router = routers.get((first + key) % routers.len()).unwrap();
                let scores = ask(router, &format!("user-{key}")).await.unwrap();
                arms.push((key, revision(&scores) == "c"));
            }
            arms
        });
    }
    let mut arms: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    arms.sort_unstable();
    arms.into_iter().map(|(_, is_canarys)| is_canarys).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_have_one_arm_in_three_routers_and_after_their_restart() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 7_500, &[&stable]),
        row("c", "Canary", 2_500, &[&canary])
    ]);
    let mut table = table(1, rows);
    // Nothing but the key decides here, however busy the machine is.
    table["fallback"] = json!({"enabled": false});
    table["cutOff"] = json!({"slowFactor": "1000", "constantScores": false});
    let mut known: Option<Vec<bool>> = None;
    for start in 0..2 {
        let mut routers = Vec::new();
        for _ in 0..3 {
            routers.push(over(&table).await);
        }
        let arms = canarys(&routers, start, 100_000).await;
        let count = arms.iter().filter(|is_canarys| **is_canarys).count();
        let percent = f64::from(u32::try_from(count).unwrap()) / 1_000.0;
        assert!((percent - 25.0).abs() <= 0.5, "{percent}");
        assert!(known.is_none_or(|known| known == arms), "a key moved");
        known = Some(arms);
    }
}
