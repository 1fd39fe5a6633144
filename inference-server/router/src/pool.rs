//! Connections to one address, kept between requests.
//!
//! Owns HTTP/1.1 over plain TCP. It must not know what is said. Invariants: a kept connection that has
//! died costs no request, because what was sent over it is sent again over a new one (a question may be
//! asked twice); a request that is dropped closes its connection, so that the server stops working on it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The longest that a connection is kept unused: less than a server waits for the next request.
const KEPT: Duration = Duration::from_mins(1);
/// Connections that are kept.
const MOST_KEPT: usize = 64;
/// Bytes of an answer.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Connections to one address.
#[derive(Debug)]
pub(crate) struct Pool {
    address: String,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// There is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nobody took the connection.
    NotConnected,
    /// It broke before the answer was complete.
    Broken,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Pool {
    pub(crate) const fn new(address: String) -> Self {
        Self {
            address,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request, and waits for all of its answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Lost> {
        while let Some(connection) = self.kept() {
            if let Ok(reply) = self.over(connection, request.clone()).await {
                return Ok(reply);
            }
        }
        let connection = self.connect().await?;
        self.over(connection, request).await
    }

    /// A connection that was kept and is open as far as is known.
    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < KEPT && !kept.sender.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<Connection, Lost> {
        let connect = TcpStream::connect(&self.address);
        let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, connect).await else {
            return Err(Lost::NotConnected);
        };
        // Small questions should not wait for more.
        let _ = stream.set_nodelay(true);
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Lost::NotConnected)?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer learns of its end.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            task,
            since: Instant::now(),
        })
    }

    async fn over(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Lost> {
        let broken = |_| Lost::Broken;
        connection.sender.ready().await.map_err(broken)?;
        let response = connection.sender.send_request(request).await;
        let (parts, body) = response.map_err(broken)?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|_| Lost::Broken)?.to_bytes();
        self.keep(connection);
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.sender.is_closed() && idle.len() < MOST_KEPT {
            connection.since = Instant::now();
            idle.push(connection);
        }
    }
}
