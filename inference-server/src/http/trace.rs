//! The outermost layer: request ids, versions, metrics, spans, log lines, and the wish that
//! connections close while the server is leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use inference_scoring::Scorer;

use super::App;
use super::call::{CACHE, SERVER_TIMING};
use super::routes::{self, Route};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");

/// When a request's head was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived(pub(super) Instant);

/// Names a request in its answer and in the log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    pub(super) fn text(&self) -> String {
        self.0.to_str().unwrap_or_default().to_owned()
    }
}

pub(super) async fn layer<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let route = routes::find(matched.as_ref().map(MatchedPath::as_str));
    let endpoint = route.map_or("other", |route| route.path);
    let (id, served) = (request_id(request.headers()), app.current.load_full());
    let span = match &app.spans {
        Some(spans) if !route.is_some_and(Route::is_probe) => {
            let (path, id) = (route.map(|route| route.path), id.to_str());
            let version = &served.model.version;
            Some(spans.begin(&request, path, id.unwrap_or_default(), version))
        }
        Some(_) | None => None,
    };
    let extensions = request.extensions_mut();
    if let Some(span) = &span {
        extensions.insert(span.clone());
    }
    extensions.insert(Arrived(arrived));
    extensions.insert(RequestId(id.clone()));
    extensions.insert(served.clone());
    let mut response = next.run(request).await;
    let took = arrived.elapsed();
    let headers = response.headers_mut();
    if let Ok(version) = HeaderValue::from_str(&served.model.version) {
        headers.insert(MODEL_VERSION, version);
    }
    headers.insert(REQUEST_ID, id.clone());
    let total = format!("total;dur={:.3}", took.as_secs_f64() * 1e3);
    if let Ok(total) = HeaderValue::from_str(&total) {
        headers.append(SERVER_TIMING, total);
    }
    if app.lifecycle.is_leaving() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = response.status().as_u16();
    let cached = response.headers().contains_key(CACHE);
    app.metrics
        .answered(endpoint, status, (!cached).then_some(took));
    tracing::debug!(
        target: "api",
        endpoint,
        status,
        seconds = took.as_secs_f64(),
        request = id.to_str().unwrap_or_default(),
        trace_id = span.as_ref().map(|span| tracing::field::display(span.trace_id())),
        "answered"
    );
    if let Some(span) = span {
        span.end(status, route.map(|route| route.dialect));
    }
    response
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
