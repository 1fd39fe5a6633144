//! What a router does with servers that do not what they should, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod changes;
mod evidence;
mod experiment;
mod fake;
mod feedback;
mod hedging;
mod labels;
mod parts;
mod shadow;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fake::{Does, Server};
use inference_api::{Input, InputOptions};
use inference_scoring::{Deadline, Origin, ScoreError, ScoreRequest, Scorer, Scores};
use router::{Identity, Router};
use serde_json::{Value, json};
use traffic::table::Refusal;

const MS: Duration = Duration::from_millis(1);

fn row(revision: &str, role: &str, weight: u16, servers: &[&Server]) -> Value {
    let addresses: Vec<String> = servers.iter().map(|s| s.address.to_string()).collect();
    json!({"revision": revision, "role": role, "weight": weight, "endpoints": addresses})
}

fn table(generation: u64, rows: Value) -> Value {
    json!({
        "schemaVersion": 1, "generation": generation, "salt": "u/1", "rollout": "1",
        "model": {"namespace": "n", "name": "m", "uid": "u"},
        "revisions": rows,
        "fallback": {"enabled": true, "hedgeAfterMs": 200, "budgetPercent": 20},
    })
}

fn offer(router: &Router, table: &Value) -> Result<(), Refusal> {
    router.offer(table.to_string().as_bytes())
}

/// A router that has asked all endpoints of the table.
async fn over(table: &Value) -> Router {
    let router = Router::new(Identity {
        pod: "router-a".to_owned(),
        instance: "1".to_owned(),
    });
    offer(&router, table).unwrap();
    tokio::spawn(router.clone().probe());
    until(|| router.is_synced()).await;
    router
}

async fn until(holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::time::sleep(5 * MS).await;
        }
    });
    waited.await.unwrap();
}

fn request(key: &str) -> ScoreRequest {
    ScoreRequest {
        inputs: vec![Input::Text(key.to_owned())].into(),
        options: InputOptions::default(),
        deadline: Deadline::At(Instant::now() + Duration::from_secs(5)),
        bulk: false,
        origin: Arc::new(Origin {
            key: key.to_owned(),
            ..Origin::default()
        }),
    }
}

async fn ask(router: &Router, key: &str) -> Result<Scores, ScoreError> {
    router.score(request(key)).await
}

fn revision(scores: &Scores) -> &str {
    scores.by.revision.as_deref().unwrap()
}

/// A stable revision and a canary that has all slots or half of them.
async fn pair(canary_weight: u16) -> (Server, Server, Router) {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 10_000 - canary_weight, &[&stable]),
        row("c", "Canary", canary_weight, &[&canary])
    ]);
    let router = over(&table(1, rows)).await;
    (stable, canary, router)
}

#[tokio::test]
async fn one_key_is_answered_by_one_revision_and_keys_are_split() {
    let (stable, canary, router) = pair(5_000).await;
    for key in 0..60 {
        let key = format!("key {key}");
        let first = ask(&router, &key).await.unwrap();
        let second = ask(&router, &key).await.unwrap();
        assert_eq!(revision(&first), revision(&second));
        assert_eq!(first.by.version, format!("version-{}", revision(&first)));
    }
    assert!(stable.questions() > 30 && canary.questions() > 30);
    let report = router.report();
    let answered: u64 = report.revisions.iter().map(|of| of.answered).sum();
    assert_eq!(answered, 120);
    assert!(report.synced && report.revisions.iter().all(|of| of.ready == 1));
    assert_eq!(report.counted.unwrap().counters.total.canary.errors, 0);
}

#[tokio::test]
async fn what_the_canary_does_not_answer_stable_does_and_the_canary_is_cut_off() {
    for does in [
        Does::Fails,
        Does::NotANumber,
        Does::Refuses,
        Does::IsNotReady,
        Does::Breaks,
    ] {
        let (_stable, canary, router) = pair(5_000).await;
        canary.now(does.clone());
        for key in 0..60 {
            let scores = ask(&router, &format!("key {key}")).await.unwrap();
            assert_eq!(revision(&scores), "s", "{does:?}");
            assert!(scores.scores[0].is_finite());
        }
        let report = router.report();
        assert!(report.cut_off.is_some(), "{does:?}: {report:?}");
        let weights: Vec<u16> = report
            .revisions
            .iter()
            .map(|of| of.effective_weight.get())
            .collect();
        assert_eq!(weights, [10_000, 0]);
        assert!(report.revisions[1].fallbacks > 0);
        // From then on it is asked nothing.
        let before = canary.questions();
        for key in 0..30 {
            ask(&router, &format!("more {key}")).await.unwrap();
        }
        assert_eq!(canary.questions(), before, "{does:?}");
    }
}

