//! Connections: taken, looked at, served, and brought to their end.
//!
//! Owns which threads serve a connection. Probes are answered by the thread that takes connections,
//! so that they never stand in the queue of the requests whose queue they ask about. Invariants:
//! while the server leaves it still takes connections for the delay, because those who send to it
//! learn late; then each connection ends after the request that it is in.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::http::Lifecycle;
use crate::http::edge::Peer;

/// The longest that a client may take for its headers.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);
/// What a connection may keep of what it reads: also the most that the headers of a request may have.
const BUFFER_BYTES: usize = 16 * 1024;
/// How the first request of a probe's connection begins.
const PROBES: [&[u8]; 2] = [b"GET /health", b"GET /metrics"];

/// How the server leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How long connections are still taken.
    pub(super) delay: Duration,
    /// How long the last requests may take.
    pub(super) patience: Duration,
}

/// Serves `router` until `leave`, then drains: probes here, all else on the threads of `requests`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    requests: Handle,
    lifecycle: Arc<Lifecycle>,
    leave: impl Future<Output = ()>,
    drain: Drain,
) {
    let (open, closing) = (GracefulShutdown::new(), CancellationToken::new());
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
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        peer,
                        router: router.clone(),
                        open: open.watcher(),
                    };
                    tokio::spawn(connection.begin(requests.clone(), closing.clone()));
                }
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
    closing.cancel();
    if tokio::time::timeout(drain.patience, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(target: "api", "requests were cut off at the end of --timeout");
    }
}

/// A connection that was taken.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    /// While it is held the server does not end.
    open: Watcher,
}

impl Connection {
    /// Waits for the first bytes, and serves where they belong.
    async fn begin(self, requests: Handle, closing: CancellationToken) {
        // Small answers should not wait for more.
        let _ = self.stream.set_nodelay(true);
        let looked = tokio::time::timeout(HEADER_PATIENCE, is_probe(&self.stream));
        let here = tokio::select! {
            probe = looked => match probe {
                Ok(Ok(probe)) => probe,
                // Nothing came, or it is gone.
                Ok(Err(_)) | Err(_) => return,
            },
            // It ends in the same way as all others.
            () = closing.cancelled() => true,
        };
        if here {
            self.serve().await;
        } else {
            requests.spawn(self.moved());
        }
    }

    /// The same on the threads that this is awaited on, which watch the socket from now on.
    async fn moved(self) {
        let stream = self.stream.into_std().and_then(TcpStream::from_std);
        match stream {
            Ok(stream) => Self { stream, ..self }.serve().await,
            Err(error) => tracing::warn!(target: "api", %error, "a connection is lost"),
        }
    }

    async fn serve(self) {
        let peer = Peer(self.peer);
        let service = self
            .router
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request
            });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(self.stream), TowerToHyperService::new(service));
        if let Err(error) = self.open.watch(connection).await {
            tracing::debug!(target: "api", %error, "a connection broke");
        }
    }
}

/// Whether a connection begins with a probe. The bytes stay where they are.
async fn is_probe(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; 12];
    let count = stream.peek(&mut first).await?;
    let first = first.get(..count).unwrap_or_default();
    Ok(PROBES.iter().any(|probe| first.starts_with(probe)))
}
