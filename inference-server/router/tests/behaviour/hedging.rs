//! What a request counts as that stable has answered first.

use std::sync::atomic::Ordering;

use super::*;

/// A stable revision that takes 150 ms, of which so much is known that 450 ms are slow, and a canary.
async fn known() -> (Server, Server, Router) {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 5_000, &[&stable]),
        row("c", "Canary", 5_000, &[&canary])
    ]);
    let mut table = table(1, rows);
    // Texts of one length have one score here.
    table["cutOff"] = json!({"constantScores": false});
    let router = over(&table).await;
    stable.now(Does::After(150 * MS));
    canary.now(Does::After(150 * MS));
    all(&router, 300).await;
    (stable, canary, router)
}

/// So many keys at once; all are answered.
async fn all(router: &Router, keys: usize) {
    let asked = (0..keys).map(|key| {
        let router = router.clone();
        tokio::spawn(async move { ask(&router, &format!("key {key}")).await })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_canary_that_hangs_is_found_also_where_stable_answers_before_it_is_slow() {
    let (_stable, canary, router) = known().await;
    assert_eq!(router.report().cut_off, None);
    canary.now(Does::Hangs);
    all(&router, 40).await;
    until(|| router.report().cut_off.is_some()).await;
    assert_eq!(router.report().cut_off.unwrap().cause, "Slow");
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_canary_that_answers_before_it_is_slow_is_sound_though_stable_was_faster() {
    let (_stable, canary, router) = known().await;
    let counted = |router: &Router| router.report().counted.unwrap().counters.total.canary;
    let before = counted(&router).requests;
    canary.now(Does::After(370 * MS));
    all(&router, 40).await;
    until(|| counted(&router).requests > before + 10).await;
    until(|| canary.seen.under_way.load(Ordering::SeqCst) == 0).await;
    assert_eq!(router.report().cut_off, None);
}
