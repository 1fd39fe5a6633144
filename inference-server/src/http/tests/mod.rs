//! The API without sockets: over a real model, and over scorers that do as told.

mod bodies;
mod cache;
mod cases;
mod credentials;
mod dialects;
mod document;
mod evaluate;
mod feedback;
mod finite;
mod internal;
mod layers;
mod native;
mod traces;
mod turns;
mod update;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use inference_api::tei::Token;
use inference_api::{Input, InputOptions, Limits};
use inference_engine::cache::{Scope, Store};
use inference_engine::{Capacity, LocalScorer};
use inference_models::{LoadOptions, Model};
use inference_scoring::{
    Activation, Backbone, Description, Inputs, Origin, Score, ScoreError, ScoreRequest, Scorer,
    Scores, Timings,
};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::metrics::Metrics;

/// A scorer that answers nothing but an error, and is full where that says so.
struct Failing(ScoreError);

impl Scorer for Failing {
    async fn score(&self, _: ScoreRequest) -> Result<Scores, ScoreError> {
        Err(self.0.clone())
    }

    fn is_full(&self) -> bool {
        self.0 == ScoreError::Overloaded
    }
}

/// A scorer whose logits are the numbers that a text consists of, such as `0.5` or `1 -2`; of two
/// texts the second. It remembers what it was asked.
#[derive(Clone)]
struct Fake {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Where that came from.
    origins: Arc<Mutex<Vec<Origin>>>,
    /// Who it says that it is.
    by: Arc<Description>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            asked: Arc::default(),
            origins: Arc::default(),
            by: description(&["LABEL_0"], None),
        }
    }
}

type Asked = (Vec<Input>, InputOptions);

impl Fake {
    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn logits(input: &Input) -> Option<Vec<f32>> {
        let text = match input {
            Input::Text(text)
            | Input::Pair(_, text)
            | Input::Conversation { response: text, .. } => text.as_str(),
            Input::Messages(chat) => chat.messages.last()?.content()?,
        };
        text.split(' ').map(|word| word.parse().ok()).collect()
    }
}

impl Scorer for Fake {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let asked = (request.inputs.as_slice().to_vec(), request.options);
        self.asked.lock().unwrap().push(asked);
        let origin = request.origin.as_ref().clone();
        self.origins.lock().unwrap().push(origin);
        let score = |(index, input)| {
            let logits = Self::logits(input).ok_or_else(|| ScoreError::Input {
                index,
                message: "no number".to_owned(),
                too_long: false,
            })?;
            Ok(Score {
                logits,
                tokens: 3,
                truncated: false,
            })
        };
        let scores: Result<_, _> = request
            .inputs
            .as_slice()
            .iter()
            .enumerate()
            .map(score)
            .collect();
        Ok(Scores {
            scores: scores?,
            by: self.by.clone(),
            hits: 0,
            timings: Timings::default(),
            variant: None,
        })
    }
}

/// Shows each word as a token.
struct Words;

impl Tokens for Words {
    fn tokens(
        &self,
        inputs: Inputs,
        _: InputOptions,
        _: Instant,
    ) -> BoxFuture<'_, Result<Vec<Vec<Token>>, ScoreError>> {
        let token = |(id, word): (u32, &str)| Token {
            id,
            text: Some(word.to_owned()),
            special: false,
            start: None,
            stop: None,
        };
        let of = |(index, input): (usize, &Input)| {
            let Input::Text(text) = input else {
                let message = "no text".to_owned();
                return Err(ScoreError::Input {
                    index,
                    message,
                    too_long: false,
                });
            };
            Ok((0..).zip(text.split_whitespace()).map(token).collect())
        };
        let tokens = inputs.as_slice().iter().enumerate().map(of).collect();
        Box::pin(std::future::ready(tokens))
    }
}

fn description(labels: &[&str], calibration: Option<&str>) -> Arc<Description> {
    Arc::new(Description {
        revision: None,
        version: "v".to_owned(),
        digest: "sha256:d".to_owned(),
        backbone: Backbone::Encoder,
        activation: Activation::of_labels(labels.len()),
        label: 0,
        native: Activation::Identity,
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        calibration: calibration.map(|text| text.parse().unwrap()),
    })
}