#[tokio::test]
async fn one_score_for_everything_is_cut_off_within_twenty_inputs() {
    let (_stable, canary, router) = pair(5_000).await;
    canary.now(Does::Constant);
    let mut wrong = 0;
    for key in 0..200 {
        let scores = ask(&router, &format!("key {key}")).await.unwrap();
        wrong += usize::from(revision(&scores) == "c");
    }
    assert_eq!(wrong, 20);
    assert_eq!(router.report().cut_off.unwrap().cause, "Constant");
}

#[tokio::test]
async fn look_alike_texts_of_one_batch_brand_nobody() {
    let (_stable, _canary, router) = pair(10_000).await;
    let batch = |length: usize| {
        let mut request = request("a");
        // A fake scores a text by its length.
        let texts = (0..25).map(|n| Input::Text(format!("{n:0length$}")));
        request.inputs = texts.collect::<Vec<_>>().into();
        request
    };
    for length in [8, 9, 8, 8] {
        let scores = router.score(batch(length)).await.unwrap();
        assert_eq!(revision(&scores), "c");
    }
    assert_eq!(router.report().cut_off, None);
}

#[tokio::test]
async fn a_canary_that_hangs_is_answered_for_and_its_requests_end_at_the_server() {
    let (_stable, canary, router) = pair(10_000).await;
    canary.now(Does::Hangs);
    let began = Instant::now();
    let scores = ask(&router, "a").await.unwrap();
    assert_eq!(revision(&scores), "s");
    assert!(began.elapsed() < 1_500 * MS, "{:?}", began.elapsed());
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_canary_that_hangs_is_cut_off_though_nothing_is_known_of_stable_yet() {
    let (_stable, canary, router) = pair(5_000).await;
    canary.now(Does::Hangs);
    let asked = (0..40).map(|key| {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, &format!("key {key}")).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(revision(&asked.await.unwrap().unwrap()), "s");
    }
    assert_eq!(router.report().cut_off.unwrap().cause, "Slow");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_the_server() {
    let (_stable, canary, router) = pair(10_000).await;
    canary.now(Does::Hangs);
    let asked = tokio::time::timeout(50 * MS, ask(&router, "a")).await;
    assert!(asked.is_err());
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 0).await;
    assert_eq!(canary.questions(), 1);
}

#[tokio::test]
async fn a_request_that_is_wrong_is_told_so_and_is_nobodys_fault() {
    let (stable, canary, router) = pair(10_000).await;
    canary.now(Does::Declines);
    stable.now(Does::Declines);
    for key in 0..20 {
        let error = ask(&router, &format!("key {key}")).await.unwrap_err();
        let expected = ScoreError::Input {
            index: 0,
            message: "shorten it".to_owned(),
            too_long: true,
        };
        assert_eq!(error, expected);
    }
    // Stable was asked whether it is.
    assert_eq!(stable.questions(), 20);
    assert_eq!(router.report().cut_off, None);
    // It counts as a wrong request of stable's does.
    let cell = router.evidence().unwrap().sums.arms.canary.cells.total();
    assert_eq!((cell.requests, cell.errors), (20, 0));
}

#[tokio::test]
async fn a_canary_that_declines_what_stable_scores_fails() {
    let (_stable, canary, router) = pair(5_000).await;
    canary.now(Does::Declines);
    for key in 0..60 {
        let scores = ask(&router, &format!("key {key}")).await.unwrap();
        assert_eq!(revision(&scores), "s");
    }
    let report = router.report();
    assert_eq!(report.cut_off.unwrap().cause, "Errors");
    assert_eq!(report.revisions[1].answered, 0);
    let cell = router.evidence().unwrap().sums.arms.canary.cells.total();
    assert!(cell.requests > 0 && cell.errors == cell.requests);
}

#[tokio::test]
async fn what_stable_cannot_judge_is_told_and_counts_for_nobody() {
    for does in [Does::Fails, Does::Refuses, Does::NotANumber, Does::Breaks] {
        let (stable, canary, router) = pair(10_000).await;
        canary.now(Does::Declines);
        stable.now(does.clone());
        let error = ask(&router, "a").await.unwrap_err();
        assert!(matches!(error, ScoreError::Input { .. }), "{does:?}");
        let cell = router.evidence().unwrap().sums.arms.canary.cells.total();
        assert_eq!(cell.requests, 0, "{does:?}");
    }
}

#[tokio::test]
async fn wrong_requests_cost_stable_no_more_than_the_budget() {
    let (stable, canary, router) = pair(10_000).await;
    canary.now(Does::Declines);
    stable.now(Does::Declines);
    for key in 0..600 {
        ask(&router, &format!("key {key}")).await.unwrap_err();
    }
    // 20 a second for ten seconds, where a fifth is less.
    assert!(stable.questions() <= 240, "{}", stable.questions());
    assert_eq!(router.report().cut_off, None);
}

#[tokio::test]
async fn without_a_fallback_what_is_declined_is_answered() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 0, &[&stable]),
        row("c", "Canary", 10_000, &[&canary])
    ]);
    let mut table = table(1, rows);
    table["fallback"] = json!({"enabled": false});
    let router = over(&table).await;
    canary.now(Does::Declines);
    ask(&router, "a").await.unwrap_err();
    assert_eq!(stable.questions(), 0);
    let cell = router.evidence().unwrap().sums.arms.canary.cells.total();
    assert_eq!((cell.requests, cell.errors), (1, 0));
}

