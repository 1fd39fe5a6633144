//! Health, metrics, and what is served.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_api::update::{CalibrationValues, DescribedLimits, Health, ModelDescription, Probe};
use inference_scoring::Scorer;

use super::App;
use super::call::Call;
use super::error::Failure;

/// The process runs: nothing of the model, so that a slow forward pass is no reason to restart.
pub(super) async fn live() -> Json<Probe> {
    Json(Probe { status: "alive" })
}

pub(super) async fn ready<S: Scorer>(
    State(app): State<Arc<App<S>>>,
) -> Result<Json<Probe>, Failure> {
    if app.lifecycle.is_leaving() {
        return Err(Problem::unavailable("the server is leaving")
            .retry_after(1)
            .into());
    }
    Ok(Json(Probe { status: "ready" }))
}

pub(super) async fn summary<S: Scorer>(State(app): State<Arc<App<S>>>) -> Response {
    let leaving = app.lifecycle.is_leaving();
    let status = if leaving {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = Health {
        status: if leaving { "leaving" } else { "healthy" },
        model_loaded: true,
        timestamp: jiff::Timestamp::now().to_string(),
    };
    (status, Json(body)).into_response()
}

pub(super) async fn model_info<S: Scorer>(call: Call<S>) -> Json<ModelDescription> {
    let (model, settings) = (call.served.model.clone(), &call.app.settings);
    Json(ModelDescription {
        model_type: model.architecture,
        version: model.version,
        digest: model.digest,
        device: model.device.to_owned(),
        dtype: model.dtype.to_owned(),
        parameters: model.parameters,
        trainable_parameters: model.parameters,
        label: model.labels.get(settings.label).cloned(),
        labels: model.labels,
        calibrated: model.calibration.is_some(),
        calibration: model.calibration.map(|calibration| CalibrationValues {
            scale: calibration.scale(),
            shift: calibration.shift(),
        }),
        special_date: model.special_date,
        limits: DescribedLimits {
            max_tokens: model.max_tokens,
            max_batch: settings.limits.max_batch,
            max_pairs: settings.max_pairs,
            max_characters: settings.limits.max_characters,
            max_body_bytes: settings.max_body_bytes,
            timeout_seconds: settings.timeout.as_secs_f64(),
        },
    })
}

pub(super) async fn metrics<S: Scorer>(State(app): State<Arc<App<S>>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        app.metrics
            .encode(app.current.load().scorer.queued_tokens()),
    )
}
