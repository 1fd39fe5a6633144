//! The HTTP API: handlers generic over a `Scorer`, and the layers around them.
//!
//! Owns how a request becomes a `ScoreRequest` and an answer, in floors: `base`, `edge`, `request`,
//! `handlers`. Each knows those below it alone; this file knows all of them. It must not know where
//! scores come from, nor of the command line.

mod base;
pub(crate) mod edge;
mod handlers;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use inference_scoring::Scorer;
use tower::util::option_layer;

pub(crate) use base::failure::{Failure, Unscored};
pub(crate) use base::routes;
pub(crate) use base::settings::{DialectScores, Settings};
#[cfg(test)]
pub(crate) use edge::Edge;
pub(crate) use handlers::openapi;
pub(crate) use request::{
    App, CacheControl, Feedback, Lifecycle, Loader, ModelInfo, NoCache, Served, Tokens, Updates,
    Wanted, no_cache,
};

use base::failure;
use handlers::{
    admin, docs, evaluate, feedback, health, internal, native, openrlhf, probes, rerank, sglang,
    tei, vllm,
};
use request::{render, trace};

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
        .merge(internal())
        .merge(taking(&app))
        .merge(observation())
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(docs::page))
        .fallback(failure::unknown_route)
        .method_not_allowed_fallback(failure::wrong_method);
    // In the order in which a request meets them. All in one, because each call of `layer` is a
    // service of its own that is copied for each request.
    let layers = (
        from_fn_with_state(app.clone(), trace::layer),
        option_layer(edge::cors(&app.edge)),
        edge::compression(),
        from_fn_with_state(app.clone(), render::layer),
    );
    routes.layer(layers).with_state(app)
}

/// Health and metrics over `app`, and more, for an address of their own.
pub(crate) fn admin_router<S: Scorer>(app: Arc<App<S>>, more: Router<Arc<App<S>>>) -> Router {
    more.merge(observation())
        .fallback(failure::unknown_route)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer((
            from_fn_with_state(app.clone(), trace::layer),
            from_fn(render::of_everybody),
        ))
        .with_state(app)
}

fn observation<S: Scorer>() -> Router<Arc<App<S>>> {
    Router::new()
        .route("/health", get(health::summary))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
}

/// What is taken where there are two revisions.
fn taking<S: Scorer>(app: &App<S>) -> Router<Arc<App<S>>> {
    match app.feedback {
        Some(_) => Router::new().route("/feedback", post(feedback::feedback)),
        None => Router::new(),
    }
}

/// What routers ask.
fn internal<S: Scorer>() -> Router<Arc<App<S>>> {
    use inference_api::internal::{CACHE_PATH, MODEL_PATH, PATH, TOKENS_PATH};
    Router::new()
        .route(PATH, post(internal::score))
        .route(TOKENS_PATH, post(internal::tokens))
        .route(MODEL_PATH, get(internal::model))
        .route(CACHE_PATH, post(internal::forget))
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
