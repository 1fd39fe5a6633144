//! The edge: who may ask, how often, and in what form. The same for `serve` and for the router.
//!
//! Owns credentials, rates, addresses, and what bodies may be compressed with and take of the memory.
//! It must not know what is served. Invariant: nothing here tells a client more than the class of what
//! is wrong with its credentials.

mod address;
mod api_keys;
mod auth;
mod budget;
pub(crate) mod codings;
mod filter;
mod jwks;
mod jwt;
mod rate_limit;
mod reload;

use axum::http::{HeaderValue, Method};
use inference_api::Problem;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{Any, CorsLayer};

pub(crate) use address::{Peer, Proxies};
pub(crate) use api_keys::ApiKeys;
pub(crate) use auth::{Auth, Caller, admit};
pub(crate) use budget::{BODY_BYTES, Budget, Full, Held};
pub(crate) use filter::{Filter, GUIDE_PATTERNS};
pub(crate) use jwks::Jwks;
pub(crate) use jwt::{Jwt, JwtSettings, secret};
pub(crate) use rate_limit::{Limiter, Rate};
pub(crate) use reload::Reloaded;

use super::base::headers;

/// Answers above this size are compressed for clients that ask for it.
const COMPRESS_ABOVE: u64 = 1_000;

/// Everything that the edge is set to.
#[derive(Default)]
pub(crate) struct Edge {
    pub(crate) auth: Auth,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) proxies: Proxies,
    pub(crate) filter: Filter,
    /// For the bodies of all requests together.
    pub(crate) bodies: Budget,
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

/// Compresses answers.
pub(crate) fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESS_ABOVE))
}

/// Lets browsers ask from the configured origins; from none by default.
pub(crate) fn cors(edge: &Edge) -> Option<CorsLayer> {
    let cors = CorsLayer::new()
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers(headers::OF_REQUESTS)
        .expose_headers(headers::OF_ANSWERS);
    if edge.origins.is_empty() {
        None
    } else if edge.origins.iter().any(|origin| origin == "*") {
        Some(cors.allow_origin(Any))
    } else {
        Some(cors.allow_origin(edge.origins.clone()))
    }
}