#[tokio::test]
async fn what_stable_fails_at_too_is_not_the_canarys_fault() {
    let (stable, canary, router) = pair(10_000).await;
    for does in [Does::Fails, Does::NotANumber] {
        stable.now(does.clone());
        canary.now(does.clone());
        for key in 0..12 {
            let answer = ask(&router, &format!("key {key}")).await;
            assert!(answer.is_err() || does == Does::NotANumber, "{does:?}");
        }
        assert_eq!(router.report().cut_off, None, "{does:?}");
    }
}

#[tokio::test]
async fn a_connection_that_died_while_it_was_kept_costs_no_request() {
    let stable = Server::start("s").await;
    let rows = json!([row("s", "Stable", 10_000, &[&stable])]);
    let router = over(&table(1, rows)).await;
    for round in 0..20 {
        stable.break_connections();
        if round % 2 == 0 {
            tokio::time::sleep(2 * MS).await;
        }
        ask(&router, "a").await.unwrap();
    }
    assert_eq!(stable.questions(), 20);
    let connections = stable.seen.connections.load(Ordering::SeqCst);
    for _ in 0..20 {
        ask(&router, "a").await.unwrap();
    }
    let now = stable.seen.connections.load(Ordering::SeqCst);
    assert!(now <= connections + 2, "connections are kept");
}

#[tokio::test]
async fn a_lost_endpoint_costs_no_request_while_another_one_is_there() {
    let (one, other) = (Server::start("s").await, Server::start("s").await);
    let rows = json!([row("s", "Stable", 10_000, &[&one, &other])]);
    let router = over(&table(1, rows)).await;
    one.vanish();
    for key in 0..30 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    assert_eq!(other.questions(), 30);
}

#[tokio::test]
async fn where_nobody_is_there_it_is_told_at_once() {
    let stable = Server::start("s").await;
    let rows = json!([row("s", "Stable", 10_000, &[&stable])]);
    let router = over(&table(1, rows)).await;
    stable.vanish();
    assert_eq!(ask(&router, "a").await, Err(ScoreError::NotReady));
    until(|| router.report().revisions[0].ready == 0).await;
    let began = Instant::now();
    assert_eq!(ask(&router, "a").await, Err(ScoreError::NotReady));
    assert!(began.elapsed() < 100 * MS);
}

#[tokio::test]
async fn where_stable_is_gone_the_canary_serves() {
    let (stable, _canary, router) = pair(0).await;
    assert_eq!(revision(&ask(&router, "a").await.unwrap()), "s");
    stable.vanish();
    until(|| router.report().revisions[0].ready == 0).await;
    assert_eq!(revision(&ask(&router, "a").await.unwrap()), "c");
}

#[tokio::test]
async fn an_address_that_another_revision_has_got_is_not_believed() {
    let (stable, other) = (Server::start("s").await, Server::start("x").await);
    let rows = json!([row("s", "Stable", 10_000, &[&stable, &other])]);
    let router = over(&table(1, rows)).await;
    for key in 0..30 {
        let scores = ask(&router, &format!("key {key}")).await.unwrap();
        assert_eq!(revision(&scores), "s");
    }
    assert_eq!(other.questions(), 0);
    assert_eq!(router.report().revisions[0].ready, 1);
}

