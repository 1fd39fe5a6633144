//! The stand-in's HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Source, Wish, listing, part};

/// How long an answer that breaks off stays open.
const BREAKS_AFTER: Duration = Duration::from_millis(50);

type Reply = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// Serves `source` at `address`, for ever.
///
/// # Errors
/// When the port is taken.
pub async fn serve(source: Source, address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("listen on {address}"))?;
    let (source, sent) = (Arc::new(source), Arc::new(AtomicUsize::new(0)));
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        let (source, sent) = (source.clone(), sent.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let reply = answer(&source, &sent, &request);
                async move { Ok::<_, Infallible>(reply) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // An error is a client that has hung up, or one that was broken off.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer<B>(source: &Source, sent: &AtomicUsize, request: &Request<B>) -> Reply {
    let uri = request.uri();
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let Some(wish) = Wish::parse(uri.path(), uri.query().unwrap_or_default()) else {
        return text(StatusCode::NOT_FOUND, "no such model or revision");
    };
    if !wish.is_granted(source, header(AUTHORIZATION).unwrap_or_default()) {
        return text(StatusCode::UNAUTHORIZED, "who are you?");
    }
    let reply = match &wish {
        Wish::Sent => Ok(text(
            StatusCode::OK,
            &sent.load(Ordering::Relaxed).to_string(),
        )),
        Wish::Files(model) => listing::files(&source.folder.join(model))
            .map(|files| text(StatusCode::OK, &listing::of_hub(&files))),
        Wish::Objects(model) => listing::files(&source.folder.join(model))
            .map(|files| text(StatusCode::OK, &listing::of_bucket(model, &files))),
        Wish::File(model, name) | Wish::Object(model, name) => {
            let path = source.folder.join(model).join(name);
            let found = part(&path, header(RANGE));
            found.map(|found| file(found, header(RANGE).is_some(), source.most, sent))
        }
    };
    reply.unwrap_or_else(|error| text(StatusCode::NOT_FOUND, &error.to_string()))
}

/// A part of a file; what is more than `most` of it is announced and never comes.
fn file(
    (from, mut part, whole): (usize, Vec<u8>, usize),
    is_part: bool,
    most: usize,
    sent: &AtomicUsize,
) -> Reply {
    let length = part.len();
    part.truncate(most);
    sent.fetch_add(part.len(), Ordering::Relaxed);
    let is_broken = part.len() < length;
    let part = stream::once(async move { Ok(Frame::data(Bytes::from(part))) });
    let end = stream::iter(is_broken.then_some(())).then(async |()| {
        // What was given before has left by then.
        tokio::time::sleep(BREAKS_AFTER).await;
        Err(std::io::Error::other("broken off"))
    });
    let body = BodyExt::boxed_unsync(StreamBody::new(part.chain(end)));
    let mut reply = Response::new(body);
    let mut header = |name, value: String| {
        if let Ok(value) = value.parse() {
            reply.headers_mut().insert(name, value);
        }
    };
    header(CONTENT_LENGTH, length.to_string());
    header(ETAG, format!("\"{whole}\""));
    header(LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
    if is_part {
        let last = (from + length).saturating_sub(1);
        header(CONTENT_RANGE, format!("bytes {from}-{last}/{whole}"));
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    reply
}

fn text(status: StatusCode, text: &str) -> Reply {
    let body = Full::new(Bytes::from(text.to_owned()));
    let body = body.map_err(|never: Infallible| match never {});
    let mut reply = Response::new(BodyExt::boxed_unsync(body));
    *reply.status_mut() = status;
    reply
}
