//! Health and metrics over HTTP, and the question that the image's health check asks.
//!
//! Invariant: alive says something of this process alone; ready says that the definitions are there
//! and all caches are filled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Whether the operator is ready to work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves `/health/live`, `/health/ready` and `/metrics` until `stop`.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(exposition))
        .with_state((readiness, metrics));
    let listener = listen(address).await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}

/// A host without IPv6 refuses `[::]`; there the same port of IPv4 is meant.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(_) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            let fallback = SocketAddr::from(([0, 0, 0, 0], address.port()));
            TcpListener::bind(fallback)
                .await
                .with_context(|| format!("--listen {fallback}"))
        }
        Err(error) => Err(error).with_context(|| format!("--listen {address}")),
    }
}

async fn ready(State((readiness, _)): State<(Readiness, Arc<Metrics>)>) -> impl IntoResponse {
    if readiness.get() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the definitions and the caches\n",
        )
    }
}

async fn exposition(State((_, metrics)): State<(Readiness, Arc<Metrics>)>) -> impl IntoResponse {
    let text = metrics.encode();
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}

/// Asks `url` for its health.
///
/// # Errors
/// When there is no answer, or not a good one.
pub(crate) async fn ask(url: String) -> anyhow::Result<()> {
    let (host, path) = url
        .strip_prefix("http://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .with_context(|| format!("{url:?}: write http://HOST:PORT/PATH"))?;
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(65_536).read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), exchange)
        .await
        .with_context(|| format!("{url}: no answer within 5 s"))?
        .with_context(|| url.clone())?;
    let status = answer.lines().next().unwrap_or_default();
    anyhow::ensure!(status.split(' ').nth(1) == Some("200"), "{url}: {status}");
    Ok(())
}
