//! What `serve` and `route` run in: runtimes, addresses, signals, connections.
//!
//! Owns the order: what is wrong with a flag shows before anything is loaded; requests that were taken are
//! answered, also while the server leaves. It must not know where scores come from.

mod connections;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use inference_scoring::Scorer;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::ApiArgs;
use crate::http::edge::Edge;
use crate::http::{self, App, Lifecycle};
use crate::logging;
use crate::spans::Spans;
use crate::threads;
use connections::Drain;

/// Threads of each runtime that may block: they turn texts into tokens, and load models.
const BLOCKING_THREADS: usize = 4;

/// Connections that the kernel keeps until they are taken, or as many as it is set to: one more is
/// dropped, and its client tries again only after a second.
const BACKLOG: u32 = 4_096;

/// What a server has before it knows what to serve.
pub(crate) struct Shell {
    pub(crate) edge: Arc<Edge>,
    pub(crate) spans: Option<Spans>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// Threads of the requests.
    pub(crate) requests: Handle,
    /// The same and, where requests are apart, the others.
    all_requests: Vec<Handle>,
    /// Done when the server is told to leave.
    pub(crate) leave: Leave,
    listener: TcpListener,
    admin: Option<TcpListener>,
    drain: Drain,
}

/// Done when the server is told to leave.
pub(crate) type Leave = Shared<BoxFuture<'static, ()>>;

/// Which threads requests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// Two, which step back behind those of an engine.
    BehindAnEngine,
    /// One for each core, each with connections and timers of its own: none wakes another one. That pays
    /// where all there is to do is to pass requests on.
    Apart,
}

/// Runs what `start` makes of a shell, until SIGTERM or SIGINT.
///
/// # Errors
/// When a flag is wrong, an address cannot be listened on, or `start` fails.
pub(crate) fn run<F: Future<Output = anyhow::Result<()>>>(
    api: &ApiArgs,
    requests: Requests,
    start: impl FnOnce(Shell) -> F,
) -> anyhow::Result<()> {
    logging::start(&api.log, api.log_format, api.log_file.as_deref())?;
    let requests = match requests {
        Requests::BehindAnEngine => vec![runtime(2, threads::step_back)?],
        Requests::Apart => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let apart = (0..cores).map(|_| runtime(1, || ()));
            apart.collect::<std::io::Result<Vec<_>>>()?
        }
    };
    // This thread: connections, probes and signals. It does not step back, and so the threads that
    // it starts do not, the engine's above all.
    let own = Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let outcome = own.block_on(async {
        let handles = requests.iter().map(|runtime| runtime.handle().clone());
        let shell = Shell::new(api, handles.collect()).await?;
        start(shell).await
    });
    // A model that loads still cannot be interrupted, and is of no use any more.
    own.shutdown_background();
    for runtime in requests {
        runtime.shutdown_background();
    }
    outcome
}

fn runtime(threads: usize, start: fn()) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("request")
        .on_thread_start(start)
        .enable_all()
        .build()
}

impl Shell {
    async fn new(api: &ApiArgs, all_requests: Vec<Handle>) -> anyhow::Result<Self> {
        let requests = all_requests.first().context("threads of requests")?.clone();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let leave = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let edge = Arc::new(api.edge.edge(api.max_body_bytes)?);
        let spans = spans(api, &requests).await?;
        let listener = listen(api.listen).context("--listen")?;
        let admin = match api.admin_listen {
            Some(address) => Some(listen(address).context("--admin-listen")?),
            None => None,
        };
        Ok(Self {
            edge,
            spans,
            lifecycle: Arc::default(),
            requests,
            all_requests,
            leave: leave.boxed().shared(),
            listener,
            admin,
            drain: Drain {
                delay: api.drain_delay,
                patience: api.drain_timeout.max(api.timeout),
            },
        })
    }

    /// Where the API is.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `app`, and `admin` at an address of its own, until it leaves. `last` is what is done, in about
    /// the time that it is given, after the last request of `app`, and while `admin` is still there.
    pub(crate) async fn serve<S: Scorer>(
        self,
        app: &Arc<App<S>>,
        admin: Router,
        last: impl AsyncFnOnce(Duration),
    ) {
        let Self {
            spans,
            lifecycle,
            all_requests,
            leave,
            listener,
            drain,
            ..
        } = self;
        let is_watched = self.admin.is_some();
        let done = CancellationToken::new();
        let admin = async {
            if let Some(listener) = self.admin {
                // It goes last, so that what it says is the end of what there was.
                let (lifecycle, leave) = (lifecycle.clone(), done.cancelled());
                let drain = Drain {
                    delay: Duration::ZERO,
                    ..drain
                };
                let requests = all_requests.clone();
                connections::serve(listener, admin, requests, lifecycle, leave, drain).await;
            }
        };
        let api = async {
            let (router, requests) = (http::router(app.clone()), all_requests.clone());
            let lifecycle = lifecycle.clone();
            connections::serve(listener, router, requests, lifecycle, leave, drain).await;
            if is_watched {
                last(drain.delay).await;
            }
            done.cancel();
        };
        tokio::join!(api, admin);
        if let Some(spans) = spans {
            spans.flush().await;
        }
        tracing::info!(target: "api", "left");
    }
}

/// Traces are started by a thread of the requests: theirs step back as it does. An empty variable is
/// none, as everywhere in OpenTelemetry.
async fn spans(api: &ApiArgs, requests: &Handle) -> anyhow::Result<Option<Spans>> {
    let endpoint = api.otlp_endpoint.clone();
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(None);
    };
    let spans = requests.spawn(async move { Spans::start(&endpoint) });
    spans.await?.map(Some)
}

/// A host without IPv6 refuses `[::]`; there the same port of IPv4 is meant.
fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match bind(address) {
        Ok(listener) => Ok(listener),
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            let fallback = SocketAddr::from(([0, 0, 0, 0], address.port()));
            bind(fallback).with_context(|| fallback.to_string())
        }
        Err(error) => Err(error).with_context(|| address.to_string()),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is started anew takes the address of one that just ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
