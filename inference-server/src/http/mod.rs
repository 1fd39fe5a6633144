//! The HTTP API: handlers generic over a `Scorer`, and the layers around them.
//!
//! Owns how a request becomes a `ScoreRequest` and an answer. It must not know where scores come
//! from. Invariants: every answer that is not a success is problem+json; every answer names the
//! model's version and the request; a request is answered by the model that it began with.

mod admin;
mod body;
mod call;
mod docs;
pub(crate) mod edge;
mod error;
mod evaluate;
mod health;
mod native;
pub(crate) mod openapi;
mod openrlhf;
mod probes;
mod rerank;
mod routes;
mod sglang;
mod tei;
mod trace;
mod vllm;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use inference_api::tei::Token;
use inference_api::{Input, InputOptions, Limits};
use inference_models::OutputActivation;
use inference_scoring::{Calibration, Scorer};

pub(crate) use admin::{CacheControl, Loader, NoCache, Updates, Wanted};
pub(crate) use edge::Edge;

use crate::args::{Activation, DialectScores};
use crate::metrics::Metrics;
use crate::spans::Spans;

/// What the handlers share.
pub(crate) struct App<S> {
    /// What serves now; an update replaces it as one.
    pub(crate) current: ArcSwap<Served<S>>,
    pub(crate) settings: Settings,
    pub(crate) edge: Arc<Edge>,
    /// `None` where there are no traces.
    pub(crate) spans: Option<Spans>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) cache: Arc<dyn CacheControl>,
    /// `None` where models are not updated over HTTP.
    pub(crate) updates: Option<Updates<S>>,
}

/// A model that serves: a request keeps the one it began with.
pub(crate) struct Served<S> {
    pub(crate) scorer: S,
    pub(crate) model: ModelInfo,
    /// `None` where there is no tokenizer here, as in a router.
    pub(crate) tokens: Option<Arc<dyn Tokens>>,
}

/// Shows how a text is turned into tokens.
pub(crate) trait Tokens: Send + Sync + 'static {
    /// # Errors
    /// A sentence for the client.
    fn tokens(&self, input: Input, options: InputOptions) -> Result<Vec<Token>, String>;
}

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) max_pairs: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_batch_tokens: usize,
    pub(crate) max_concurrent_requests: usize,
    pub(crate) timeout: Duration,
    pub(crate) evaluate_timeout: Duration,
    pub(crate) label: usize,
    pub(crate) activation: Activation,
    pub(crate) dialect_scores: DialectScores,
}

/// What is served, as `GET /model/info` says it.
#[derive(Clone, Debug)]
pub(crate) struct ModelInfo {
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) architecture: String,
    pub(crate) kind: Kind,
    pub(crate) labels: Vec<String>,
    /// What the logits go through where an answer shows probabilities.
    pub(crate) activation: OutputActivation,
    pub(crate) parameters: u64,
    pub(crate) dtype: &'static str,
    pub(crate) device: &'static str,
    pub(crate) max_tokens: usize,
    /// Belongs to the model: an update without one has no confidence.
    pub(crate) calibration: Option<Calibration>,
    /// The date that chat templates see.
    pub(crate) special_date: Option<String>,
    /// Seconds since 1970 when it was loaded.
    pub(crate) loaded_at: i64,
}

/// Which half of a transformer it is; some clients' defaults depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Encoder,
    Decoder,
}

/// Whether the server is on its way out.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    leaving: AtomicBool,
}

impl Lifecycle {
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

/// The API over `app`.
pub(crate) fn router<S: Scorer>(app: Arc<App<S>>) -> Router {
    let routes = Router::new()
        .merge(scoring())
        .route("/info", get(probes::info))
        .route("/v1/models", get(probes::models))
        .route("/model/info", get(health::model_info))
        .route("/model/update", post(admin::update))
        .route("/model/update/{id}", get(admin::update_status))
        .route("/cache", delete(admin::clear_cache))
        .merge(observation())
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(docs::page))
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method);
    // The last layer is the first that a request meets.
    edge::inner(routes, &app.edge, app.settings.max_body_bytes)
        .layer(from_fn(error::render))
        .layer(edge::compression())
        .layer(edge::cors(&app.edge))
        .layer(from_fn_with_state(app.clone(), trace::layer))
        .with_state(app)
}

/// Health and metrics over `app`, for an address of their own.
pub(crate) fn admin_router<S: Scorer>(app: Arc<App<S>>) -> Router {
    Router::new()
        .merge(observation())
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn(error::render))
        .layer(from_fn_with_state(app.clone(), trace::layer))
        .with_state(app)
}

fn observation<S: Scorer>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/health", get(health::summary))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
}

fn scoring<S: Scorer>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/predict", post(native::predict))
        .route("/predict/batch", post(native::batch))
        .route("/evaluate", post(evaluate::evaluate))
        .route("/get_reward", post(openrlhf::get_reward))
        .route("/classify", post(vllm::classify))
        .route("/score", post(vllm::score))
        .route("/v1/score", post(vllm::score))
        .route("/rerank", post(rerank::rerank))
        .route("/v1/rerank", post(rerank::documents))
        .route("/v2/rerank", post(rerank::documents))
        .route("/v1/embeddings", post(sglang::embeddings))
        .route("/tokenize", post(tei::tokenize))
}

#[cfg(test)]
mod tests;
