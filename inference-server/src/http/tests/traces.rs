//! The spans of requests, as an exporter gets them.

use opentelemetry::Value as Attribute;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::json;

use super::*;
use crate::spans::Spans;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    /// The spans since the last time; the last is that of the request.
    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn one(&self) -> SpanData {
        let mut spans = self.take();
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }
}

fn traced<S: Scorer>(scorer: S) -> (Router, Kept) {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .build();
    let app = App {
        spans: Some(Spans::new(provider)),
        ..app_of(served(scorer, &["LABEL_0"], None))
    };
    (router(Arc::new(app)), kept)
}

fn attribute(span: &SpanData, name: &str) -> Option<Attribute> {
    let mut found = span.attributes.iter().filter(|a| a.key.as_str() == name);
    let value = found.next().map(|attribute| attribute.value.clone());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

fn text(span: &SpanData, name: &str) -> String {
    attribute(span, name).map_or_else(String::new, |value| value.as_str().into_owned())
}

fn with_parent(traceparent: &str) -> Request<Body> {
    let mut request = post("/predict", r#"{"text":"1"}"#);
    let headers = request.headers_mut();
    headers.insert("traceparent", traceparent.parse().unwrap());
    headers.insert("tracestate", "vendor=x".parse().unwrap());
    request
}

/// A scorer that says where the time went.
struct Timed;

impl Scorer for Timed {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let scores = Fake::default().score(request).await?;
        let timings = Timings {
            tokenise: Duration::from_millis(1),
            queue: Duration::from_millis(2),
            inference: Duration::from_millis(3),
            cached: false,
        };
        Ok(Scores { timings, ..scores })
    }
}

/// A scorer that never answers.
struct Silent;

impl Scorer for Silent {
    async fn score(&self, _: ScoreRequest) -> Result<Scores, ScoreError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_request_is_a_span_in_the_trace_of_its_client() {
    let (router, kept) = traced(Timed);
    let mut request = with_parent(&format!("00-{TRACE}-{PARENT}-01"));
    let id = "mine".parse().unwrap();
    request.headers_mut().insert("x-request-id", id);
    assert_eq!(ask(&router, request).await.0, 200);
    let mut spans = kept.take();
    let span = spans.pop().unwrap();
    assert_eq!(span.name, "POST /predict");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.span_context.trace_state().header(), "vendor=x");
    assert_eq!(span.parent_span_id.to_string(), PARENT);
    assert!(span.parent_span_is_remote);
    assert_eq!(span.status, Status::Unset);
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("http.route", "/predict"),
        ("http.response.status_code", "200"),
        ("url.path", "/predict"),
        ("url.scheme", "http"),
        ("reward.request.id", "mine"),
        ("reward.model.version", "v"),
        ("reward.dialect", "native"),
        ("reward.inputs", "1"),
        ("reward.tokens", "3"),
        ("reward.cached", "0"),
    ] {
        assert_eq!(text(&span, name), expected, "{name}");
    }
    let mut next = None;
    for (child, (name, length)) in
        spans
            .iter()
            .zip([("tokenise", 1), ("queue", 2), ("inference", 3)])
    {
        assert_eq!(child.name, name);
        assert_eq!(child.parent_span_id, span.span_context.span_id());
        assert!(!child.parent_span_is_remote);
        let took = child.end_time.duration_since(child.start_time).unwrap();
        assert_eq!(took, Duration::from_millis(length));
        assert_eq!(child.start_time, next.unwrap_or(child.start_time));
        next = Some(child.end_time);
    }
    assert_eq!(spans.len(), 3);
}

#[tokio::test]
async fn an_invalid_parent_is_ignored() {
    let (router, kept) = traced(Fake::default());
    for parent in [
        "",
        "nonsense",
        &format!("00-{TRACE}-{PARENT}"),
        &format!("ff-{TRACE}-{PARENT}-01"),
        &format!("00-{}-{PARENT}-01", "0".repeat(32)),
        &format!("00-{TRACE}-{}-01", "0".repeat(16)),
        &format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
    ] {
        assert_eq!(ask(&router, with_parent(parent)).await.0, 200);
        let span = kept.one();
        assert_eq!(span.parent_span_id, SpanId::INVALID, "{parent:?}");
        assert_ne!(span.span_context.trace_id().to_string(), TRACE);
    }
}

