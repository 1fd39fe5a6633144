//! Requests that the canary scores too, after the client has its answer.

use traffic::evidence::Shadow;

use super::*;

/// A stable revision that answers all, and a canary that scores so many percent of the keys too.
async fn shadowed(percent: u8, timeout_ms: u64) -> (Server, Server, Router) {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let router = over(&table_of(&stable, &canary, percent, timeout_ms)).await;
    (stable, canary, router)
}

fn table_of(stable: &Server, canary: &Server, percent: u8, timeout_ms: u64) -> Value {
    let rows = json!([
        row("s", "Stable", 10_000, &[stable]),
        row("c", "Canary", 0, &[canary])
    ]);
    let mut table = table(1, rows);
    table["shadow"] = json!({"percent": percent, "timeoutMs": timeout_ms});
    table
}

fn seen(router: &Router) -> Shadow {
    router.evidence().unwrap().sums.shadow
}

async fn ask_all(router: &Router, keys: usize) {
    for key in 0..keys {
        let scores = ask(router, &format!("key {key}")).await.unwrap();
        assert_eq!(revision(&scores), "s");
    }
}

#[tokio::test]
async fn a_canary_whose_pods_are_away_has_missed_nothing() {
    let (_stable, canary, router) = shadowed(100, 5_000).await;
    canary.vanish();
    until(|| router.report().revisions[1].ready == 0).await;
    ask_all(&router, 10).await;
    assert_eq!(seen(&router).eligible, 0);
}

#[tokio::test]
async fn a_canary_without_weight_scores_what_stable_has_answered_behind_the_others() {
    let (_stable, canary, router) = shadowed(100, 5_000).await;
    ask_all(&router, 30).await;
    until(|| seen(&router).paired == 30).await;
    let shadow = seen(&router);
    assert_eq!((shadow.eligible, shadow.dropped.total()), (30, 0));
    assert_eq!(shadow.coverage(), Some(1.0));
    // Both score a text by its length: there is no difference, and there are scores.
    let cells = shadow.cells.total();
    assert_eq!((cells.pairs, cells.sum, cells.squares), (30, 0.0, 0.0));
    assert_eq!((shadow.cross.pairs, shadow.cross.a), (30, shadow.cross.b));
    assert!(shadow.cross.ab > 30.0);
    assert_eq!(canary.seen.bulk.load(Ordering::SeqCst), 30);
    // It is no request of the canary.
    let report = router.report();
    assert_eq!(
        (report.revisions[1].assigned, report.revisions[1].answered),
        (0, 0)
    );
    let arms = router.evidence().unwrap().sums.arms;
    assert_eq!(arms.canary.cells.total().requests, 0);
    assert_eq!(arms.stable.cells.total().requests, 30);
}

#[tokio::test]
async fn no_client_waits_for_a_canary_that_hangs_and_what_has_no_room_is_counted() {
    let (_stable, canary, router) = shadowed(100, 60_000).await;
    canary.now(Does::Hangs);
    let began = Instant::now();
    ask_all(&router, 300).await;
    // The canary takes a minute for each.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let shadow = seen(&router);
    assert_eq!((shadow.eligible, shadow.paired), (300, 0));
    // 256 wait or are worked on.
    assert_eq!((shadow.dropped.full, shadow.dropped.total()), (44, 44));
    let shadowings = router.figures().shadowings;
    assert_eq!(
        shadowings,
        [("Paired", 0), ("Full", 44), ("Failed", 0), ("Late", 0)]
    );
    assert_eq!(router.report().cut_off, None);
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 16).await;
}

#[tokio::test]
async fn a_canary_that_is_late_makes_room() {
    let (_stable, canary, router) = shadowed(100, 30).await;
    canary.now(Does::Hangs);
    ask_all(&router, 40).await;
    until(|| seen(&router).dropped.late == 40).await;
    canary.now(Does::Scores);
    ask_all(&router, 10).await;
    until(|| seen(&router).paired == 10).await;
}

#[tokio::test]
async fn whatever_a_shadow_answers_is_counted_and_hurts_nobody() {
    for does in [
        Does::Fails,
        Does::NotANumber,
        Does::Refuses,
        Does::IsNotReady,
        Does::Declines,
        Does::Breaks,
        Does::Babbles,
    ] {
        let (_stable, canary, router) = shadowed(100, 5_000).await;
        canary.now(does.clone());
        ask_all(&router, 12).await;
        until(|| seen(&router).dropped.failed == 12).await;
        let shadow = seen(&router);
        assert_eq!(
            (shadow.paired, shadow.coverage()),
            (0, Some(0.0)),
            "{does:?}"
        );
        let report = router.report();
        assert_eq!(report.cut_off, None, "{does:?}");
        assert_eq!(
            report.revisions[1].failures,
            traffic::status::Failures::default()
        );
        let canary = router.evidence().unwrap().sums.arms.canary;
        let not_a_number = u64::from(does == Does::NotANumber) * 12;
        assert_eq!(
            (canary.cells.total().requests, canary.non_finite),
            (0, not_a_number)
        );
    }
}

