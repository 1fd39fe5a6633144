//! A scoring server that does as it is told, over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use inference_api::Input;
use inference_api::internal::{
    self, Answer, By, Item, Model, Unanswered, read_question, write_answer, write_unanswered,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it does with a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Does {
    /// Gives each text its length, and the number of the server as a fraction.
    Scores,
    /// The same as the second of two logits, plus ten: it says that this one is the score.
    ScoresSecond,
    After(Duration),
    Fails,
    /// Answers so many questions of its life, and fails at those that come after.
    FailsAfter(usize),
    /// The same, where it declines them.
    DeclinesAfter(usize),
    Hangs,
    NotANumber,
    Constant,
    Refuses,
    IsNotReady,
    Declines,
    /// Closes the connection in place of an answer.
    Breaks,
    /// Answers three megabytes of nothing.
    Babbles,
}

/// What it has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) questions: AtomicUsize,
    /// Questions that come behind others.
    pub(crate) bulk: AtomicUsize,
    /// Questions that are worked on.
    pub(crate) under_way: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Bodies of what it was asked to forget.
    pub(crate) forgotten: Mutex<Vec<Bytes>>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) does: Arc<Mutex<Does>>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) is_there: Arc<AtomicBool>,
    task: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.break_connections();
    }
}

fn by(revision: &str) -> By {
    By {
        revision: Some(revision.to_owned()),
        version: format!("version-{revision}"),
        digest: format!("sha256:{}", "d".repeat(64)),
        backbone: "encoder".to_owned(),
        labels: vec!["LABEL_0".to_owned()],
        activation: "sigmoid".to_owned(),
        label: 0,
        native: None,
        calibration: None,
    }
}

impl Server {
    /// A server that says that it is `revision`.
    pub(crate) async fn start(revision: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(Mutex::new(Does::Scores));
        let seen = Arc::new(Seen::default());
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (told, noted, kept) = (does.clone(), seen.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (told, noted) = (told.clone(), noted.clone());
                let connection = tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        answer(revision, told.clone(), noted.clone(), request)
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
                kept.lock().unwrap().push(connection);
            }
        });
        Self {
            address,
            does,
            seen,
            is_there: Arc::new(AtomicBool::new(true)),
            task,
            connections,
        }
    }

    pub(crate) fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    pub(crate) fn questions(&self) -> usize {
        self.seen.questions.load(Ordering::SeqCst)
    }

    /// Closes all connections that are open.
    pub(crate) fn break_connections(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Takes no connections any more.
    pub(crate) fn vanish(&self) {
        self.is_there.store(false, Ordering::SeqCst);
        self.task.abort();
        self.break_connections();
    }
}

/// Counts a question while it is worked on, also when it is dropped.
struct UnderWay(Arc<Seen>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// The score `of` each input: the only logit, or the second one and ten more.
fn scored(
    revision: &str,
    inputs: &[Input],
    is_second: bool,
    of: &dyn Fn(&Input) -> f32,
) -> Vec<u8> {
    let mut by = by(revision);
    if is_second {
        by.labels.push("LABEL_1".to_owned());
        by.label = 1;
    }
    let item = |input| Item {
        logits: if is_second {
            vec![0.0, of(input) + 10.0]
        } else {
            vec![of(input)]
        },
        tokens: 3,
        truncated: false,
    };
    let by = serde_json::to_vec(&by).unwrap();
    write_answer(&Answer {
        by: &by,
        hits: 0,
        cached: false,
        tokenise: Duration::ZERO,
        queue: Duration::ZERO,
        inference: Duration::from_millis(1),
        items: inputs.iter().map(item).collect(),
    })
}

async fn answer(
    revision: &'static str,
    does: Arc<Mutex<Does>>,
    seen: Arc<Seen>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Broken> {
    if request.uri().path() == internal::MODEL_PATH {
        let model = Model {
            by: by(revision),
            architecture: "Fake".to_owned(),
            parameters: 1,
            dtype: "f32".to_owned(),
            device: "cpu".to_owned(),
            engine: "fake".to_owned(),
            max_tokens: 256,
            special_date: None,
            loaded_at: 1,
        };
        let body = serde_json::to_vec(&model).unwrap();
        return Ok::<_, Infallible>(Response::new(Full::new(body.into()))).map_err(|_| Broken);
    }
    if request.uri().path() == internal::CACHE_PATH {
        let status = match *does.lock().unwrap() {
            Does::Fails => 500,
            Does::Declines => 409,
            _ => 200,
        };
        let body = request.into_body().collect().await.unwrap().to_bytes();
        seen.forgotten.lock().unwrap().push(body);
        let response = Response::builder().status(status).body(Full::default());
        return Ok(response.unwrap());
    }
    let before = seen.questions.fetch_add(1, Ordering::SeqCst);
    seen.under_way.fetch_add(1, Ordering::SeqCst);
    let under_way = UnderWay(seen);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question = read_question(&body).unwrap();
    let bulk = usize::from(question.bulk);
    under_way.0.bulk.fetch_add(bulk, Ordering::SeqCst);
    let does = match does.lock().unwrap().clone() {
        Does::FailsAfter(answered) if before >= answered => Does::Fails,
        Does::DeclinesAfter(answered) if before >= answered => Does::Declines,
        Does::FailsAfter(_) | Does::DeclinesAfter(_) => Does::Scores,
        does => does,
    };
    match does {
        Does::Hangs => tokio::time::sleep(Duration::from_mins(1)).await,
        Does::After(time) => tokio::time::sleep(time).await,
        Does::Breaks => return Err(Broken),
        _ => {}
    }
    let is_second = does == Does::ScoresSecond;
    let scores = |of: &dyn Fn(&Input) -> f32| scored(revision, &question.inputs, is_second, of);
    let (status, body) = match does {
        Does::Scores
        | Does::ScoresSecond
        | Does::FailsAfter(_)
        | Does::DeclinesAfter(_)
        | Does::After(_)
        | Does::Hangs
        | Does::Breaks => {
            let length = |input: &Input| {
                let length = match input {
                    Input::Conversation { response, .. } => response.len(),
                    other => other.key().len(),
                };
                u16::try_from(length).unwrap()
            };
            (200, scores(&|input| f32::from(length(input))))
        }
        Does::NotANumber => (200, scores(&|_| f32::NAN)),
        Does::Constant => (200, scores(&|_| 0.25)),
        Does::Fails => (500, write_unanswered(&Unanswered::Engine { index: None })),
        Does::Babbles => (200, vec![b'x'; 3_000_000]),
        Does::Refuses => (429, write_unanswered(&Unanswered::Overloaded)),
        Does::IsNotReady => (503, write_unanswered(&Unanswered::NotReady)),
        Does::Declines => {
            let why = Unanswered::Input {
                index: 0,
                message: "shorten it".to_owned(),
                too_long: true,
            };
            (422, write_unanswered(&why))
        }
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", internal::CONTENT_TYPE)
        .body(Full::new(body.into()));
    Ok(response.unwrap())
}
