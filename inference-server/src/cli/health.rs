//! `health`: the question that the image's health check asks.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::args::Health;

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a server for its health.
///
/// # Errors
/// When there is no answer within 5 s, or not a good one.
pub(crate) fn run(args: &Health) -> anyhow::Result<()> {
    let url = &args.url;
    let (host, path) = url
        .strip_prefix("http://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .with_context(|| format!("{url:?}: write http://HOST:PORT/PATH"))?;
    let address = host.to_socket_addrs().with_context(|| url.clone())?.next();
    let address = address.with_context(|| format!("{url}: no such host"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| url.clone())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .take(65_536)
        .read_to_end(&mut answer)
        .with_context(|| url.clone())?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.split(' ').nth(1) == Some("200"), "{url}: {status}");
    Ok(())
}
