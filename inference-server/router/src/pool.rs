//! Connections to one address, kept between requests.
//!
//! Owns HTTP/1.1 over plain TCP. It must not know what is said. Invariants: a kept connection that has
//! died costs no request, because what was sent over it is sent again over a new one (a question may be
//! asked twice); a request that is dropped closes its connection, so that the server stops working on it.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

/// A connection. It is driven by whoever uses it, in the task of its request, so that an answer wakes
/// one task and no other; what happens to it meanwhile is seen when it is used again.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
    since: Instant,
}

impl Connection {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), Lost> {
        let broken = |_| Lost::Broken;
        let Self { sender, driver, .. } = self;
        let mut running = driver.take().ok_or(Lost::Broken)?;
        let answer = async {
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await;
            let (parts, body) = response.map_err(broken)?.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await;
            Ok((parts, body.map_err(|_| Lost::Broken)?.to_bytes()))
        };
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => {
                *driver = Some(running);
                answer
            }
            _ = running.as_mut() => {
                // What was read before the end may be all of the answer; what was not taken is told
                // so when the driver is dropped.
                drop(running);
                answer.await
            }
        }
    }
}

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
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
        if let Some(connection) = self.kept() {
            if let Ok(reply) = self.over(connection, request.clone()).await {
                return Ok(reply);
            }
            // The others are of the same age: whoever closed this one has closed them too.
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.clear();
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
        let (sender, driver) = handshake.map_err(|_| Lost::NotConnected)?;
        Ok(Connection {
            sender,
            driver: Some(Box::pin(driver)),
            since: Instant::now(),
        })
    }

    async fn over(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Lost> {
        let (parts, body) = connection.exchange(request).await?;
        self.keep(connection);
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn keep(&self, mut connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = connection.driver.is_some() && !connection.sender.is_closed();
        if is_open && idle.len() < MOST_KEPT {
            connection.since = Instant::now();
            idle.push(connection);
        }
    }
}
