//! `serve`: a model behind the API, from its loading to its leaving.
//!
//! Owns the order: listen, load, answer, drain. Invariant: requests that were taken are answered,
//! also while the server leaves.

mod connections;
mod loader;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use inference_api::Problem;
use inference_engine::LocalScorer;
use inference_engine::cache::{CacheSettings, Store};
use inference_models::Model;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Serve;
use crate::cli::verify::Document;
use crate::http::edge::Edge;
use crate::http::{self, App, CacheControl, Lifecycle, NoCache, Updates};
use crate::logging;
use crate::metrics::Metrics;
use crate::spans::Spans;
use crate::threads;
use loader::{Common, FolderLoader};

/// Threads of each runtime that may block: they turn texts into tokens, and load models.
const BLOCKING_THREADS: usize = 4;

/// Connections that the kernel keeps until they are taken, or as many as it is set to: one more is
/// dropped, and its client tries again only after a second.
const BACKLOG: u32 = 4_096;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the model cannot be served, or the address not listened on.
pub(crate) fn run(mut args: Serve) -> anyhow::Result<()> {
    // One day for all models that this process will serve, or scores would change at midnight.
    args.model.how.special_date.get_or_insert_with(today);
    logging::start(&args.log, args.log_format, args.log_file.as_deref())?;
    let requests = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("request")
        .on_thread_start(threads::step_back)
        .enable_all()
        .build()?;
    // This thread: connections, probes and signals. It does not step back, and so the threads that
    // it starts do not, the engine's above all.
    let own = Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let outcome = own.block_on(serve(args, requests.handle().clone()));
    // A model that loads still cannot be interrupted, and is of no use any more.
    own.shutdown_background();
    requests.shutdown_background();
    outcome
}

fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

async fn serve(args: Serve, requests: Handle) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let leave = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut leave = Box::pin(leave).shared();
    // What is wrong with a flag shows before a large model is loaded.
    let edge = args.edge.edge()?;
    let spans = spans(&args, &requests).await?;
    let listener = listen(args.listen).context("--listen")?;
    let admin = match args.admin_listen {
        Some(address) => Some(listen(address).context("--admin-listen")?),
        None => None,
    };
    let model = tokio::select! {
        model = load(&args) => model?,
        () = &mut leave => return Ok(()),
    };
    let lifecycle = Arc::new(Lifecycle::default());
    let app = Arc::new(app(&args, edge, spans.clone(), model, lifecycle.clone())?);
    let version = app.current.load().model.about.version.clone();
    tracing::info!(target: "api", address = %listener.local_addr()?, version, "ready");
    let drain = connections::Drain {
        delay: args.drain_delay,
        patience: args.drain_timeout.max(args.timeout),
    };
    let admin = async {
        if let Some(listener) = admin {
            let router = http::admin_router(app.clone());
            let (lifecycle, leave) = (lifecycle.clone(), leave.clone());
            connections::serve(listener, router, requests.clone(), lifecycle, leave, drain).await;
        }
    };
    let (router, leave) = (http::router(app.clone()), leave.clone());
    let api = connections::serve(
        listener,
        router,
        requests.clone(),
        lifecycle.clone(),
        leave,
        drain,
    );
    tokio::join!(api, admin);
    if let Some(spans) = spans {
        spans.flush().await;
    }
    tracing::info!(target: "api", "left");
    Ok(())
}

/// Traces are started by a thread of the requests: theirs step back as it does. An empty variable is
/// none, as everywhere in OpenTelemetry.
async fn spans(args: &Serve, requests: &Handle) -> anyhow::Result<Option<Spans>> {
    let endpoint = args.otlp_endpoint.clone();
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(None);
    };
    let spans = requests.spawn(async move { Spans::start(&endpoint) });
    spans.await?.map(Some)
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
    edge: Edge,
    spans: Option<Spans>,
    model: Model,
    lifecycle: Arc<Lifecycle>,
) -> anyhow::Result<App<LocalScorer>> {
    let metrics = Arc::new(Metrics::new());
    let cache = cache(args)?;
    let common = Common::new(args, cache.clone(), metrics.clone());
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
        settings: args.settings(),
        edge: Arc::new(edge),
        spans,
        metrics,
        lifecycle,
        cache: match cache {
            Some(store) => Arc::new(Remembered(store)),
            None => Arc::new(NoCache),
        },
        updates,
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
struct Remembered(Arc<Store>);

impl CacheControl for Remembered {
    fn clear<'a>(&'a self, model_version: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let cleared = self.0.invalidate(model_version).await;
            cleared.map_err(|error| Problem::unavailable(error).retry_after(1))
        })
    }
}

/// A host without IPv6 refuses `[::]`; there the same port of IPv4 is meant.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match bind(address) {
        Ok(listener) => Ok(listener),
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let fallback = SocketAddr::from(([0, 0, 0, 0], address.port()));
            bind(fallback).with_context(|| fallback.to_string())
        }
        Err(error) => Err(error).with_context(|| address.to_string()),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is started anew takes the address of one that just ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
