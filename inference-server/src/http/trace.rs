//! The outermost layer: request ids, versions, metrics, log lines, and the wish that connections
//! close while the server is leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

pub(super) async fn layer<S: Send + Sync + 'static>(
    State(app): State<Arc<App<S>>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let endpoint = endpoint(matched.as_ref().map(MatchedPath::as_str));
    let id = request_id(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(version) = HeaderValue::from_str(&app.model.version) {
        headers.insert(MODEL_VERSION, version);
    }
    headers.insert(REQUEST_ID, id.clone());
    if app.lifecycle.is_leaving() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let (status, took) = (response.status().as_u16(), arrived.elapsed());
    app.metrics.answered(endpoint, status, took);
    tracing::debug!(
        target: "api",
        endpoint,
        status,
        seconds = took.as_secs_f64(),
        request = id.to_str().unwrap_or_default(),
        "answered"
    );
    response
}

/// Routes as labels: a closed set.
fn endpoint(path: Option<&str>) -> &'static str {
    const ROUTES: [&str; 7] = [
        "/predict",
        "/predict/batch",
        "/health",
        "/health/live",
        "/health/ready",
        "/model/info",
        "/metrics",
    ];
    let known = path.and_then(|path| ROUTES.into_iter().find(|route| *route == path));
    known.unwrap_or("other")
}

/// The client's id where it is a sane one, else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let sane = |id: &&HeaderValue| {
        id.len() <= 128 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(REQUEST_ID)
        .filter(sane)
        .cloned()
        .unwrap_or_else(|| {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let nanoseconds = jiff::Timestamp::now().as_nanosecond();
            let id = format!("{nanoseconds:x}-{:x}-{count:x}", std::process::id());
            HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
        })
}
