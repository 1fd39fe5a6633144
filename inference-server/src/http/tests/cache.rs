//! Scores that are remembered, through the API.

use std::sync::Arc;
use std::time::Duration;

use inference_engine::cache::{CacheSettings, Scope, Store};
use serde_json::json;

use super::*;

fn remembering() -> (Router, Arc<Store>) {
    let settings = CacheSettings {
        ttl: Duration::from_mins(1),
        max_entries: 100,
        redis_url: None,
    };
    let store = Arc::new(Store::new(&settings).unwrap());
    let scope = Scope::new("v", "sha256:d", "f32", "cpu");
    (real_behind(Some((store.clone(), scope))), store)
}

async fn score(router: &Router, text: &str) -> (f64, bool) {
    let body = json!({ "text": text }).to_string();
    let response = router
        .clone()
        .oneshot(post("/predict", body))
        .await
        .unwrap();
    let hit = response.headers().contains_key("x-cache");
    let answer: Value = serde_json::from_slice(&bytes_of(response).await).unwrap();
    let score = answer["reward_score"].as_f64().unwrap();
    (score, hit)
}

#[tokio::test]
async fn a_remembered_score_is_the_same_and_says_so() {
    let (router, _) = remembering();
    let (first, computed) = score(&router, "Tokyo.").await;
    let (second, remembered) = score(&router, "Tokyo.").await;
    assert_eq!((computed, remembered), (false, true));
    assert_eq!(first.to_bits(), second.to_bits());
    assert!(!score(&router, "Kyoto.").await.1);
}

#[tokio::test]
async fn a_version_that_is_invalidated_is_computed_again() {
    let (router, store) = remembering();
    score(&router, "Tokyo.").await;
    store.invalidate("other").await.unwrap();
    assert!(score(&router, "Tokyo.").await.1);
    store.invalidate("v").await.unwrap();
    assert!(!score(&router, "Tokyo.").await.1);
}

#[tokio::test]
async fn a_remembered_answer_counts_as_a_score_and_not_as_latency() {
    let (router, _) = remembering();
    for _ in 0..3 {
        score(&router, "Tokyo.").await;
    }
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let text = String::from_utf8(bytes_of(response).await).unwrap();
    for line in [
        "reward_score_distribution_count 3",
        "reward_model_request_duration_seconds_count{endpoint=\"/predict\"} 1",
        "reward_model_requests_total{endpoint=\"/predict\",status=\"200\"} 3",
        "reward_model_cache_hits_total 2",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// Half of a batch is remembered: the answer is whole, and is no hit.
#[tokio::test]
async fn a_batch_is_a_hit_only_when_all_of_it_is() {
    let (router, _) = remembering();
    let (alone, _) = score(&router, "Tokyo.").await;
    let body = json!({ "texts": ["Kyoto.", "Tokyo.", "Tokyo."] }).to_string();
    let response = router
        .clone()
        .oneshot(post("/predict/batch", body))
        .await
        .unwrap();
    assert!(!response.headers().contains_key("x-cache"));
    let answer: Value = serde_json::from_slice(&bytes_of(response).await).unwrap();
    let scores = &answer["reward_scores"];
    assert_eq!(scores[1].as_f64().map(f64::to_bits), Some(alone.to_bits()));
    assert_eq!(scores[1], scores[2]);
}
