//! The proxy before the real server.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use inference_api::internal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{CONTROL_PORT, Fault, Moment, spoil};

/// How long a process that ends waits for whoever wants to know when its first victim came.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How many times as long a slow server takes.
const SLOWER: u32 = 10;

type Reply = Response<Full<Bytes>>;

/// How it is without a fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// How long a score takes at least, as that of a larger model would.
    pub takes: Duration,
    /// How many requests of a thousand it fails.
    pub fails_of_1000: u64,
}

/// A server behind a proxy.
#[derive(Clone, Debug)]
pub struct Faulty(Arc<State>);

#[derive(Debug)]
struct State {
    inside: SocketAddr,
    habits: Habits,
    /// Requests for scores so far.
    requests: AtomicU64,
    client: Client<HttpConnector, Full<Bytes>>,
    fault: watch::Sender<Option<Fault>>,
    /// When the first request came that was spoiled.
    first: watch::Sender<Option<Moment>>,
    /// Whether somebody was told of it.
    told: watch::Sender<bool>,
}

/// Proxies `outside` to the server at `inside`, and takes faults on the control port, for ever.
///
/// # Errors
/// When a port is taken.
pub async fn serve(outside: SocketAddr, inside: SocketAddr, habits: Habits) -> anyhow::Result<()> {
    let faulty = Faulty::new(inside, habits);
    let control = SocketAddr::from((IpAddr::V6(Ipv6Addr::UNSPECIFIED), CONTROL_PORT));
    let bind = async |address: SocketAddr| {
        let listener = TcpListener::bind(address).await;
        listener.with_context(|| format!("listen on {address}"))
    };
    let (outside, control) = (bind(outside).await?, bind(control).await?);
    tokio::try_join!(faulty.proxies(outside), faulty.obeys(control))?;
    Ok(())
}

impl Faulty {
    /// The server at `inside`, which is sound.
    #[must_use]
    pub fn new(inside: SocketAddr, habits: Habits) -> Self {
        Self(Arc::new(State {
            inside,
            habits,
            requests: AtomicU64::new(0),
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            fault: watch::Sender::new(None),
            first: watch::Sender::new(None),
            told: watch::Sender::new(false),
        }))
    }

    async fn proxies(&self, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let stream = accept(&listener).await?;
            let faulty = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let faulty = faulty.clone();
                    async move { Ok::<_, Infallible>(faulty.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                // An error is a client that has hung up.
                let _ = http.serve_connection(stream, service).await;
            });
        }
    }

    /// `POST /fault/KIND` is answered with the time of the first request that was spoiled, once there is one.
    async fn obeys(&self, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let stream = accept(&listener).await?;
            let faulty = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let faulty = faulty.clone();
                    async move { Ok::<_, Infallible>(faulty.obey(&request).await) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                let served = http.keep_alive(false).serve_connection(stream, service);
                if served.await.is_ok() {
                    faulty.0.told.send_replace(true);
                }
            });
        }
    }

    async fn obey(&self, request: &Request<Incoming>) -> Reply {
        let word = request.uri().path().strip_prefix("/fault/");
        let Some(fault) = word.and_then(Fault::parse) else {
            return reply(StatusCode::NOT_FOUND, "text/plain", "no such fault".into());
        };
        self.0.fault.send_replace(Some(fault));
        let mut first = self.0.first.subscribe();
        let at = first.wait_for(Option::is_some).await;
        // It lives as long as the state.
        let at = at.ok().and_then(|at| *at).map_or(0, |at| at.0);
        reply(StatusCode::OK, "text/plain", at.to_string().into())
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let scores = request.method() == Method::POST && path != internal::TOKENS_PATH;
        let fault = *self.0.fault.borrow();
        if !scores {
            return self.forward(request).await;
        }
        let Some(fault) = fault else {
            let before = self.0.requests.fetch_add(1, Ordering::Relaxed);
            if (before * self.0.habits.fails_of_1000) % 1_000 < self.0.habits.fails_of_1000 {
                return failed();
            }
            return self.score(request).await;
        };
        self.0.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(Moment::now);
            is_first
        });
        let began = Instant::now();
        match fault {
            Fault::Error => failed(),
            Fault::Hang => std::future::pending().await,
            Fault::Nan => spoiled(self.score(request).await, spoil::no_numbers).await,
            Fault::Constant => spoiled(self.score(request).await, spoil::constant).await,
            Fault::Slow => {
                let sound = self.score(request).await;
                tokio::time::sleep(began.elapsed() * (SLOWER - 1)).await;
                sound
            }
            Fault::Exit => {
                let mut told = self.0.told.subscribe();
                let told = told.wait_for(|told| *told);
                let _ = tokio::time::timeout(LAST_WORDS, told).await;
                std::process::exit(139);
            }
        }
    }

    async fn score(&self, request: Request<Incoming>) -> Reply {
        let (reply, ()) = tokio::join!(
            self.forward(request),
            tokio::time::sleep(self.0.habits.takes)
        );
        reply
    }

    async fn forward(&self, request: Request<Incoming>) -> Reply {
        let forwarded = async {
            let (mut parts, body) = request.into_parts();
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            parts.uri = Uri::try_from(format!("http://{}{path}", self.0.inside))?;
            parts.headers.remove(HOST);
            parts.headers.remove(TRANSFER_ENCODING);
            let body = Full::new(body.collect().await?.to_bytes());
            let request = Request::from_parts(parts, body);
            let (mut parts, body) = self.0.client.request(request).await?.into_parts();
            parts.headers.remove(TRANSFER_ENCODING);
            let body = Full::new(body.collect().await?.to_bytes());
            anyhow::Ok(Response::from_parts(parts, body))
        };
        forwarded.await.unwrap_or_else(|error| {
            reply(
                StatusCode::BAD_GATEWAY,
                "text/plain",
                format!("{error:#}").into(),
            )
        })
    }
}

