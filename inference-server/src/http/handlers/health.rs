//! Health, metrics, and what is served.

use std::sync::Arc;

use crate::http::base::failure::Failure;
use crate::http::request::{App, Call};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_api::update::{CalibrationValues, DescribedLimits, Health, ModelDescription, Probe};
use inference_scoring::Scorer;

/// The process runs: nothing of the model, so that a slow forward pass is no reason to restart.
pub(crate) async fn live() -> Json<Probe> {
    Json(Probe { status: "alive" })
}

pub(crate) async fn ready<S: Scorer>(
    State(app): State<Arc<App<S>>>,
) -> Result<Json<Probe>, Failure> {
    if app.lifecycle.is_leaving() {
        return Err(Problem::unavailable("the server is leaving")
            .retry_after(1)
            .into());
    }
    if !app.current.load().scorer.is_ready() {
        return Err(
            Problem::unavailable("the server does not know yet whom it may ask")
                .retry_after(1)
                .into(),
        );
    }
    Ok(Json(Probe { status: "ready" }))
}

pub(crate) async fn summary<S: Scorer>(State(app): State<Arc<App<S>>>) -> Response {
    let leaving = app.lifecycle.is_leaving();
    let status = if leaving {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = Health {
        status: if leaving { "leaving" } else { "healthy" },
        model_loaded: true,
        timestamp: seconds(),
    };
    (status, Json(body)).into_response()
}

/// Seconds since 1970, to the millisecond.
fn seconds() -> f64 {
    let milliseconds = jiff::Timestamp::now().as_millisecond();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a millisecond of the next millennia is exact"
    )]
    let milliseconds = milliseconds as f64;
    milliseconds / 1e3
}

pub(crate) async fn model_info<S: Scorer>(call: Call<S>) -> Json<ModelDescription> {
    let (model, settings) = (call.served.model.clone(), &call.app.settings);
    let about = model.about;
    Json(ModelDescription {
        model_type: model.architecture,
        version: about.version.clone(),
        digest: about.digest.clone(),
        device: model.device,
        engine: model.engine,
        dtype: model.dtype,
        parameters: model.parameters,
        trainable_parameters: model.parameters,
        label: about.labels.get(about.label).cloned(),
        labels: about.labels.clone(),
        activation: about.native.word().to_owned(),
        calibrated: about.calibration.is_some(),
        calibration: about.calibration.map(|calibration| CalibrationValues {
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

pub(crate) async fn metrics<S: Scorer>(State(app): State<Arc<App<S>>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(header::CONTENT_TYPE, kind)],
        app.metrics
            .encode(app.current.load().scorer.queued_tokens()),
    )
}
