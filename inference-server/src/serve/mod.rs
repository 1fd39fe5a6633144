//! `serve`: a model behind the API, from its loading to its leaving.
//!
//! Owns the order: listen, load, answer, drain. Invariant: requests that were taken are answered,
//! also while the server leaves.

mod connections;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, ensure};
use inference_api::Limits;
use inference_models::Model;
use inference_scoring::{LocalScorer, Settings as ScorerSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Serve;
use crate::cli::verify::Document;
use crate::http::{self, App, Lifecycle, ModelInfo, Settings};
use crate::logging;
use crate::metrics::Metrics;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the model cannot be served, or the address not listened on.
pub(crate) fn run(args: Serve) -> anyhow::Result<()> {
    logging::start(&args.log, args.log_format, args.log_file.as_deref())?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: Serve) -> anyhow::Result<()> {
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
    tokio::pin!(leave);
    let listener = listen(args.listen).await?;
    let model = tokio::select! {
        model = load(&args) => model?,
        () = &mut leave => return Ok(()),
    };
    let lifecycle = Arc::new(Lifecycle::default());
    let app = Arc::new(app(&args, model, lifecycle.clone())?);
    tracing::info!(target: "api", address = %listener.local_addr()?, version = app.model.version, "ready");
    let drain = connections::Drain {
        delay: args.drain_delay,
        patience: args.timeout,
    };
    connections::serve(listener, http::router(app), lifecycle, leave, drain).await;
    tracing::info!(target: "api", "left");
    Ok(())
}

async fn load(args: &Serve) -> anyhow::Result<Model> {
    let (folder, options) = (args.model.model.clone(), args.model.options());
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

fn app(args: &Serve, model: Model, lifecycle: Arc<Lifecycle>) -> anyhow::Result<App<LocalScorer>> {
    let labels = model.facts.labels.len();
    ensure!(
        args.label < labels,
        "--label {}: the model has {labels} labels",
        args.label
    );
    let version = args.model_version.clone();
    let info = ModelInfo {
        version: version.unwrap_or_else(|| model.facts.digest.short().to_owned()),
        digest: model.facts.digest.to_string(),
        architecture: model.facts.architecture.clone(),
        labels: model.facts.labels.clone(),
        parameters: model.facts.parameters,
        dtype: args.model.dtype.resolved(),
        device: args.model.device.as_str(),
        max_tokens: model.tokenizer.max_tokens(),
    };
    let metrics = Arc::new(Metrics::new());
    metrics.loaded(&info.version, model.facts.load_seconds);
    let scorer = LocalScorer::start(
        Arc::new(model),
        ScorerSettings {
            max_batch_tokens: args.max_batch_tokens,
            max_concurrent_requests: args.max_concurrent_requests,
        },
        None,
        metrics.clone(),
    )?;
    Ok(App {
        scorer,
        model: info,
        settings: Settings {
            limits: Limits {
                max_characters: args.max_characters,
                max_batch: args.max_batch,
            },
            max_body_bytes: args.max_body_bytes,
            timeout: args.timeout,
            label: args.label,
            activation: args.activation,
            calibration: args.calibration,
        },
        metrics,
        lifecycle,
    })
}

/// A host without IPv6 refuses `[::]`; there the same port of IPv4 is meant.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let fallback = SocketAddr::from(([0, 0, 0, 0], address.port()));
            TcpListener::bind(fallback)
                .await
                .with_context(|| format!("--listen {fallback}"))
        }
        Err(error) => Err(error).with_context(|| format!("--listen {address}")),
    }
}
