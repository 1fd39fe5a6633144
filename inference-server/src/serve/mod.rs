//! `serve`: a model behind the API, from its loading to its leaving.
//!
//! Owns what is made of a model: the engine, its cache, and who may replace it; and the end where its device is lost.

mod device;
mod loader;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use futures::future::BoxFuture;
use inference_api::Problem;
use inference_engine::LocalScorer;
use inference_engine::cache::{CacheSettings, Store};
use inference_models::{LoadError, Model, Reason};

use crate::args::Serve;
use crate::cli::verify::Document;
use crate::http::{self, App, CacheControl, NoCache, Updates};
use crate::metrics::Metrics;
use crate::shell::{self, Requests, Shell};
use device::Listener;
use loader::{Common, FolderLoader};

/// How long answers have to leave a server whose device is lost.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the model cannot be served, or the address not listened on.
pub(crate) fn run(mut args: Serve) -> anyhow::Result<()> {
    // One day for all models that this process will serve, or scores would change at midnight.
    args.model.how.special_date.get_or_insert_with(today);
    let api = args.api.clone();
    shell::run(&api, Requests::BehindAnEngine, |shell| serve(args, shell))
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

async fn serve(args: Serve, mut shell: Shell) -> anyhow::Result<()> {
    let model = tokio::select! {
        model = load(&args) => model?,
        () = &mut shell.leave => return Ok(()),
    };
    let listener = Arc::new(Listener::new(Arc::new(Metrics::new())));
    let app = Arc::new(app(&args, &shell, model, listener.clone())?);
    let version = app.current.load().model.about.version.clone();
    tracing::info!(target: "api", address = %shell.address()?, version, "ready");
    let admin = http::admin_router(app.clone(), Router::new());
    let serving = shell.serve(&app, admin, async |_| ());
    tokio::select! {
        () = serving => Ok(()),
        why = listener.loss() => Err(lost(&args, &why).await),
    }
}

/// The end of a process whose device is lost: it computes nothing any more, and started anew it may.
async fn lost(args: &Serve, why: &str) -> anyhow::Error {
    // Those whose scores are lost with it are told so first.
    tokio::time::sleep(LAST_ANSWERS).await;
    let error = LoadError::new(
        Reason::LoadFailed,
        format!(
            "{why}: the server ends, to be started anew; where it ends so again, look for the GPU's errors on its node (nvidia-smi, dmesg)"
        ),
    );
    let written = args.termination_log.as_deref();
    let written = written.map_or(Ok(()), |file| Document::bad(&error).write(file));
    match written {
        Ok(()) => anyhow::anyhow!("{error}"),
        Err(unwritten) => unwritten.context(error.to_string()),
    }
}

async fn load(args: &Serve) -> anyhow::Result<Model> {
    let (folder, options) = (args.model.model.clone(), args.model.how.load());
    let loaded =
        tokio::task::spawn_blocking(move || inference_models::load(&folder, &options)).await?;
    match loaded {
        Ok(model) => {
            tracing::info!(
                target: "model",
                digest = %model.facts.digest,
                architecture = model.facts.architecture,
                seconds = model.facts.load_seconds,
                "loaded"
            );
            Ok(model)
        }
        Err(error) => {
            if let Some(file) = &args.termination_log {
                Document::bad(&error).write(file)?;
            }
            Err(anyhow::anyhow!("{}: {error}", error.reason))
        }
    }
}

fn app(
    args: &Serve,
    shell: &Shell,
    model: Model,
    listener: Arc<Listener>,
) -> anyhow::Result<App<LocalScorer>> {
    let metrics = listener.metrics();
    let (cache, behind_routers) = (cache(args)?, args.revision.is_some());
    let common = Common::new(args, cache.clone(), listener);
    let load_seconds = model.facts.load_seconds;
    let served = common.serve(model, args.model_version.clone(), args.calibration)?;
    metrics.loaded(&served.model.about.version, load_seconds);
    let updates = match &args.models_root {
        Some(root) if args.allow_update => {
            Some(Updates::new(Arc::new(FolderLoader::new(root, common)?)))
        }
        Some(_) | None => None,
    };
    Ok(App {
        current: ArcSwap::from_pointee(served),
        settings: args.api.settings(),
        edge: shell.edge.clone(),
        spans: shell.spans.clone(),
        metrics,
        lifecycle: shell.lifecycle.clone(),
        cache: match cache {
            Some(store) => Arc::new(Remembered {
                store,
                behind_routers,
            }),
            None => Arc::new(NoCache { behind_routers }),
        },
        updates,
        feedback: None,
    })
}

fn cache(args: &Serve) -> anyhow::Result<Option<Arc<Store>>> {
    let settings = CacheSettings {
        ttl: args.cache_ttl,
        max_entries: args.cache_max_entries,
        redis_url: args.redis_url.clone(),
    };
    let store = args.cache.then(|| Store::new(&settings)).transpose();
    let store = store.map_err(|error| anyhow::anyhow!("--redis-url: {error}"))?;
    Ok(store.map(Arc::new))
}

/// Scores that are remembered here or in a Redis.
struct Remembered {
    store: Arc<Store>,
    behind_routers: bool,
}

impl CacheControl for Remembered {
    fn clear<'a>(&'a self, model_version: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let cleared = self.store.invalidate(model_version).await;
            cleared.map_err(|error| Problem::unavailable(error).retry_after(1))
        })
    }

    fn is_behind_routers(&self) -> bool {
        self.behind_routers
    }
}