#[tokio::test]
async fn a_pin_is_obeyed_and_an_unknown_one_refused() {
    let (_stable, canary, router) = pair(0).await;
    let pinned = |pin: &str| {
        let mut request = request("a");
        request.origin = Arc::new(Origin {
            pin: Some(pin.to_owned()),
            ..Origin::default()
        });
        request
    };
    let scores = router.score(pinned("c")).await.unwrap();
    assert_eq!(revision(&scores), "c");
    for unknown in ["x", "", "A B"] {
        let error = router.score(pinned(unknown)).await.unwrap_err();
        assert_eq!(error, ScoreError::UnknownRevision);
    }
    // It says nothing about the rollout, and nobody answers in its place.
    canary.now(Does::Fails);
    for _ in 0..20 {
        router.score(pinned("c")).await.unwrap_err();
    }
    assert_eq!(router.report().cut_off, None);
}

#[tokio::test]
async fn what_measures_goes_to_stable() {
    let (stable, canary, router) = pair(10_000).await;
    let mut request = request("a");
    request.origin = Arc::new(Origin {
        measures: true,
        ..Origin::default()
    });
    // Stable has no weight, so the canary is what serves.
    assert_eq!(revision(&router.score(request.clone()).await.unwrap()), "c");
    let rows = json!([
        row("s", "Stable", 100, &[&stable]),
        row("c", "Canary", 9_900, &[&canary])
    ]);
    offer(&router, &table(2, rows)).unwrap();
    assert_eq!(revision(&router.score(request).await.unwrap()), "s");
}

#[tokio::test]
async fn a_late_answer_is_late_at_the_deadline() {
    let stable = Server::start("s").await;
    let rows = json!([row("s", "Stable", 10_000, &[&stable])]);
    let router = over(&table(1, rows)).await;
    stable.now(Does::After(Duration::from_secs(3)));
    let mut request = request("a");
    request.deadline = Deadline::At(Instant::now() + 100 * MS);
    let began = Instant::now();
    assert_eq!(router.score(request).await, Err(ScoreError::Late));
    assert!(began.elapsed() < 1_000 * MS);
}

#[tokio::test]
async fn a_table_that_is_refused_changes_nothing() {
    let (stable, _canary, router) = pair(5_000).await;
    let before = *router.news().borrow();
    let rows = json!([row("s", "Stable", 9_000, &[&stable])]);
    assert_eq!(
        offer(&router, &table(2, rows.clone())).unwrap_err().word(),
        "Sum"
    );
    assert_eq!(offer(&router, &table(0, rows)).unwrap_err().word(), "Sum");
    let report = router.report();
    assert_eq!(report.refused.unwrap().reason, "Sum");
    assert_eq!(report.table.unwrap().generation, 1);
    assert!(report.sequence > before);
    ask(&router, "a").await.unwrap();
    let rows = json!([row("s", "Stable", 10_000, &[&stable])]);
    offer(&router, &table(2, rows)).unwrap();
    let report = router.report();
    assert_eq!(
        (report.refused, report.table.unwrap().generation),
        (None, 2)
    );
    assert!(report.synced, "no endpoint is new");
}

#[tokio::test]
async fn more_than_an_endpoint_may_have_is_shed() {
    let stable = Server::start("s").await;
    let mut row = row("s", "Stable", 10_000, &[&stable]);
    row["capacity"] = json!(2);
    let router = over(&table(1, json!([row]))).await;
    stable.now(Does::After(300 * MS));
    let asked = (0..6).map(|key| {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, &format!("key {key}")).await })
    });
    let mut shed = 0;
    for asked in asked.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, ScoreError::Overloaded);
                shed += 1;
            }
        }
    }
    assert_eq!(shed, 4);
}

#[tokio::test]
async fn a_file_is_followed_and_a_bad_one_is_not() {
    let stable = Server::start("s").await;
    let folder = std::env::temp_dir().join(format!("table-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("table.json");
    let write = |generation: u64, weight: u16| {
        let rows = json!([row("s", "Stable", weight, &[&stable])]);
        std::fs::write(&file, table(generation, rows).to_string()).unwrap();
    };
    write(1, 10_000);
    let router = Router::new(Identity {
        pod: "router-a".to_owned(),
        instance: "1".to_owned(),
    });
    assert!(!router.is_ready());
    assert_eq!(ask(&router, "a").await, Err(ScoreError::NotReady));
    tokio::spawn(router::file::watch(router.clone(), file.clone()));
    tokio::spawn(router.clone().probe());
    until(|| router.is_ready()).await;
    let generation = || router.report().table.map(|table| table.generation);
    write(2, 10_000);
    until(|| generation() == Some(2)).await;
    write(3, 9_999);
    until(|| router.report().refused.is_some()).await;
    assert_eq!(generation(), Some(2));
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(300 * MS).await;
    ask(&router, "a").await.unwrap();
    write(4, 10_000);
    until(|| generation() == Some(4)).await;
    std::fs::remove_dir_all(&folder).unwrap();
}