#[tokio::test]
async fn all_routers_shadow_the_same_keys() {
    let (stable, canary, router) = shadowed(20, 5_000).await;
    let other = over(&table_of(&stable, &canary, 20, 5_000)).await;
    ask_all(&router, 200).await;
    ask_all(&other, 200).await;
    until(|| seen(&router).paired == seen(&router).eligible).await;
    until(|| seen(&other).paired == seen(&other).eligible).await;
    let (one, two) = (seen(&router), seen(&other));
    assert!((20..65).contains(&one.eligible), "{}", one.eligible);
    let cells = |shadow: &Shadow| shadow.cells.active().collect::<Vec<_>>();
    assert_eq!(cells(&one), cells(&two));
}

#[tokio::test]
async fn a_canary_that_is_cut_off_or_shadows_nobody_is_asked_nothing() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let mut cut = table_of(&stable, &canary, 100, 5_000);
    cut["cutOff"] = json!({"confirmed": {"revision": "c", "cause": "Errors"}});
    let router = over(&cut).await;
    ask_all(&router, 20).await;
    let mut none = table_of(&stable, &canary, 100, 5_000);
    none["generation"] = json!(2);
    none["shadow"] = Value::Null;
    offer(&router, &none).unwrap();
    ask_all(&router, 20).await;
    assert_eq!((seen(&router).eligible, canary.questions()), (0, 0));
}

#[tokio::test]
async fn what_the_canary_has_answered_itself_is_not_shadowed() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let mut table = table_of(&stable, &canary, 100, 5_000);
    table["revisions"][0]["weight"] = json!(0);
    table["revisions"][1]["weight"] = json!(10_000);
    let router = over(&table).await;
    for key in ["a", "bb", "ccc"] {
        assert_eq!(revision(&ask(&router, key).await.unwrap()), "c");
    }
    assert_eq!((seen(&router).eligible, canary.questions()), (0, 3));
}

#[tokio::test]
async fn the_best_of_several_answers_to_one_prompt_is_compared() {
    let (_stable, canary, router) = shadowed(100, 5_000).await;
    let of = |responses: [&str; 2]| {
        let mut request = request("p");
        let input = |response: &str| Input::Conversation {
            prompt: "p".to_owned(),
            response: response.to_owned(),
        };
        request.inputs = responses.map(input).to_vec().into();
        request
    };
    router.score(of(["a", "longer"])).await.unwrap();
    until(|| seen(&router).paired == 1).await;
    let cells = seen(&router).cells.total();
    assert_eq!((cells.pairs, cells.compared, cells.flipped), (2, 1, 0));
    // One that has one score for all takes the first for the best.
    canary.now(Does::Constant);
    router.score(of(["a", "longer"])).await.unwrap();
    until(|| seen(&router).paired == 2).await;
    let cells = seen(&router).cells.total();
    assert_eq!((cells.pairs, cells.compared, cells.flipped), (4, 2, 1));
}

#[tokio::test]
async fn a_router_leaves_when_what_it_has_put_aside_is_scored() {
    let (_stable, canary, router) = shadowed(100, 5_000).await;
    canary.now(Does::After(300 * MS));
    ask_all(&router, 10).await;
    let leaving = tokio::spawn({
        let router = router.clone();
        async move { router.hand_over(Duration::from_mins(1)).await }
    });
    until(|| router.evidence().unwrap().leaving).await;
    assert_eq!(seen(&router).paired, 10);
    leaving.await.unwrap();
}

/// 200 requests a second for so long; the p50 and the p99 of what a client waits, in microseconds.
async fn waits(router: &Router, seconds: u32) -> [u128; 2] {
    let mut ticks = tokio::time::interval(5 * MS);
    let mut asked = Vec::new();
    for key in 0..200 * seconds {
        ticks.tick().await;
        let router = router.clone();
        asked.push(tokio::spawn(async move {
            let began = Instant::now();
            ask(&router, &format!("key {key}")).await.unwrap();
            began.elapsed().as_micros()
        }));
    }
    let mut waits = Vec::new();
    for asked in asked {
        waits.push(asked.await.unwrap());
    }
    waits.sort_unstable();
    [waits[waits.len() / 2], waits[waits.len() * 99 / 100]]
}

/// A measurement, for a machine that has nothing else to do:
/// `cargo test --release -p router --test behaviour shadow -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn what_a_client_waits_with_a_shadow_that_hangs_and_without_one() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    canary.now(Does::Hangs);
    let with = over(&table_of(&stable, &canary, 100, 60_000)).await;
    let mut none = table_of(&stable, &canary, 100, 60_000);
    none["shadow"] = Value::Null;
    let without = over(&none).await;
    waits(&without, 1).await;
    for _ in 0..5 {
        let (one, other) = (waits(&without, 2).await, waits(&with, 2).await);
        println!("p50, p99 in us: {one:?} without a shadow, {other:?} with one that hangs");
    }
    println!("{:?}", seen(&with).dropped);
}
