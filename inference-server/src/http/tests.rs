//! The API over a real model, without sockets; and over a scorer that fails as told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use inference_api::Limits;
use inference_models::LoadOptions;
use inference_scoring::{
    LocalScorer, ScoreError, ScoreRequest, Scorer, Scores, Settings as ScorerSettings,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// A scorer that answers nothing but an error.
struct Failing(ScoreError);

impl Scorer for Failing {
    async fn score(&self, _: ScoreRequest) -> Result<Scores, ScoreError> {
        Err(self.0.clone())
    }
}

fn app<S: Scorer>(scorer: S, calibration: Option<&str>) -> (Router, Arc<Lifecycle>) {
    let lifecycle = Arc::new(Lifecycle::default());
    let metrics = Arc::new(Metrics::new());
    metrics.loaded("v", 0.1);
    let app = App {
        scorer,
        model: ModelInfo {
            version: "v".to_owned(),
            digest: "sha256:d".to_owned(),
            architecture: "BertForSequenceClassification".to_owned(),
            labels: vec!["LABEL_0".to_owned()],
            parameters: 1,
            dtype: "f32",
            device: "cpu",
            max_tokens: 256,
        },
        settings: Settings {
            limits: Limits {
                max_characters: 1_000,
                max_batch: 4,
            },
            max_body_bytes: 20_000,
            timeout: Duration::from_secs(30),
            label: 0,
            activation: Activation::None,
            calibration: calibration.map(|text| text.parse().unwrap()),
        },
        metrics,
        lifecycle: lifecycle.clone(),
    };
    (router(Arc::new(app)), lifecycle)
}

fn real() -> Router {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/fixtures/demo-models/tiny-reward-v2");
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    let model = Arc::new(inference_models::load(&folder, &options).unwrap());
    let settings = ScorerSettings {
        max_batch_tokens: 16_384,
        max_concurrent_requests: 64,
    };
    app(
        LocalScorer::start(model, settings, None, Arc::new(Metrics::new())).unwrap(),
        Some("scale=1,shift=0"),
    )
    .0
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"));
    assert_eq!(response.headers()["x-model-version"], "v");
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    (status, json_of(response).await)
}

#[tokio::test]
async fn a_prediction_has_the_shape_of_the_contract() {
    let body = json!({"context": "What is the capital of Japan?", "text": "Tokyo.", "metadata": {"a": [1]}});
    let (status, answer) = ask(&real(), post("/predict", body.to_string())).await;
    assert_eq!(status, 200, "{answer}");
    for field in [
        "reward_score",
        "confidence",
        "processing_time",
        "model_version",
        "probability",
        "truncated",
        "tokens",
    ] {
        assert!(!answer[field].is_null(), "{field}");
    }
    assert!(answer["confidence"].as_f64().unwrap() >= 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_score_is_the_same_bits_through_json_alone_in_a_batch_and_beside_others() {
    let router = real();
    let texts = [
        "a",
        "Tokyo.",
        "a longer answer, with commas",
        &"word ".repeat(190),
    ];
    let mut alone = Vec::new();
    for text in texts {
        let (_, answer) = ask(&router, post("/predict", json!({"text": text}).to_string())).await;
        alone.push(answer["reward_score"].clone());
    }
    let requests = (0..32).map(|i| {
        let (router, mut shuffled) = (router.clone(), texts.map(str::to_owned));
        shuffled.rotate_left(i % 4);
        tokio::spawn(async move {
            ask(
                &router,
                post("/predict/batch", json!({"texts": shuffled}).to_string()),
            )
            .await
        })
    });
    for (i, request) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let (status, answer) = request.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        let mut expected = alone.clone();
        expected.rotate_left(i % 4);
        assert_eq!(answer["reward_scores"], Value::from(expected));
    }
}

#[tokio::test]
async fn each_bad_request_has_its_status_and_says_what_to_do() {
    let router = app(Failing(ScoreError::Engine), None).0;
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("/predict", "{".into(), 400, "not JSON"),
        ("/predict", String::new(), 400, "not JSON"),
        ("/predict", r#"{"text":"\ud800"}"#.into(), 400, "not JSON"),
        (
            "/predict",
            format!(r#"{{"text":{deep}}}"#),
            422,
            "does not fit",
        ),
        ("/predict", r#"{"text":1}"#.into(), 422, "does not fit"),
        ("/predict", "[]".into(), 422, "text is missing"),
        ("/predict", "null".into(), 422, "does not fit"),
        (
            "/predict",
            r#"{"text":"a","context":"b","text_pair":"c"}"#.into(),
            422,
            "exclude each other",
        ),
        (
            "/predict",
            format!(r#"{{"text":"{}"}}"#, "a".repeat(1_001)),
            422,
            "1001 characters",
        ),
        (
            "/predict",
            format!(r#"{{"text":"{}"}}"#, "a".repeat(30_000)),
            413,
            "20000 bytes",
        ),
        (
            "/predict/batch",
            r#"{"texts":[]}"#.into(),
            422,
            "at least one",
        ),
        (
            "/predict/batch",
            r#"{"texts":["a","a","a","a","a"]}"#.into(),
            422,
            "5 items",
        ),
        (
            "/predict/batch",
            r#"{"texts":["a"],"contexts":["a","b"]}"#.into(),
            422,
            "one context",
        ),
        (
            "/predict/batch",
            r#"{"texts":"a"}"#.into(),
            422,
            "does not fit",
        ),
        ("/nothing", "{}".into(), 404, "no route"),
    ];
    for (path, body, status, expected) in cases {
        let (got, problem) = ask(&router, post(path, body.clone())).await;
        let head: String = body.chars().take(60).collect();
        assert_eq!(got.as_u16(), status, "{path} {head}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(expected),
            "{path} {head}: {problem}"
        );
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test]
async fn a_wrong_method_or_content_type_is_refused() {
    let router = app(Failing(ScoreError::Engine), None).0;
    let get = Request::get("/predict").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(get).await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    let text = Request::post("/predict")
        .header("content-type", "text/plain")
        .body("{}".into())
        .unwrap();
    assert_eq!(ask(&router, text).await.0, 415);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let router = app(Failing(ScoreError::Engine), None).0;
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let body = Body::from_stream(tokio_stream(chunks));
    assert_eq!(ask(&router, post("/predict", body)).await.0, 413);
}

fn tokio_stream<I: Iterator<Item = T> + Send, T: Send>(
    items: I,
) -> impl futures::Stream<Item = T> + Send {
    futures::stream::iter(items.collect::<Vec<_>>())
}

#[tokio::test]
async fn a_scoring_error_has_its_status() {
    for (error, status, retry) in [
        (ScoreError::Overloaded, 429, true),
        (ScoreError::Late, 504, true),
        (ScoreError::NotReady, 503, true),
        (ScoreError::NotFinite, 500, false),
        (ScoreError::Engine, 500, false),
    ] {
        let router = app(Failing(error), None).0;
        let response = router
            .oneshot(post("/predict", r#"{"text":"a"}"#))
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers().contains_key("retry-after"), retry);
    }
}

#[tokio::test]
async fn a_bad_item_is_named_by_its_index_in_a_batch_only() {
    let error = ScoreError::Input {
        index: 2,
        message: "no".to_owned(),
    };
    let router = app(Failing(error), None).0;
    let (_, problem) = ask(
        &router,
        post("/predict/batch", r#"{"texts":["a","b","c"]}"#),
    )
    .await;
    assert_eq!(problem["index"], 2);
    let (_, problem) = ask(&router, post("/predict", r#"{"text":"a"}"#)).await;
    assert!(problem["index"].is_null());
}

#[tokio::test]
async fn a_server_that_leaves_is_alive_not_ready_and_asks_connections_to_close() {
    let (router, lifecycle) = app(Failing(ScoreError::Engine), None);
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(ask(&router, get("/health/ready")).await.0, 200);
    lifecycle.leave();
    assert_eq!(ask(&router, get("/health/ready")).await.0, 503);
    let live = router.clone().oneshot(get("/health/live")).await.unwrap();
    assert_eq!(live.status(), 200);
    assert_eq!(live.headers()["connection"], "close");
}

#[tokio::test]
async fn without_calibration_there_is_no_confidence() {
    let (_, info) = ask(
        &real(),
        Request::get("/model/info").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(info["calibrated"], true);
    let (router, _) = app(Failing(ScoreError::Engine), None);
    let (_, info) = ask(
        &router,
        Request::get("/model/info").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(info["calibrated"], false);
}

#[tokio::test]
async fn the_metrics_have_the_names_of_the_contract() {
    let router = real();
    ask(&router, post("/predict", r#"{"text":"a"}"#)).await;
    ask(&router, post("/predict", "{")).await;
    let get = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = router.oneshot(get).await.unwrap();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for line in [
        r#"reward_model_requests_total{endpoint="/predict",status="200"} 1"#,
        r#"reward_model_requests_total{endpoint="/predict",status="400"} 1"#,
        "reward_model_request_duration_seconds_count{endpoint=\"/predict\"} 2",
        "reward_model_prediction_duration_seconds_count 1",
        "reward_model_load_time_seconds",
        "reward_model_memory_bytes",
        "reward_score_distribution_count 1",
        "cache_hit_ratio",
        r#"reward_model_version{version="v"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
