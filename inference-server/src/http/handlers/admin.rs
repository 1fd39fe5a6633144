//! `POST /model/update`, its status, and `DELETE /cache`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_api::update::{CacheCleared, Update, UpdateRequest, is_version};
use inference_scoring::{Calibration, Scorer};

use crate::http::base::failure::Failure;
use crate::http::request::{App, Call, Payload, Updates, Wanted, run_update};

fn updates<S>(app: &App<S>) -> Result<&Updates<S>, Problem> {
    app.updates.as_ref().ok_or_else(|| {
        Problem::conflict(
            "models are not updated over HTTP here: change the RewardModel, or start the server with --allow-update",
        )
    })
}

pub(crate) async fn update<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let app = call.app.clone();
    let updates = updates(&app)?;
    let request: UpdateRequest = payload.parse()?;
    request.check()?;
    let wanted = wanted(request)?;
    updates.loader.check(&wanted)?;
    let job = updates.begin(&wanted)?;
    tokio::spawn(run_update(app.clone(), job.id.clone(), wanted));
    let place = format!("/model/update/{}", job.id);
    let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn wanted(request: UpdateRequest) -> Result<Wanted, Problem> {
    let calibration = request.calibration.map(|values| {
        Calibration::new(values.scale, values.shift)
            .ok_or_else(|| Problem::unprocessable("calibration.scale must be above 0"))
    });
    Ok(Wanted {
        model_path: request.model_path,
        digest: request.digest,
        version: request.version,
        calibration: calibration.transpose()?,
    })
}

pub(crate) async fn update_status<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Update>, Failure> {
    let updates = updates(&app)?;
    // What is no text names no update.
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let job = updates.jobs().iter().find(|job| job.id == id).cloned();
    let unknown = || Problem::not_found("there is no such update: the last 16 are remembered");
    Ok(Json(job.ok_or_else(unknown)?))
}

pub(crate) async fn clear_cache<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<CacheCleared>, Failure> {
    let query = query.filter(|query| is_encoded(query)).unwrap_or_default();
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    let version = fields.find(|(name, _)| name == "model_version");
    let version = version
        .map(|(_, version)| version.into_owned())
        .filter(|version| is_version(version));
    let version = version
        .ok_or_else(|| Problem::unprocessable("say whose scores: /cache?model_version=VERSION"))?;
    app.cache.clear(&version).await?;
    Ok(Json(CacheCleared {
        model_version: version,
    }))
}

/// Whether each `%` begins an escape: what is decoded leniently would be another version's name.
fn is_encoded(query: &str) -> bool {
    let escapes = query.split('%').skip(1);
    escapes.into_iter().all(|rest| {
        let digits = rest.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    })
}
