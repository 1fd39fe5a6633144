//! A server that costs nearly nothing: a fixed answer to `/predict`, and the router's route.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use inference_api::internal::{self, Answer, By, Item, Model, write_answer};
use tokio::net::TcpListener;

const PREDICTED: &str = r#"{"reward_score":0.5,"confidence":null,"probability":null,"processing_time":0.001,"model_version":"v","truncated":false,"tokens":200}"#;

pub(crate) struct Upstream {
    pub(crate) revision: &'static str,
    pub(crate) address: SocketAddr,
    scored: Arc<AtomicU64>,
}

/// The share of what was scored that the second one had, since this was asked last.
pub(crate) fn share(upstreams: &[Upstream; 2]) -> f64 {
    let [one, other] = upstreams.each_ref().map(|of| {
        let scored = of.scored.swap(0, Ordering::SeqCst);
        f64::from(u32::try_from(scored).unwrap())
    });
    other / (one + other)
}

/// A server on all addresses of this host's loopback, on threads of its own.
pub(crate) fn start(revision: &'static str) -> Upstream {
    start_as(revision, Manner::Answers)
}

/// The same, which says what it serves and never scores.
pub(crate) fn start_hanging(revision: &'static str) -> Upstream {
    start_as(revision, Manner::Hangs)
}

/// What it does when it is asked for scores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answers,
    Hangs,
}

fn start_as(revision: &'static str, manner: Manner) -> Upstream {
    let scored = Arc::new(AtomicU64::new(0));
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let by = By {
        revision: Some(revision.to_owned()),
        version: "v".to_owned(),
        digest: format!("sha256:{}", "d".repeat(64)),
        backbone: "encoder".to_owned(),
        labels: vec!["LABEL_0".to_owned()],
        activation: "sigmoid".to_owned(),
        label: 0,
        native: None,
        calibration: None,
    };
    let counted = scored.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(serve(listener, Arc::new(by), counted, manner));
    });
    Upstream {
        revision,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        scored,
    }
}

async fn serve(
    listener: std::net::TcpListener,
    by: Arc<By>,
    scored: Arc<AtomicU64>,
    manner: Manner,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (by, scored) = (by.clone(), scored.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| answer(by.clone(), scored.clone(), manner, request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    by: Arc<By>,
    scored: Arc<AtomicU64>,
    manner: Manner,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    let (kind, body) = match path.as_str() {
        internal::PATH => {
            scored.fetch_add(1, Ordering::Relaxed);
            if manner == Manner::Hangs {
                std::future::pending::<()>().await;
            }
            (internal::CONTENT_TYPE, scores(&by).into())
        }
        internal::MODEL_PATH => ("application/json", model(&by).into()),
        _ => {
            scored.fetch_add(1, Ordering::Relaxed);
            ("application/json", Bytes::from_static(PREDICTED.as_bytes()))
        }
    };
    let response = Response::builder().header("content-type", kind);
    Ok(response.body(Full::new(body)).unwrap())
}

/// Another score each time: one for everything would be a reason to cut off.
fn scores(by: &By) -> Vec<u8> {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let by = serde_json::to_vec(by).unwrap();
    write_answer(&Answer {
        by: &by,
        hits: 0,
        cached: false,
        tokenise: Duration::ZERO,
        queue: Duration::ZERO,
        inference: Duration::ZERO,
        items: vec![Item {
            logits: vec![f32::from(COUNT.fetch_add(1, Ordering::Relaxed))],
            tokens: 200,
            truncated: false,
        }],
    })
}

fn model(by: &By) -> Vec<u8> {
    let model = Model {
        by: by.clone(),
        architecture: "None".to_owned(),
        parameters: 1,
        dtype: "f32".to_owned(),
        device: "cpu".to_owned(),
        engine: "fake".to_owned(),
        max_tokens: 512,
        special_date: None,
        loaded_at: 1,
    };
    serde_json::to_vec(&model).unwrap()
}
