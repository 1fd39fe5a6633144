//! The outermost layer: request ids, versions, metrics, spans, log lines, and the wish that
//! connections close while the server is leaving.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use inference_scoring::Scorer;

use super::App;
use crate::http::base::headers::{CACHE, MODEL_VERSION, REQUEST_ID, RequestId, SERVER_TIMING};
use crate::http::base::routes::{self, Route};

/// When a request's head was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

pub(crate) async fn layer<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let arrived = Instant::now();
    let route = routes::find(matched.as_ref().map(MatchedPath::as_str));
    let endpoint = route.map_or(routes::OTHER, |route| route.path);
    let (RequestId(id), served) = (request_id(request.headers()), app.current.load_full());
    let span = match &app.spans {
        Some(spans) if !route.is_some_and(Route::is_probe) => {
            let (path, id) = (route.map(|route| route.path), id.to_str());
            let version = &served.model.about.version;
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
    // An answer with scores says itself who gave them.
    if !headers.contains_key(MODEL_VERSION)
        && let Ok(version) = HeaderValue::from_str(&served.model.about.version)
    {
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
fn request_id(headers: &HeaderMap) -> RequestId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// No other process has it, nor had it.
    static PROCESS: LazyLock<String> = LazyLock::new(|| {
        let nanoseconds = jiff::Timestamp::now().as_nanosecond();
        format!("{nanoseconds:x}-{:x}", std::process::id())
    });
    RequestId::of_client(headers).unwrap_or_else(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = HeaderValue::from_str(&format!("{}-{count:x}", *PROCESS));
        RequestId(id.unwrap_or_else(|_| HeaderValue::from_static("none")))
    })
}
