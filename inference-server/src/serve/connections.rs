//! Connections: taken, served, and brought to their end.
//!
//! Invariants: while the server leaves it still takes connections for the delay, because those who
//! send to it learn late; then each connection ends after the request that it is in.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::http::Lifecycle;
use crate::http::edge::Peer;

/// The longest that a client may take for its headers.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);

/// How the server leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How long connections are still taken.
    pub(super) delay: Duration,
    /// How long the last requests may take.
    pub(super) patience: Duration,
}

/// Serves `router` until `leave`, then drains.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    lifecycle: Arc<Lifecycle>,
    leave: impl Future<Output = ()>,
    drain: Drain,
) {
    let open = GracefulShutdown::new();
    let end = async {
        leave.await;
        lifecycle.leave();
        tracing::info!(target: "api", seconds = drain.delay.as_secs_f64(), "leaving");
        tokio::time::sleep(drain.delay).await;
    };
    let mut end = pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connect(stream, peer, router.clone(), &open),
                // Out of file descriptors, say: connections that end give some back.
                Err(error) => {
                    tracing::warn!(target: "api", %error, "a connection is lost");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            () = &mut end => break,
        }
    }
    drop(listener);
    if tokio::time::timeout(drain.patience, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(target: "api", "requests were cut off at the end of --timeout");
    }
}

fn connect(stream: TcpStream, peer: SocketAddr, router: Router, open: &GracefulShutdown) {
    // Small answers should not wait for more.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let connection = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(target: "api", %error, "a connection broke");
        }
    });
}
