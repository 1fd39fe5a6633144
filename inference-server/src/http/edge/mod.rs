//! The edge: who may ask, how often, and in what form. The same for `serve` and for the router.
//!
//! Owns credentials, rates, addresses, and the layers that touch bodies before a handler does. It
//! must not know what is served. Invariant: nothing here tells a client more than the class of what
//! is wrong with its credentials.

mod address;
mod api_keys;
mod auth;
mod filter;
mod jwks;
mod jwt;
mod rate_limit;
mod reload;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body_util::Limited;
use inference_api::Problem;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{Any, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;

pub(crate) use address::{Peer, Proxies};
pub(crate) use api_keys::ApiKeys;
pub(crate) use auth::{Auth, Caller, Scope};
pub(crate) use filter::{Filter, GUIDE_PATTERNS};
pub(crate) use jwks::Jwks;
pub(crate) use jwt::{Jwt, JwtSettings, secret};
pub(crate) use rate_limit::{Limiter, Rate};
pub(crate) use reload::Reloaded;

use super::body::too_large;
use super::error::Failure;

/// Answers above this size are compressed for clients that ask for it.
const COMPRESS_ABOVE: u64 = 1_000;
/// What request bodies may be compressed with.
const ENCODINGS: [&str; 5] = ["gzip", "deflate", "br", "zstd", "identity"];

/// Everything that the edge is set to.
#[derive(Default)]
pub(crate) struct Edge {
    pub(crate) auth: Auth,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) proxies: Proxies,
    pub(crate) filter: Filter,
    /// Origins that browsers may ask from.
    pub(crate) origins: Vec<HeaderValue>,
}

impl Edge {
    /// Takes one unit of the caller's rate.
    ///
    /// # Errors
    /// 429 with when to come back.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.take(caller).map_err(|wait| {
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
            Problem::too_many_requests("the rate limit is reached: try again later")
                .retry_after(seconds.saturating_add(1))
        })
    }
}

/// The layers next to the handlers: credentials, then the body's size and its compression.
pub(crate) fn inner<T>(routes: Router<T>, edge: &Arc<Edge>, max_body_bytes: usize) -> Router<T>
where
    T: Clone + Send + Sync + 'static,
{
    routes
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(from_fn_with_state(max_body_bytes, bounded))
        .layer(from_fn_with_state(edge.clone(), auth::layer))
}

/// Bounds what is read of a body before it is decompressed. What comes out is bounded where it is
/// read; without this, a body that decompresses to nothing could go on for ever.
async fn bounded(State(limit): State<usize>, request: Request, next: Next) -> Response {
    match checked(limit, &request) {
        Ok(()) => {
            next.run(request.map(|body| axum::body::Body::new(Limited::new(body, limit))))
                .await
        }
        Err(problem) => axum::response::IntoResponse::into_response(Failure::from(problem)),
    }
}

fn checked(limit: usize, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large(limit));
    }
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let known = match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(one), None) => one.to_str().is_ok_and(|one| ENCODINGS.contains(&one)),
        (Some(_), Some(_)) => false,
    };
    if known {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(
            "send the body as it is, or compressed once with gzip, deflate, br or zstd",
        ))
    }
}

/// Compresses answers.
pub(crate) fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESS_ABOVE))
}

/// Lets browsers ask from the configured origins; from none by default.
pub(crate) fn cors(edge: &Edge) -> CorsLayer {
    let headers = [
        "authorization",
        "content-type",
        "traceparent",
        "tracestate",
        "x-api-key",
        "x-request-id",
    ];
    let exposed = [
        "retry-after",
        "server-timing",
        "x-cache",
        "x-model-version",
        "x-request-id",
    ];
    let cors = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(headers.map(HeaderName::from_static))
        .expose_headers(exposed.map(HeaderName::from_static));
    if edge.origins.is_empty() {
        CorsLayer::new()
    } else if edge.origins.iter().any(|origin| origin == "*") {
        cors.allow_origin(Any)
    } else {
        cors.allow_origin(edge.origins.clone())
    }
}
