//! The jobs that load a model beside the one that serves.
//!
//! Must not know how a model is loaded. Invariants: one update at a time; the swap replaces model,
//! tokenizer and description as one; a failed load leaves the old model serving.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use inference_api::Problem;
use inference_api::update::{Update, UpdateStatus};
use inference_scoring::{Calibration, Scorer};

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

/// The updates of this process.
pub(crate) struct Updates<S> {
    pub(crate) loader: Arc<dyn Loader<S>>,
    jobs: Mutex<VecDeque<Update>>,
}

impl<S: Scorer> Updates<S> {
    pub(crate) fn new(loader: Arc<dyn Loader<S>>) -> Self {
        Self {
            loader,
            jobs: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn jobs(&self) -> MutexGuard<'_, VecDeque<Update>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, wanted: &Wanted) -> Result<Update, Problem> {
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

/// Loads what is wanted and lets it serve.
pub(crate) async fn run<S: Scorer>(app: Arc<App<S>>, id: String, wanted: Wanted) {
    let Some(updates) = &app.updates else { return };
    let began = std::time::Instant::now();
    // In a task of its own, so that a loader that panics is a failed update like any other.
    let loaded = tokio::spawn(updates.loader.load(wanted))
        .await
        .unwrap_or_else(|_| Err("the model could not be loaded".to_owned()));
    let outcome = loaded.map(|served| {
        let version = served.model.about.version.clone();
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
