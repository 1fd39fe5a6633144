//! The HTTP API: handlers generic over a `Scorer`, and the layers around them.
//!
//! Owns how a request becomes a `ScoreRequest` and an answer. It must not know where scores come
//! from. Invariant: every answer that is not a success is problem+json, and every answer names the
//! model's version and the request.

mod body;
mod error;
mod health;
mod predict;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use inference_api::Limits;
use inference_scoring::{Calibration, Scorer};

use crate::args::Activation;
use crate::metrics::Metrics;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App<S> {
    pub(crate) scorer: S,
    pub(crate) model: ModelInfo,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Arc<Lifecycle>,
}

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) max_body_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) label: usize,
    pub(crate) activation: Activation,
    pub(crate) calibration: Option<Calibration>,
}

/// What is served, as `GET /model/info` says it.
#[derive(Clone, Debug)]
pub(crate) struct ModelInfo {
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) architecture: String,
    pub(crate) labels: Vec<String>,
    pub(crate) parameters: u64,
    pub(crate) dtype: &'static str,
    pub(crate) device: &'static str,
    pub(crate) max_tokens: usize,
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
    Router::new()
        .route("/predict", post(predict::one))
        .route("/predict/batch", post(predict::batch))
        .route("/health", get(health::summary))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/model/info", get(health::model_info))
        .route("/metrics", get(health::metrics))
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn_with_state(app.clone(), trace::layer))
        .with_state(app)
}

#[cfg(test)]
mod tests;