#[tokio::test]
async fn a_client_that_does_not_sample_gets_no_span() {
    let (router, kept) = traced(Timed);
    let parent = format!("00-{TRACE}-{PARENT}-00");
    assert_eq!(ask(&router, with_parent(&parent)).await.0, 200);
    assert!(kept.take().is_empty());
}

#[tokio::test]
async fn health_makes_no_span() {
    let (router, kept) = traced(Fake::default());
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        router.clone().oneshot(get(path)).await.unwrap();
        assert!(kept.take().is_empty(), "{path}");
    }
    ask(&router, get("/model/info")).await;
    assert_eq!(kept.one().name, "GET /model/info");
}

#[tokio::test]
async fn only_what_the_server_failed_at_is_an_error() {
    let (router, kept) = traced(Failing(ScoreError::Late));
    assert_eq!(say(&router, "/predict", json!({"text": "1"})).await.0, 504);
    let span = kept.one();
    assert!(matches!(span.status, Status::Error { .. }));
    assert_eq!(text(&span, "error.type"), "late");
    assert_eq!(text(&span, "http.response.status_code"), "504");
    assert_eq!(say(&router, "/predict", json!({})).await.0, 422);
    let span = kept.one();
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(say(&router, "/nowhere/7", json!({})).await.0, 404);
    let span = kept.one();
    assert_eq!(
        (span.name.as_ref(), attribute(&span, "http.route")),
        ("POST", None)
    );
    assert_eq!(text(&span, "url.path"), "/nowhere/7");
}

#[tokio::test]
async fn metadata_is_in_the_span_up_to_4_kib_whatever_becomes_of_the_request() {
    let (router, kept) = traced(Fake::default());
    let body = json!({"text": "1", "metadata": {"run": 7}});
    assert_eq!(say(&router, "/predict", body).await.0, 200);
    assert_eq!(text(&kept.one(), "reward.metadata"), r#"{"run":7}"#);
    let body = json!({"texts": ["none"], "metadata": "x".repeat(10_000)});
    assert_eq!(say(&router, "/predict/batch", body).await.0, 422);
    assert_eq!(text(&kept.one(), "reward.metadata").len(), 4096);
}

#[tokio::test]
async fn a_span_names_the_dialect_that_its_request_has_shown() {
    let (router, kept) = traced(Fake::default());
    for (path, body, dialect) in [
        ("/predict", json!({"inputs": "1"}), "tei"),
        ("/classify", json!({"input": "1"}), "openai"),
    ] {
        assert_eq!(say(&router, path, body).await.0, 200);
        assert_eq!(text(&kept.one(), "reward.dialect"), dialect);
    }
}

#[tokio::test]
async fn what_is_scored_in_parts_is_counted_once() {
    let (router, kept) = traced(Timed);
    let texts = ["1"; 6];
    assert_eq!(
        say(&router, "/get_reward", json!({"query": texts})).await.0,
        200
    );
    let mut spans = kept.take();
    let span = spans.pop().unwrap();
    assert_eq!(text(&span, "reward.inputs"), "6");
    assert_eq!(text(&span, "reward.tokens"), "18");
    assert_eq!(spans.len(), 2 * 3);
}

#[tokio::test]
async fn a_client_that_leaves_still_has_its_span() {
    let (router, kept) = traced(Silent);
    let mut asked = router.oneshot(post("/predict", r#"{"text":"1"}"#));
    assert!(futures::poll!(&mut asked).is_pending());
    drop(asked);
    let span = kept.one();
    assert_eq!(span.name, "POST /predict");
    assert_eq!(attribute(&span, "http.response.status_code"), None);
}
