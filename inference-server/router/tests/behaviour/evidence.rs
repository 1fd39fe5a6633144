//! What is recorded of a rollout, and handed over.

use traffic::evidence::{ArmSums, Evidence};

use super::*;

fn evidence(router: &Router) -> Evidence {
    router.evidence().unwrap()
}

fn canary(router: &Router) -> ArmSums {
    evidence(router).sums.arms.canary
}

#[tokio::test]
async fn each_request_counts_once_in_the_cells_of_its_arm() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 5_000, &[&stable]),
        row("c", "Canary", 5_000, &[&server])
    ]);
    let mut table = table(1, rows);
    // Texts of one length have one score here.
    table["cutOff"] = json!({"constantScores": false});
    let router = over(&table).await;
    for key in 0..60 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    // What is pinned, or measures, is no request of a rollout.
    let mut pinned = request("pinned");
    pinned.origin = Arc::new(Origin {
        pin: Some("c".to_owned()),
        ..Origin::default()
    });
    router.score(pinned).await.unwrap();
    let evidence = evidence(&router);
    let arms = evidence.sums.arms;
    let (stable, canary) = (arms.stable.cells.total(), arms.canary.cells.total());
    assert!(stable.requests > 10 && canary.requests > 10);
    assert_eq!(stable.requests + canary.requests, 60);
    assert_eq!(stable.scores + canary.scores, 60);
    assert_eq!((stable.errors, canary.errors), (0, 0));
    // Two requests of one key are in one cell.
    let before = arms.stable.cells.active().count() + arms.canary.cells.active().count();
    for key in 0..60 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    let arms = router.evidence().unwrap().sums.arms;
    let after = arms.stable.cells.active().count() + arms.canary.cells.active().count();
    assert_eq!(before, after);
}

#[tokio::test]
async fn what_stable_answers_in_the_canarys_place_is_the_canarys_error() {
    for (does, non_finite) in [(Does::Fails, 0), (Does::NotANumber, 1), (Does::Refuses, 0)] {
        let (_stable, server, router) = pair(10_000).await;
        server.now(does);
        let scores = ask(&router, "a").await.unwrap();
        assert_eq!(revision(&scores), "s");
        let arms = evidence(&router).sums.arms;
        let cell = arms.canary.cells.total();
        assert_eq!((cell.requests, cell.errors, cell.scores), (1, 1, 0));
        assert_eq!(arms.canary.non_finite, non_finite);
        assert_eq!(arms.stable.cells.total().requests, 0);
    }
}

#[tokio::test]
async fn what_both_fail_at_and_what_finds_nobody_is_no_evidence() {
    let (stable, server, router) = pair(10_000).await;
    stable.now(Does::Fails);
    server.now(Does::Fails);
    ask(&router, "a").await.unwrap_err();
    assert_eq!(canary(&router).cells.total().requests, 0);
    stable.now(Does::Scores);
    server.now(Does::Breaks);
    ask(&router, "b").await.unwrap();
    let canary = canary(&router);
    assert_eq!((canary.cells.total().requests, canary.unreachable), (0, 1));
}

#[tokio::test]
async fn what_a_canary_gets_because_stable_is_away_is_no_sample_of_its_share() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 9_000, &[&stable]),
        row("c", "Canary", 1_000, &[&server])
    ]);
    let router = over(&table(1, rows)).await;
    stable.vanish();
    until(|| router.report().revisions[0].ready == 0).await;
    for key in 0..30 {
        let scores = ask(&router, &format!("key {key}")).await.unwrap();
        assert_eq!(revision(&scores), "c");
    }
    assert_eq!(router.report().revisions[1].answered, 30);
    assert_eq!(canary(&router).cells.total().requests, 0);
}

#[tokio::test]
async fn a_canary_that_stable_overtakes_is_waited_for_until_the_last_threshold() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&server])
    ]);
    let mut table = table(1, rows);
    table["evidence"] = json!({"slowerThanMs": [50, 600]});
    let router = over(&table).await;
    let slow = |router: &Router, threshold: u32| {
        let cells = canary(router).slow[&threshold].total();
        (cells.requests, cells.slow)
    };
    server.now(Does::After(300 * MS));
    assert_eq!(revision(&ask(&router, "a").await.unwrap()), "s");
    until(|| slow(&router, 50) == (1, 1)).await;
    assert_eq!(slow(&router, 600), (1, 0));
    server.now(Does::Hangs);
    assert_eq!(revision(&ask(&router, "b").await.unwrap()), "s");
    until(|| slow(&router, 600) == (2, 1)).await;
    // What it would have been nobody knows.
    assert_eq!(canary(&router).cells.total().requests, 1);
}

