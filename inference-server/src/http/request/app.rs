//! What requests share: what serves now, and how they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use inference_api::feedback::{Event, FeedbackResponse, Preference};
use inference_api::tei::Token;
use inference_api::{InputOptions, Problem};
use inference_scoring::{Description, Inputs, ScoreError};

use super::Updates;
use crate::http::base::settings::Settings;
use crate::http::edge::Edge;
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
    /// `None` where there are no two revisions to be compared, as in a server.
    pub(crate) feedback: Option<Arc<dyn Feedback>>,
}

impl<S> App<S> {
    /// Whether routers ask, who have none but their own word for it: where nobody is asked for credentials.
    pub(crate) fn is_behind_routers(&self) -> bool {
        self.edge.auth.is_open() && self.cache.is_behind_routers()
    }
}

/// A model that serves: a request keeps the one it began with.
pub(crate) struct Served<S> {
    pub(crate) scorer: S,
    pub(crate) model: ModelInfo,
    /// `None` where there is no tokenizer here, as in a router.
    pub(crate) tokens: Option<Arc<dyn Tokens>>,
}

/// Shows how texts are turned into tokens.
pub(crate) trait Tokens: Send + Sync + 'static {
    /// The tokens of each input.
    fn tokens(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> BoxFuture<'_, Result<Vec<Vec<Token>>, ScoreError>>;
}

/// What is served before anything is asked, as `GET /model/info` says it.
#[derive(Clone, Debug)]
pub(crate) struct ModelInfo {
    pub(crate) about: Arc<Description>,
    pub(crate) architecture: String,
    pub(crate) parameters: u64,
    pub(crate) dtype: String,
    pub(crate) device: String,
    pub(crate) engine: String,
    pub(crate) max_tokens: usize,
    /// The date that chat templates see.
    pub(crate) special_date: Option<String>,
    /// Seconds since 1970 when it was loaded.
    pub(crate) loaded_at: i64,
}

/// Takes labelled pairs, and events of users.
pub(crate) trait Feedback: Send + Sync + 'static {
    /// The most pairs that are taken at once.
    fn most(&self) -> usize;

    /// Takes them all.
    ///
    /// # Errors
    /// Why it takes none.
    fn prefer(&self, preferences: Vec<Preference>) -> Result<FeedbackResponse, Problem>;

    /// Takes events.
    ///
    /// # Errors
    /// Why it takes none.
    fn happened(&self, events: Vec<Event>) -> Result<FeedbackResponse, Problem>;
}

/// Forgets scores.
pub(crate) trait CacheControl: Send + Sync + 'static {
    /// Forgets all scores of a version of the model.
    ///
    /// # Errors
    /// When there is no cache, or it does not answer.
    fn clear<'a>(&'a self, model_version: &'a str) -> BoxFuture<'a, Result<(), Problem>>;

    /// Whether routers may let it forget, where nobody is asked for credentials.
    fn is_behind_routers(&self) -> bool {
        false
    }
}

/// There is no cache.
pub(crate) struct NoCache {
    pub(crate) behind_routers: bool,
}

impl CacheControl for NoCache {
    fn clear<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(std::future::ready(Err(no_cache())))
    }

    fn is_behind_routers(&self) -> bool {
        self.behind_routers
    }
}

/// What is said where there is no cache.
pub(crate) fn no_cache() -> Problem {
    Problem::conflict("no cache is configured: there is nothing to forget")
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