async fn accept(listener: &TcpListener) -> anyhow::Result<TokioIo<TcpStream>> {
    let (stream, _) = listener.accept().await.context("accept")?;
    stream.set_nodelay(true).context("accept")?;
    Ok(TokioIo::new(stream))
}

/// A sound answer with its body spoiled; what has no scores stays as it is.
async fn spoiled(sound: Reply, spoil: fn(&[u8]) -> Option<Vec<u8>>) -> Reply {
    let (mut parts, body) = sound.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    let body = spoil(&body).map_or(body, Bytes::from);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Full::new(body))
}

fn failed() -> Reply {
    reply(
        StatusCode::INTERNAL_SERVER_ERROR,
        internal::CONTENT_TYPE,
        spoil::failed().into(),
    )
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    /// A server whose every answer is its request's path.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let stream = accept(&listener).await.unwrap();
                let service = service_fn(async |request: Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    Ok::<_, Infallible>(reply(StatusCode::OK, "text/plain", path.into()))
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { http.serve_connection(stream, service).await });
            }
        });
        address
    }

    /// Its proxy and the control port.
    async fn faulty(habits: Habits) -> (SocketAddr, SocketAddr) {
        let faulty = Faulty::new(server().await, habits);
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = (outside.local_addr().unwrap(), control.local_addr().unwrap());
        let obeys = faulty.clone();
        tokio::spawn(async move { faulty.proxies(outside).await });
        tokio::spawn(async move { obeys.obeys(control).await });
        ports
    }

    async fn ask(method: Method, to: SocketAddr, path: &str) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{to}{path}"))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn it_is_sound_until_a_fault_is_asked_for_and_its_probes_are_for_ever() {
        let (proxy, control) = faulty(Habits::default()).await;
        let score = || ask(Method::POST, proxy, internal::PATH);
        assert_eq!(score().await, (200, internal::PATH.to_owned()));
        let began = Moment::now();
        let asked = tokio::spawn(ask(Method::POST, control, "/fault/error"));
        while score().await.0 != 500 {}
        let (status, first) = asked.await.unwrap();
        let first = Moment(first.parse().unwrap());
        assert!(status == 200 && began < first && first <= Moment::now());
        let probe = ask(Method::GET, proxy, "/health/ready").await;
        assert_eq!(probe, (200, "/health/ready".to_owned()));
        let unknown = ask(Method::POST, control, "/fault/odd").await;
        assert_eq!(unknown.0, 404);
    }

    #[tokio::test]
    async fn it_fails_as_many_of_a_thousand_as_it_was_told_to() {
        let habits = Habits {
            fails_of_1000: 30,
            ..Habits::default()
        };
        let (proxy, _) = faulty(habits).await;
        let mut failed = 0;
        for _ in 0..200 {
            failed += u32::from(ask(Method::POST, proxy, internal::PATH).await.0 == 500);
        }
        assert_eq!(failed, 6);
    }
}
