//! The routes that there are, who may use them, and whose dialect they speak.
//!
//! Invariant: what a metric, a scope check or the `OpenAPI` document knows of a route, it has from here.

use inference_api::{Dialect, internal};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Score,
    Evaluate,
    Feedback,
    Admin,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Whoever has credentials, where credentials are asked for.
    Any,
    /// Whoever has this scope, where credentials are asked for; the admin scope is always asked for.
    Scope(Scope),
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// That of its errors, unless the request shows another.
    pub(crate) dialect: Dialect,
}

impl Route {
    /// Whether its requests wait for the engine.
    pub(crate) const fn scores(&self) -> bool {
        matches!(self.access, SCORE | EVALUATE)
    }

    /// Whether it takes what was seen of answers.
    pub(crate) const fn takes_feedback(&self) -> bool {
        matches!(self.access, FEEDBACK)
    }

    /// The statuses that it may answer with: no other is told by the `OpenAPI` document.
    pub(crate) const fn statuses(&self) -> &'static [u16] {
        match self.access {
            SCORE | EVALUATE => &[
                200, 400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504,
            ],
            ADMIN => &[
                200, 202, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503,
            ],
            Access::Any => &[200, 401, 403, 503],
            FEEDBACK => &[202, 400, 401, 403, 408, 413, 415, 422, 429, 503],
            Access::Open => &[200, 503],
        }
    }

    /// Whether it is no one's but a router's, and not documented.
    pub(crate) fn is_internal(&self) -> bool {
        self.path.starts_with("/internal/")
    }

    /// Whether it is asked again and again by what watches the server, and never by its clients.
    pub(crate) fn is_probe(&self) -> bool {
        is_probe(self.path)
    }
}

/// Whether a path is one that only watches the server.
pub(crate) fn is_probe(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/health")
}

const fn route(path: &'static str, access: Access, dialect: Dialect) -> Route {
    Route {
        path,
        access,
        dialect,
    }
}

const SCORE: Access = Access::Scope(Scope::Score);
const EVALUATE: Access = Access::Scope(Scope::Evaluate);
const FEEDBACK: Access = Access::Scope(Scope::Feedback);
const ADMIN: Access = Access::Scope(Scope::Admin);

pub(crate) const ROUTES: [Route; 29] = [
    route("/predict", SCORE, Dialect::Native),
    route("/predict/batch", SCORE, Dialect::Native),
    route("/evaluate", EVALUATE, Dialect::Native),
    route("/get_reward", SCORE, Dialect::Native),
    route("/classify", SCORE, Dialect::OpenAi),
    route("/score", SCORE, Dialect::OpenAi),
    route("/v1/score", SCORE, Dialect::OpenAi),
    route("/rerank", SCORE, Dialect::OpenAi),
    route("/v1/rerank", SCORE, Dialect::OpenAi),
    route("/v2/rerank", SCORE, Dialect::Cohere),
    route("/v1/embeddings", SCORE, Dialect::OpenAi),
    route("/tokenize", SCORE, Dialect::Tei),
    route("/info", Access::Any, Dialect::Tei),
    route("/v1/models", Access::Any, Dialect::OpenAi),
    route("/model/info", Access::Any, Dialect::Native),
    route("/model/update", ADMIN, Dialect::Native),
    route("/model/update/{id}", ADMIN, Dialect::Native),
    route("/cache", ADMIN, Dialect::Native),
    route("/feedback", FEEDBACK, Dialect::Native),
    route("/health", Access::Open, Dialect::Native),
    route("/health/live", Access::Open, Dialect::Native),
    route("/health/ready", Access::Open, Dialect::Native),
    route("/metrics", Access::Open, Dialect::Native),
    route("/openapi.json", Access::Open, Dialect::Native),
    route("/docs", Access::Open, Dialect::Native),
    // Between a router and a server. Nothing is said here that the routes above do not say to whoever
    // may use them, so whoever may score may ask.
    route(internal::PATH, SCORE, Dialect::Native),
    route(internal::TOKENS_PATH, SCORE, Dialect::Native),
    route(internal::MODEL_PATH, Access::Any, Dialect::Native),
    // The handler knows who may.
    route(internal::CACHE_PATH, Access::Any, Dialect::Native),
];

/// The endpoint of what is no route, in metrics.
pub(crate) const OTHER: &str = "other";
/// What that is answered with.
pub(crate) const STATUSES: &[u16] = &[404, 405];

/// The route of a matched path; `None` for paths that are none.
pub(crate) fn find(path: Option<&str>) -> Option<&'static Route> {
    let path = path?;
    ROUTES.iter().find(|route| route.path == path)
}