/// A fake whose answers are given by a model of these labels.
fn labelled(labels: &[&str], calibration: Option<&str>) -> Fake {
    Fake {
        by: description(labels, calibration),
        ..Fake::default()
    }
}

fn served<S>(scorer: S, labels: &[&str], calibration: Option<&str>) -> Served<S> {
    Served {
        scorer,
        model: ModelInfo {
            about: description(labels, calibration),
            architecture: "BertForSequenceClassification".to_owned(),
            parameters: 1,
            dtype: "f32".to_owned(),
            engine: "fake".to_owned(),
            device: "cpu".to_owned(),
            max_tokens: 256,
            special_date: None,
            loaded_at: 1,
        },
        tokens: Some(Arc::new(Words)),
    }
}

fn app_of<S: Scorer>(served: Served<S>) -> App<S> {
    let metrics = Arc::new(Metrics::new());
    metrics.loaded("v", 0.1);
    App {
        current: ArcSwap::from_pointee(served),
        settings: Settings {
            limits: Limits {
                max_characters: 1_000,
                max_batch: 4,
            },
            max_pairs: 6,
            max_body_bytes: 20_000,
            max_batch_tokens: 16_384,
            max_concurrent_requests: 512,
            timeout: Duration::from_secs(30),
            evaluate_timeout: Duration::from_secs(30),
            dialect_scores: DialectScores::Peer,
        },
        edge: Arc::new(Edge::default()),
        spans: None,
        metrics,
        lifecycle: Arc::new(Lifecycle::default()),
        cache: Arc::new(NoCache {
            behind_routers: false,
        }),
        updates: None,
        feedback: None,
    }
}

fn app<S: Scorer>(scorer: S, calibration: Option<&str>) -> (Router, Arc<Lifecycle>) {
    let app = app_of(served(scorer, &["LABEL_0"], calibration));
    let lifecycle = app.lifecycle.clone();
    (router(Arc::new(app)), lifecycle)
}

fn fake() -> (Router, Fake) {
    let fake = Fake::default();
    (app(fake.clone(), None).0, fake)
}

fn real() -> Router {
    real_behind(None)
}

/// The demo model, behind a cache or none.
fn real_behind(cache: Option<(Arc<Store>, Scope)>) -> Router {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/fixtures/demo-models/tiny-reward-v2");
    real_of(&folder, cache)
}

/// The model of a folder, likewise.
fn real_of(folder: &Path, cache: Option<(Arc<Store>, Scope)>) -> Router {
    let by = description(&["LABEL_0"], Some("scale=1,shift=0"));
    router(Arc::new(app_over(loaded(folder), by, cache)))
}

/// The model of a folder, on one thread.
fn loaded(folder: &Path) -> Arc<Model> {
    let options = LoadOptions {
        threads: 1,
        ..LoadOptions::default()
    };
    Arc::new(inference_models::load(folder, &options).unwrap())
}

/// What serves a model whose scores are given by `by`.
fn app_over(
    model: Arc<Model>,
    by: Arc<Description>,
    cache: Option<(Arc<Store>, Scope)>,
) -> App<LocalScorer> {
    let capacity = Capacity {
        batch_tokens: 16_384,
        requests: 64,
    };
    let metrics = Arc::new(Metrics::new());
    metrics.loaded("v", 0.1);
    let max_tokens = model.tokenizer.max_tokens();
    let scorer = LocalScorer::start(model, by.clone(), capacity, cache, metrics.clone()).unwrap();
    let mut served = served(scorer, &[], None);
    served.model.about = by;
    served.model.max_tokens = max_tokens;
    App {
        metrics,
        ..app_of(served)
    }
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn bytes_of(response: Response<Body>) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap()
        .to_vec()
}

/// An answer, after what is true of all answers was checked.
async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    for header in ["x-request-id", "x-model-version", "server-timing"] {
        assert!(headers.contains_key(header), "{header}");
    }
    let answer: Value = serde_json::from_slice(&bytes_of(response).await).unwrap();
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(answer["status"], status.as_u16());
        assert_eq!(
            answer["instance"],
            headers["x-request-id"].to_str().unwrap()
        );
    }
    (status, answer)
}

async fn say(router: &Router, path: &str, body: Value) -> (StatusCode, Value) {
    ask(router, post(path, body.to_string())).await
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}
