//! `POST /model/update`, its status, and `DELETE /cache`.
//!
//! Owns the jobs that load a model beside the one that serves. It must not know how a model is
//! loaded, or where scores are kept. Invariants: one update at a time; the swap replaces model,
//! tokenizer and description as one; a failed load leaves the old model serving.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use inference_api::Problem;
use inference_api::update::{CacheCleared, Update, UpdateRequest, UpdateStatus};
use inference_scoring::{Calibration, Scorer};

use super::body::Payload;
use super::call::Call;
use super::error::Failure;
use super::{App, Served};

/// Updates whose outcome can still be asked for.
const REMEMBERED: usize = 16;

/// The model that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) model_path: String,
    pub(crate) digest: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) calibration: Option<Calibration>,
}

/// Loads models for `POST /model/update`.
pub(crate) trait Loader<S>: Send + Sync + 'static {
    /// Checks what can be checked at once.
    ///
    /// # Errors
    /// 422 with what to send.
    fn check(&self, wanted: &Wanted) -> Result<(), Problem>;

    /// Loads and verifies a model, and scores once with it.
    ///
    /// # Errors
    /// A sentence that names no path.
    fn load(&self, wanted: Wanted) -> BoxFuture<'static, Result<Served<S>, String>>;
}

/// Forgets scores.
pub(crate) trait CacheControl: Send + Sync + 'static {
    /// Forgets all scores of a version of the model.
    ///
    /// # Errors
    /// When there is no cache, or it does not answer.
    fn clear<'a>(&'a self, model_version: &'a str) -> BoxFuture<'a, Result<(), Problem>>;
}

/// There is no cache.
pub(crate) struct NoCache;

impl CacheControl for NoCache {
    fn clear<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        let problem = Problem::conflict("no cache is configured: there is nothing to forget");
        Box::pin(std::future::ready(Err(problem)))
    }
}

/// The updates of this process.
pub(crate) struct Updates<S> {
    loader: Arc<dyn Loader<S>>,
    jobs: Mutex<VecDeque<Update>>,
}

impl<S: Scorer> Updates<S> {
    pub(crate) fn new(loader: Arc<dyn Loader<S>>) -> Self {
        Self {
            loader,
            jobs: Mutex::new(VecDeque::new()),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Update>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, wanted: &Wanted) -> Result<Update, Problem> {
        let mut jobs = self.jobs();
        if jobs.iter().any(|job| job.status == UpdateStatus::Loading) {
            return Err(Problem::conflict(
                "another update is loading: wait for its end at /model/update/{id}",
            )
            .retry_after(5));
        }
        let job = Update {
            // Not the request's: a client may have chosen that one, and it need not fit a path.
            id: format!("{:x}", jiff::Timestamp::now().as_nanosecond()),
            status: UpdateStatus::Loading,
            model_path: wanted.model_path.clone(),
            model_version: None,
            message: None,
            started_at: now(),
            finished_at: None,
        };
        jobs.push_back(job.clone());
        if jobs.len() > REMEMBERED {
            jobs.pop_front();
        }
        Ok(job)
    }

    fn end(&self, id: &str, outcome: Result<String, String>) {
        let mut jobs = self.jobs();
        let Some(job) = jobs.iter_mut().find(|job| job.id == id) else {
            return;
        };
        job.finished_at = Some(now());
        match outcome {
            Ok(version) => {
                job.status = UpdateStatus::Succeeded;
                job.model_version = Some(version);
            }
            Err(message) => {
                job.status = UpdateStatus::Failed;
                job.message = Some(message);
            }
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn updates<S>(app: &App<S>) -> Result<&Updates<S>, Problem> {
    app.updates.as_ref().ok_or_else(|| {
        Problem::conflict(
            "models are not updated over HTTP here: change the RewardModel, or start the server with --allow-update",
        )
    })
}

pub(super) async fn update<S: Scorer>(
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
    tokio::spawn(run(app.clone(), job.id.clone(), wanted));
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

async fn run<S: Scorer>(app: Arc<App<S>>, id: String, wanted: Wanted) {
    let Some(updates) = &app.updates else { return };
    let began = std::time::Instant::now();
    // In a task of its own, so that a loader that panics is a failed update like any other.
    let loaded = tokio::spawn(updates.loader.load(wanted))
        .await
        .unwrap_or_else(|_| Err("the model could not be loaded".to_owned()));
    let outcome = loaded.map(|served| {
        let version = served.model.version.clone();
        app.metrics.loaded(&version, began.elapsed().as_secs_f64());
        app.current.store(Arc::new(served));
        version
    });
    match &outcome {
        Ok(version) => tracing::info!(target: "model", version, update = id, "updated"),
        Err(message) => tracing::warn!(target: "model", message, update = id, "not updated"),
    }
    updates.end(&id, outcome);
}

pub(super) async fn update_status<S: Scorer>(
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

pub(super) async fn clear_cache<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<CacheCleared>, Failure> {
    let query = query.unwrap_or_default();
    let version = query
        .split('&')
        .find_map(|part| part.strip_prefix("model_version="));
    let version = version
        .and_then(decoded)
        .filter(|version| !version.is_empty());
    let version = version
        .ok_or_else(|| Problem::unprocessable("say whose scores: /cache?model_version=VERSION"))?;
    app.cache.clear(&version).await?;
    Ok(Json(CacheCleared {
        model_version: version,
    }))
}

/// Undoes percent-encoding; `None` where it is broken.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(digits, 16).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_query_is_no_version() {
        assert_eq!(decoded("v1%2E2+x").as_deref(), Some("v1.2 x"));
        for text in ["%", "%1", "%zz", "%ff"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
