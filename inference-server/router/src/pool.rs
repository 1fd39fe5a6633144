//! Connections to one address, kept between requests.
//!
//! Owns HTTP/1.1 over plain TCP, as far as servers of this crate's other end speak it: one request at a
//! time, answers that say their length. It must not know what is said. Invariants: a kept connection that
//! has died costs no request, because what was sent over it is sent again over a new one (a question may
//! be asked twice); a request that is dropped closes its connection, so that the server stops working on
//! it; a connection stays with the thread that made it, whose runtime watches it, so that no answer has to
//! wake another thread. A client of a library has a task or a driver of its own for each connection, and
//! passes each answer through channels: that alone was a third of what a request cost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The longest that a connection is kept unused: less than a server waits for the next request.
const KEPT: Duration = Duration::from_mins(1);
/// Connections that are kept.
const MOST_KEPT: usize = 64;
/// Bytes of an answer's head, and of its body.
const MOST_BYTES: (usize, usize) = (64 * 1024, 64 * 1024 * 1024);
/// Headers of an answer.
const MOST_HEADERS: usize = 64;
/// What is read at first: more than most answers have.
const READ: usize = 2 * 1024;

/// Connections to one address.
#[derive(Debug)]
pub(crate) struct Pool {
    address: String,
    /// The one that was used last comes last.
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    since: Instant,
    home: ThreadId,
}

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Ends with an empty line, and says the length of the body.
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
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
    /// What the body says it is.
    pub(crate) kind: String,
    /// Empty where its length was not said.
    pub(crate) body: Bytes,
    /// Whether the connection may be used again.
    keeps: bool,
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
    pub(crate) async fn send(&self, request: Request) -> Result<Reply, Lost> {
        if let Some(connection) = self.kept() {
            if let Ok(reply) = self.over(connection, &request).await {
                return Ok(reply);
            }
            // The others are of the same age: whoever closed this one has closed them too.
            self.idle().clear();
        }
        let connection = self.connect().await?;
        self.over(connection, &request).await
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of this thread that was kept and is open as far as is known.
    fn kept(&self) -> Option<Connection> {
        let (now, here) = (Instant::now(), thread::current().id());
        let mut idle = self.idle();
        let old = idle.partition_point(|kept| now.saturating_duration_since(kept.since) >= KEPT);
        idle.drain(..old);
        loop {
            let place = idle.iter().rposition(|kept| kept.home == here)?;
            let kept = idle.remove(place);
            if is_open(&kept.stream) {
                return Some(kept);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Lost> {
        let connect = TcpStream::connect(&self.address);
        let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, connect).await else {
            return Err(Lost::NotConnected);
        };
        // Small questions should not wait for more.
        let _ = stream.set_nodelay(true);
        Ok(Connection {
            stream,
            since: Instant::now(),
            home: thread::current().id(),
        })
    }

    async fn over(&self, mut connection: Connection, request: &Request) -> Result<Reply, Lost> {
        let mut bytes = request.head.clone().chain(request.body.clone());
        let sent = connection.stream.write_all_buf(&mut bytes).await;
        // Whoever refuses a request may do so before all of it was read.
        let mut reply = read(&mut connection.stream).await?;
        reply.keeps &= sent.is_ok();
        if reply.keeps {
            self.keep(connection);
        }
        Ok(reply)
    }

    fn keep(&self, mut connection: Connection) {
        // A task may have moved since, in a runtime of several threads.
        connection.home = thread::current().id();
        connection.since = Instant::now();
        let mut idle = self.idle();
        if idle.len() < MOST_KEPT {
            idle.push(connection);
        }
    }
}

/// Whether nothing has come over a connection that nothing was asked over: not even its end.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The head of an answer.
struct Head {
    bytes: usize,
    status: StatusCode,
    kind: String,
    length: Option<usize>,
    keeps: bool,
}

async fn read(stream: &mut TcpStream) -> Result<Reply, Lost> {
    let mut buffer = BytesMut::with_capacity(READ);
    let head = loop {
        more(stream, &mut buffer).await?;
        if let Some(head) = head(&buffer)? {
            break head;
        }
        if buffer.len() > MOST_BYTES.0 {
            return Err(Lost::Broken);
        }
    };
    buffer.advance(head.bytes);
    let length = head.length.unwrap_or_default();
    if length > MOST_BYTES.1 {
        return Err(Lost::Broken);
    }
    buffer.reserve(length.saturating_sub(buffer.len()));
    while buffer.len() < length {
        more(stream, &mut buffer).await?;
    }
    // What comes behind an answer belongs to nothing.
    let is_all = head.length.is_some() && buffer.len() == length;
    buffer.truncate(length);
    Ok(Reply {
        status: head.status,
        kind: head.kind,
        body: buffer.freeze(),
        keeps: head.keeps && is_all,
    })
}

async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<(), Lost> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => Err(Lost::Broken),
        Ok(_) => Ok(()),
    }
}

/// `None` where more has to be read.
fn head(bytes: &[u8]) -> Result<Option<Head>, Lost> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|_| Lost::Broken)?;
    let httparse::Status::Complete(bytes) = parsed else {
        return Ok(None);
    };
    let status = StatusCode::from_u16(response.code.unwrap_or_default());
    let mut head = Head {
        bytes,
        status: status.map_err(|_| Lost::Broken)?,
        kind: String::new(),
        length: None,
        keeps: response.version == Some(1),
    };
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            head.length = Some(value.parse().map_err(|_| Lost::Broken)?);
        } else if header.name.eq_ignore_ascii_case("content-type") {
            value.clone_into(&mut head.kind);
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keeps &= !value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of an answer that comes in these pieces, after which the connection ends.
    async fn answered(pieces: &'static [&'static str]) -> Result<Reply, Lost> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 64];
            let _ = stream.read(&mut asked).await;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let pool = Pool::new(address.to_string());
        let request = Request {
            head: Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"),
            body: Bytes::new(),
        };
        pool.send(request).await
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_length_however_it_comes() {
        let whole = &["HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length: 4\r\n\r\nabcd"];
        let torn = &[
            "HTTP/1.1 200 OK\r\nContent-T",
            "ype: a/b\r\ncontent-length: 4\r\n\r",
            "\nab",
            "cd",
        ];
        for pieces in [&whole[..], torn] {
            let reply = answered(pieces).await.unwrap();
            assert_eq!((reply.status, reply.kind.as_str()), (StatusCode::OK, "a/b"));
            assert_eq!(reply.body, "abcd");
            assert!(reply.keeps);
        }
    }

    #[tokio::test]
    async fn a_connection_that_may_say_more_is_not_used_again() {
        for pieces in [
            &["HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 1\r\n\r\na"][..],
            &["HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na"],
            &["HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc"],
        ] {
            let reply = answered(pieces).await.unwrap();
            assert!(!reply.keeps, "{pieces:?}");
            assert!(reply.body.len() <= 1);
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_lost() {
        for pieces in [
            &[][..],
            &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcd"],
            &["HTTP/1.1 200 OK\r\ncontent-le"],
            &["HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"],
            &["SSH-2.0-OpenSSH\r\n\r\n"],
        ] {
            assert_eq!(
                answered(pieces).await.unwrap_err(),
                Lost::Broken,
                "{pieces:?}"
            );
        }
    }
}
