//! Health, metrics, and what is served. Open to all.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_scoring::Scorer;
use serde_json::{Value, json};

use super::App;
use super::error::Failure;

/// The process runs: nothing of the model, so that a slow forward pass is no reason to restart.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

pub(super) async fn ready<S>(State(app): State<Arc<App<S>>>) -> Response {
    if app.lifecycle.is_leaving() {
        return Failure(Problem::unavailable("the server is leaving").retry_after(1))
            .into_response();
    }
    Json(json!({ "status": "ready" })).into_response()
}

pub(super) async fn summary<S>(State(app): State<Arc<App<S>>>) -> Response {
    let leaving = app.lifecycle.is_leaving();
    let status = if leaving {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = json!({
        "status": if leaving { "leaving" } else { "healthy" },
        "model_loaded": true,
        "timestamp": jiff::Timestamp::now().to_string(),
    });
    (status, Json(body)).into_response()
}

pub(super) async fn model_info<S>(State(app): State<Arc<App<S>>>) -> Json<Value> {
    let (model, settings) = (&app.model, &app.settings);
    Json(json!({
        "model_type": model.architecture,
        "version": model.version,
        "digest": model.digest,
        "device": model.device,
        "dtype": model.dtype,
        "parameters": model.parameters,
        "trainable_parameters": model.parameters,
        "labels": model.labels,
        "calibrated": settings.calibration.is_some(),
        "limits": {
            "max_tokens": model.max_tokens,
            "max_batch": settings.limits.max_batch,
            "max_characters": settings.limits.max_characters,
            "max_body_bytes": settings.max_body_bytes,
            "timeout_seconds": settings.timeout.as_secs_f64(),
        },
    }))
}

pub(super) async fn metrics<S: Scorer>(State(app): State<Arc<App<S>>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        app.metrics.encode(app.scorer.queued_tokens()),
    )
}
