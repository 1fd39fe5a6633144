//! Which of a model's logits is the score: each revision's server says so itself.

use super::*;

#[tokio::test]
async fn what_is_measured_is_the_score_of_whoever_gave_it() {
    let (stable, canary) = (Server::start("s").await, Server::start("c").await);
    let rows = json!([
        row("s", "Stable", 10_000, &[&stable]),
        row("c", "Canary", 0, &[&canary])
    ]);
    let mut table = table(1, rows);
    table["shadow"] = json!({"percent": 100, "timeoutMs": 5_000});
    canary.now(Does::ScoresSecond);
    let router = over(&table).await;
    for key in 0..10 {
        ask(&router, &format!("key {key}")).await.unwrap();
    }
    let cells = || router.evidence().unwrap().sums.shadow.cells.total();
    until(|| cells().pairs == 10).await;
    // The second logit of that server is ten more than the first, which is a text's length.
    assert!((cells().sum.abs() - 100.0).abs() < 1e-6, "{}", cells().sum);
}
