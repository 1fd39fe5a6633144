//! Connections: taken, looked at, served, and brought to their end.
//!
//! Owns which threads serve a connection. Probes are answered by the thread that takes connections,
//! so that they never stand in the queue of the requests whose queue they ask about. Invariants: no
//! request that is no probe is worked on by that thread, whatever came before it on its connection;
//! while the server leaves it still takes connections for the delay, because those who send to it
//! learn late; then each connection ends after the request that it is in.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::http::edge::Peer;
use crate::http::{Lifecycle, routes};

/// The longest that a client may take for the first bytes of a connection.
const FIRST_PATIENCE: Duration = Duration::from_secs(15);
/// The longest that a connection may be idle between two requests, the headers of the next one
/// included. Clients keep connections in their pools for up to 90 s: whoever closes first must be the
/// client, or a request is lost now and then.
const IDLE_PATIENCE: Duration = Duration::from_mins(2);
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

/// Serves `router` until `leave`, then drains: probes here, all else on the threads of `requests`, in turn.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    requests: Vec<Handle>,
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
    let mut turn = requests.iter().cycle();
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
                    if let Some(requests) = turn.next() {
                        tokio::spawn(connection.begin(requests.clone(), closing.clone()));
                    }
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
        tracing::warn!(target: "api", "requests were cut off at the end of --drain-timeout");
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
        let looked = tokio::time::timeout(FIRST_PATIENCE, is_probe(&self.stream));
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
            let Self {
                stream,
                peer,
                router,
                open,
            } = self;
            let moved = Arc::new(AtomicBool::new(false));
            let connection = connection(stream, router, peer, moved.clone(), IDLE_PATIENCE);
            here_first(open.watch(connection), &moved, &requests).await;
        } else {
            requests.spawn(self.moved());
        }
    }

    /// The same on the threads that this is awaited on, which watch the socket from now on.
    async fn moved(self) {
        let stream = match self.stream.into_std().and_then(TcpStream::from_std) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(target: "api", %error, "a connection is lost");
                return;
            }
        };
        let moved = Arc::new(AtomicBool::new(true));
        let connection = connection(stream, self.router, self.peer, moved, IDLE_PATIENCE);
        ended(self.open.watch(connection).await);
    }
}

/// A connection that is served when it is polled, and ends when it is idle for so long. When the first
/// request has come that is no probe, `moved` says so before anything is done for it.
fn connection<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: I,
    router: Router,
    peer: SocketAddr,
    moved: Arc<AtomicBool>,
    idle_patience: Duration,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let service = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path();
        let move_first = !routes::is_probe(path) && !moved.swap(true, Ordering::Relaxed);
        let (mut request, router) = (request.map(Body::new), router.clone());
        request.extensions_mut().insert(Peer(peer));
        let mut waits = move_first;
        async move {
            // Whoever polls this next does so where the request belongs.
            poll_fn(|_| {
                if std::mem::take(&mut waits) {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            router.oneshot(request).await
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_patience)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}

/// Serves a connection here while nothing but probes come, and then on the threads of `requests`.
async fn here_first<E: std::error::Error + Send + 'static>(
    connection: impl Future<Output = Result<(), E>> + Send + 'static,
    moved: &AtomicBool,
    requests: &Handle,
) {
    let mut connection = Box::pin(connection);
    let outcome = poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if moved.load(Ordering::Relaxed) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match outcome {
        Some(outcome) => ended(outcome),
        None => {
            requests.spawn(async move { ended(connection.await) });
        }
    }
}

fn ended<E: std::error::Error>(outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::debug!(target: "api", %error, "a connection broke");
    }
}

/// Whether a connection begins with a probe. The bytes stay where they are.
async fn is_probe(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; 12];
    let count = stream.peek(&mut first).await?;
    let first = first.get(..count).unwrap_or_default();
    Ok(PROBES.iter().any(|probe| first.starts_with(probe)))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// Answers each request with the name of the thread that works on it.
    fn named() -> Router {
        let name = async || {
            let thread = std::thread::current();
            thread.name().unwrap_or_default().to_owned()
        };
        Router::new()
            .route("/health/live", get(name))
            .route("/predict", get(name))
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    async fn ask(stream: &mut DuplexStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4_096];
        let count = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }

    #[test]
    fn a_connection_that_began_with_a_probe_moves_with_its_first_other_request() {
        let requests = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("request")
            .enable_all()
            .build()
            .unwrap();
        let probes = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = requests.handle().clone();
        probes.block_on(async {
            let (mut client, server) = tokio::io::duplex(4_096);
            let moved = Arc::new(AtomicBool::new(false));
            let open = GracefulShutdown::new();
            let connection = connection(server, named(), peer(), moved.clone(), IDLE_PATIENCE);
            let watched = open.watch(connection);
            tokio::spawn(async move { here_first(watched, &moved, &handle).await });
            let own = std::thread::current().name().unwrap().to_owned();
            assert_eq!(ask(&mut client, "/health/live").await, own);
            assert_eq!(ask(&mut client, "/health/live").await, own);
            assert_eq!(ask(&mut client, "/predict").await, "request");
            assert_eq!(ask(&mut client, "/predict").await, "request");
            assert_eq!(ask(&mut client, "/health/live").await, "request");
        });
    }

    // Clients keep them for up to 90 s.
    const _: () = assert!(IDLE_PATIENCE.as_secs() > 91);

    #[tokio::test]
    async fn a_connection_in_a_clients_pool_is_kept_for_a_time_and_ends_at_last() {
        let patience = Duration::from_millis(200);
        let (mut client, server) = tokio::io::duplex(4_096);
        let moved = Arc::new(AtomicBool::new(true));
        let open = GracefulShutdown::new();
        tokio::spawn(open.watch(connection(server, named(), peer(), moved, patience)));
        ask(&mut client, "/predict").await;
        let began = tokio::time::Instant::now();
        ask(&mut client, "/predict").await;
        let end = client.read(&mut [0; 8]).await.unwrap();
        assert_eq!(end, 0);
        assert!(began.elapsed() >= patience, "{:?}", began.elapsed());
    }
}