#[tokio::test]
async fn there_is_none_before_a_rollout_and_that_of_the_last_one_stays() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let alone = || json!([row("s", "Stable", 10_000, &[&stable])]);
    let both = || {
        json!([
            row("s", "Stable", 5_000, &[&stable]),
            row("c", "Canary", 5_000, &[&server])
        ])
    };
    let router = over(&table(1, alone())).await;
    ask(&router, "a").await.unwrap();
    assert_eq!(router.evidence(), None);
    offer(&router, &table(2, both())).unwrap();
    until(|| router.is_synced()).await;
    ask(&router, "a").await.unwrap();
    let first = evidence(&router);
    offer(&router, &table(3, alone())).unwrap();
    ask(&router, "a").await.unwrap();
    let last = evidence(&router);
    assert_eq!(
        (last.subject.rollout.as_deref(), &last.sums),
        (Some("1"), &first.sums)
    );
    assert!(last.sequence > first.sequence);
    let mut next = table(4, both());
    next["rollout"] = json!("2");
    offer(&router, &next).unwrap();
    let next = evidence(&router);
    assert_eq!(next.subject.rollout.as_deref(), Some("2"));
    assert_eq!(next.sums.arms.stable.cells.total().requests, 0);
}

fn with_token(mut table: Value) -> Value {
    table["adminTokenSha256"] = json!("0".repeat(64));
    table
}

#[tokio::test]
async fn a_router_that_leaves_waits_until_its_last_evidence_is_fetched() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 5_000, &[&stable]),
        row("c", "Canary", 5_000, &[&server])
    ]);
    let router = over(&with_token(table(1, rows))).await;
    ask(&router, "a").await.unwrap();
    assert!(!evidence(&router).leaving);
    let leaving = tokio::spawn({
        let router = router.clone();
        async move { router.hand_over(Duration::from_mins(1)).await }
    });
    until(|| router.evidence().unwrap().leaving).await;
    leaving.await.unwrap();
    assert!(evidence(&router).leaving);
}

#[tokio::test]
async fn a_router_leaves_when_what_stable_has_overtaken_is_counted() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&server])
    ]);
    let mut table = with_token(table(1, rows));
    table["evidence"] = json!({"slowerThanMs": [50, 900]});
    let router = over(&table).await;
    server.now(Does::After(500 * MS));
    assert_eq!(revision(&ask(&router, "a").await.unwrap()), "s");
    assert_eq!(canary(&router).cells.total().requests, 0, "it is under way");
    let leaving = tokio::spawn({
        let router = router.clone();
        async move { router.hand_over(Duration::from_mins(1)).await }
    });
    until(|| router.evidence().unwrap().leaving).await;
    let last = canary(&router);
    assert_eq!(last.slow[&50].total().slow, 1);
    assert_eq!(last.cells.total().requests, 1);
    leaving.await.unwrap();
}

#[tokio::test]
async fn a_router_whose_evidence_nobody_fetches_leaves_all_the_same() {
    let router = Router::new(Identity {
        pod: "router-a".to_owned(),
        instance: "1".to_owned(),
    });
    let (began, long) = (tokio::time::Instant::now(), Duration::from_mins(1));
    // It has none to hand over.
    router.hand_over(long).await;
    let rows = json!([
        {"revision": "s", "role": "Stable", "weight": 10_000, "endpoints": ["127.0.0.1:1"]},
        {"revision": "c", "role": "Canary", "weight": 0, "endpoints": ["127.0.0.1:1"]},
    ]);
    // Nobody may fetch it.
    offer(&router, &table(1, rows.clone())).unwrap();
    router.hand_over(long).await;
    assert!(began.elapsed() < long);
    offer(&router, &with_token(table(2, rows))).unwrap();
    let began = tokio::time::Instant::now();
    let patience = Duration::from_millis(200);
    router.hand_over(patience).await;
    assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
}
