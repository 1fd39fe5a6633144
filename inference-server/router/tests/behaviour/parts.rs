//! Requests that are too long for one question.

use super::*;

/// Texts of 1 to 6 bytes, of which two are asked at once: three questions.
fn long(key: &str) -> ScoreRequest {
    let texts = (1..=6).map(|length| Input::Text("x".repeat(length)));
    let mut request = request(key);
    request.inputs = inference_scoring::Inputs::from(texts.collect::<Vec<_>>()).in_turns(2, 1_000);
    request.bulk = true;
    request
}

fn logits(scores: &Scores) -> Vec<f32> {
    scores.scores.iter().map(|score| score.logits[0]).collect()
}

fn canary(router: &Router) -> traffic::evidence::ArmCell {
    router.evidence().unwrap().sums.arms.canary.cells.total()
}

#[tokio::test]
async fn a_long_request_is_asked_in_parts_and_counts_once() {
    let (stable, server, router) = pair(10_000).await;
    let scores = router.score(long("a")).await.unwrap();
    assert_eq!(logits(&scores), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(revision(&scores), "c");
    assert_eq!((server.questions(), stable.questions()), (3, 0));
    let cell = canary(&router);
    assert_eq!((cell.requests, cell.errors, cell.scores), (1, 0, 6));
    let report = router.report();
    assert_eq!(report.counted.unwrap().counters.total.canary.requests, 1);
    assert_eq!(report.revisions[1].answered, 1);
}

#[tokio::test]
async fn where_the_canary_fails_at_the_last_part_stable_answers_all_of_the_request() {
    let (stable, server, router) = pair(10_000).await;
    server.now(Does::FailsAfter(2));
    let scores = router.score(long("a")).await.unwrap();
    assert_eq!(revision(&scores), "s");
    assert_eq!(logits(&scores), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // None of the canary's scores is among them.
    assert_eq!(stable.questions(), 3);
    let cell = canary(&router);
    assert_eq!((cell.requests, cell.errors, cell.scores), (1, 1, 0));
    let taken: u64 = router.figures().takeovers.iter().map(|(_, n)| n).sum();
    assert_eq!(taken, 1, "it is paid for once");
}

#[tokio::test]
async fn where_nobody_may_answer_in_its_place_a_long_request_fails_as_a_whole() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&server])
    ]);
    let mut table = table(1, rows);
    table["fallback"] = json!({"enabled": false});
    let router = over(&table).await;
    server.now(Does::FailsAfter(2));
    router.score(long("a")).await.unwrap_err();
    assert_eq!(stable.questions(), 0);
    assert_eq!(canary(&router).errors, 1);
}

#[tokio::test]
async fn a_long_request_stays_with_its_revision_while_weights_move() {
    let (stable, server, router) = pair(10_000).await;
    server.now(Does::After(100 * MS));
    let asked = tokio::spawn({
        let router = router.clone();
        async move { router.score(long("a")).await }
    });
    until(|| server.questions() == 2).await;
    let rows = json!([
        row("s", "Stable", 10_000, &[&stable]),
        row("c", "Canary", 0, &[&server])
    ]);
    offer(&router, &table(2, rows)).unwrap();
    assert_eq!(revision(&asked.await.unwrap().unwrap()), "c");
    assert_eq!((server.questions(), stable.questions()), (3, 0));
}

#[tokio::test]
async fn a_long_request_is_shadowed_in_parts_each_of_which_has_its_time() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 10_000, &[&stable]),
        row("c", "Canary", 0, &[&server])
    ]);
    let mut table = table(1, rows);
    table["shadow"] = json!({"percent": 100, "timeoutMs": 250});
    let router = over(&table).await;
    // Two at once, and then one: longer than a part may take.
    server.now(Does::After(150 * MS));
    router.score(long("a")).await.unwrap();
    let shadow = || router.evidence().unwrap().sums.shadow;
    until(|| shadow().paired + shadow().dropped.total() == 1).await;
    assert_eq!((shadow().paired, shadow().eligible), (1, 1));
    assert_eq!(shadow().cells.total().pairs, 6);
    assert_eq!(server.questions(), 3);
}

#[tokio::test]
async fn parts_that_come_are_no_hang_however_many_there_are() {
    let (stable, server) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&server])
    ]);
    let mut table = table(1, rows);
    table["fallback"] = json!({"enabled": true, "hedgeAfterMs": 400, "budgetPercent": 20});
    let router = over(&table).await;
    // Three questions, two at once: longer than the time after which stable is asked.
    server.now(Does::After(250 * MS));
    let scores = router.score(long("a")).await.unwrap();
    assert_eq!(revision(&scores), "c");
    assert_eq!(stable.questions(), 0);
}

#[tokio::test]
async fn an_endpoint_that_is_lost_costs_a_part_and_not_the_request() {
    let (one, other) = (Server::start("s").await, Server::start("s").await);
    let rows = json!([row("s", "Stable", 10_000, &[&one, &other])]);
    let router = over(&table(1, rows)).await;
    one.vanish();
    for key in 0..10 {
        let scores = router.score(long(&format!("key {key}"))).await.unwrap();
        assert_eq!(scores.scores.len(), 6);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_long_request_is_told_of_its_own_input() {
    let stable = Server::start("s").await;
    let rows = json!([row("s", "Stable", 10_000, &[&stable])]);
    let router = over(&table(1, rows)).await;
    stable.now(Does::DeclinesAfter(2));
    let error = router.score(long("a")).await.unwrap_err();
    assert!(
        matches!(error, ScoreError::Input { index: 4, .. }),
        "{error:?}"
    );
}
