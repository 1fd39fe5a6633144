//! A small HTTP/1.1 client with the two habits of real ones: a fresh connection for each request, or
//! one that is kept.
//!
//! Invariant: nothing is retried. A kept connection that the server has closed meanwhile is noticed
//! before it is used, as any pool does; whatever goes wrong after that is a failure.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts to reach a Service that nobody is known to serve yet.
const PAUSE: Duration = Duration::from_millis(50);

/// A server by its URL, `http://HOST:PORT`, and the connections that are kept to it.
#[derive(Debug)]
pub struct Client {
    host: String,
    kept: Mutex<Vec<TcpStream>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `x-model-version`.
    pub model_version: String,
    /// The header `x-betterai-variant`; empty where there is none.
    pub variant: String,
    /// The body.
    pub body: Vec<u8>,
    closes: bool,
}

impl Client {
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// When the URL is not of the form `http://HOST:PORT`.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let host = host.filter(|host| host.contains(':') && !host.contains('/'));
        let host = host
            .with_context(|| format!("{url:?}: write http://HOST:PORT"))?
            .to_owned();
        Ok(Self {
            host,
            kept: Mutex::default(),
        })
    }

    /// Waits until somebody takes connections, as long as a request is waited for: a client's node learns where
    /// a new Service's pods are a little after they are ready, and that is nobody's failure.
    pub fn until_reached(&self) {
        let until = Instant::now() + PATIENCE;
        while self.connect().is_err() && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }

    /// Posts JSON over a connection of its own.
    ///
    /// # Errors
    /// When no whole answer came.
    pub fn post_fresh(&self, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.post(self.connect()?, path, body, "Connection: close")
            .map(|(answer, _)| answer)
    }

    /// Posts JSON over a kept connection.
    ///
    /// # Errors
    /// As [`Client::post_fresh`].
    pub fn post_kept(&self, path: &str, body: &str) -> anyhow::Result<Answer> {
        self.kept_with(path, body, "Connection: keep-alive")
    }

    /// The same for a user, whose id is in the header `x-user-id`.
    ///
    /// # Errors
    /// As [`Client::post_fresh`].
    pub fn post_kept_as(&self, user: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let headers = format!("Connection: keep-alive\r\nX-User-Id: {user}");
        self.kept_with(path, body, &headers)
    }

    fn kept_with(&self, path: &str, body: &str, headers: &str) -> anyhow::Result<Answer> {
        let stream = match self.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let (answer, stream) = self.post(stream, path, body, headers)?;
        if !answer.closes {
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(stream);
        }
        Ok(answer)
    }

    fn take(&self) -> Option<TcpStream> {
        loop {
            let stream = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()?;
            if is_open(&stream) {
                return Some(stream);
            }
        }
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let address = self
            .host
            .to_socket_addrs()
            .with_context(|| format!("resolve {}", self.host))?
            .next();
        let address = address.with_context(|| format!("resolve {}: no address", self.host))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn post(
        &self,
        mut stream: TcpStream,
        path: &str,
        body: &str,
        headers: &str,
    ) -> anyhow::Result<(Answer, TcpStream)> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        stream.write_all(request.as_bytes()).context("send")?;
        let answer = read(&mut BufReader::new(&stream))?;
        Ok((answer, stream))
    }
}

fn is_open(stream: &TcpStream) -> bool {
    let look = || {
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        seen
    };
    look().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Reads one answer with a `Content-Length`.
///
/// # Errors
/// When it ends early or is not HTTP.
pub fn read(reader: &mut impl BufRead) -> anyhow::Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line).context("read")?;
    if line.is_empty() {
        bail!("read: the connection was closed before an answer");
    }
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("read: {line:?} is not HTTP"))?;
    let (mut length, mut closes) = (0_usize, false);
    let (mut model_version, mut variant) = (String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).context("read")? == 0 {
            bail!("read: the answer ended in its headers");
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().context("read: content-length")?,
            "connection" => closes = value.eq_ignore_ascii_case("close"),
            "x-model-version" => value.clone_into(&mut model_version),
            "x-betterai-variant" => value.clone_into(&mut variant),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader
        .read_exact(&mut body)
        .context("read: the answer ended in its body")?;
    Ok(Answer {
        status,
        model_version,
        variant,
        body,
        closes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Answer> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn an_answer_is_read_whole() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Model-Version: v\r\nConnection: close\r\n\r\n{}";
        let answer = parse(text).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice(), answer.closes),
            (200, &b"{}"[..], true)
        );
        assert_eq!(answer.model_version, "v");
    }

    #[test]
    fn an_answer_that_ends_early_is_a_failure() {
        for text in [
            "",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_url_has_host_and_port() {
        assert!(Client::new("http://host:1/").is_ok());
        for url in [
            "host:1",
            "https://host:1",
            "http://host",
            "http://host:1/path",
        ] {
            assert!(Client::new(url).is_err(), "{url}");
        }
    }
}
