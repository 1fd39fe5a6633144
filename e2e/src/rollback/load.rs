//! Open-loop load that knows the right scores: requests leave at their time, whatever became of those
//! before them.
//!
//! Invariant: each request has one verdict, a second after it left at the latest; nothing is retried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::faulty::Moment;

/// What an answer may take.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// Users, each of whom one revision serves. No multiple of the number of texts, so that all meet all.
const USERS: usize = 1009;
/// Clients that keep connections, so that all routers have some of them.
const CLIENTS: usize = 8;
/// Scores of one text by one revision are the same bits; what is written in decimals is not.
const SAME: f64 = 1e-5;

/// A text with the scores that it has.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) body: Bytes,
    pub(super) stable: f64,
    pub(super) canary: f64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has stable's score.
    Stable,
    /// It has the canary's.
    Canary,
    /// It was harmed, in a word.
    Harmed(String),
}

/// A request: when it left, how long it took, and its verdict.
#[derive(Clone, Debug)]
struct Seen {
    left: Moment,
    took: Duration,
    verdict: Verdict,
}

/// Clients that keep their connections, and one that never does.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    address: String,
    kept: [Client<HttpConnector, Full<Bytes>>; CLIENTS],
    fresh: Client<HttpConnector, Full<Bytes>>,
}

/// Load that flows until this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

#[derive(Deserialize)]
struct Prediction {
    reward_score: f64,
}

impl Asking {
    /// Of the server at `HOST:PORT`.
    pub(super) fn new(address: impl Into<String>) -> Self {
        let client = |idle| {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(idle)
                .pool_idle_timeout(Duration::from_secs(10))
                .retry_canceled_requests(false)
                .build(connector)
        };
        Self {
            address: address.into(),
            kept: std::array::from_fn(|_| client(usize::MAX)),
            fresh: client(0),
        }
    }

    /// The score of a text, asked for as the request of this number.
    pub(super) async fn score(&self, number: usize, body: Bytes) -> anyhow::Result<f64> {
        let request = Request::post(format!("http://{}/predict", self.address))
            .header("content-type", "application/json")
            .header("x-user", format!("u{}", number % USERS))
            .body(Full::new(body))?;
        let kept = self.kept.get(number / 2 % CLIENTS);
        let client = kept.filter(|_| number.is_multiple_of(2));
        let client = client.unwrap_or(&self.fresh);
        let answer = client.request(request).await.context("no answer")?;
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .context("half an answer")?;
        ensure!(status.is_success(), "status {}", status.as_u16());
        let read: Prediction = serde_json::from_slice(&body.to_bytes()).context("no score")?;
        Ok(read.reward_score)
    }
}

impl Load {
    /// Sends `rate` requests a second, every other one over a kept connection.
    pub(super) fn start(asking: Asking, texts: Arc<[Text]>, rate: u32) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let sending = async move {
            let began = Instant::now();
            for (number, text) in texts.iter().cycle().enumerate() {
                let due = f64::from(u32::try_from(number).unwrap_or(u32::MAX)) / f64::from(rate);
                tokio::time::sleep_until(began + Duration::from_secs_f64(due)).await;
                let (asking, text, noted) = (asking.clone(), text.clone(), noted.clone());
                tokio::spawn(async move {
                    let asked = asking.score(number, text.body.clone());
                    judge(asked, &text, &noted).await;
                });
            }
        };
        let task = tokio::spawn(sending).abort_handle();
        Self { seen, task }
    }

    /// Verdicts on the requests that left within a time, each with how many.
    pub(super) fn between(&self, from: Moment, to: Moment) -> BTreeMap<String, usize> {
        let mut counted = BTreeMap::new();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let within = seen.iter().filter(|seen| (from..=to).contains(&seen.left));
        for seen in within {
            let word = match &seen.verdict {
                Verdict::Stable => "stable",
                Verdict::Canary => "canary",
                Verdict::Harmed(why) => why,
            };
            *counted.entry(word.to_owned()).or_default() += 1;
        }
        counted
    }

    /// Milliseconds that 99 of 100 requests took at most which left within a time.
    pub(super) fn p99_ms(&self, from: Moment, to: Moment) -> f64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let within = seen.iter().filter(|seen| (from..=to).contains(&seen.left));
        let mut took: Vec<Duration> = within.map(|seen| seen.took).collect();
        took.sort();
        let rank = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(rank).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Judges an answer. What is late goes on, as it would with a client that waits, and counts no more.
async fn judge(
    asked: impl Future<Output = anyhow::Result<f64>>,
    text: &Text,
    noted: &Mutex<Vec<Seen>>,
) {
    let left = Moment::now();
    let note = |verdict| {
        let took = Moment::now().since(left);
        let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen {
            left,
            took,
            verdict,
        });
    };
    let mut asked = std::pin::pin!(asked);
    let Ok(answer) = tokio::time::timeout(LATE, &mut asked).await else {
        note(Verdict::Harmed("late".to_owned()));
        let _ = asked.await;
        return;
    };
    note(match answer {
        Ok(score) if (score - text.stable).abs() < SAME => Verdict::Stable,
        Ok(score) if (score - text.canary).abs() < SAME => Verdict::Canary,
        Ok(_) => Verdict::Harmed("wrong".to_owned()),
        Err(error) => Verdict::Harmed(error.to_string()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn verdict(asked: impl Future<Output = anyhow::Result<f64>>) -> Verdict {
        let text = Text {
            body: Bytes::new(),
            stable: 1.0,
            canary: 2.0,
        };
        let noted = Mutex::new(Vec::new());
        judge(asked, &text, &noted).await;
        noted.into_inner().unwrap().pop().unwrap().verdict
    }

    #[tokio::test]
    async fn a_score_that_neither_revision_gives_is_wrong() {
        assert_eq!(verdict(async { Ok(1.0) }).await, Verdict::Stable);
        assert_eq!(verdict(async { Ok(2.000_001) }).await, Verdict::Canary);
        for wrong in [0.25, f64::NAN, 1.5] {
            let harmed = verdict(async move { Ok(wrong) }).await;
            assert_eq!(harmed, Verdict::Harmed("wrong".to_owned()));
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_harm_once() {
        let slow = async {
            tokio::time::sleep(LATE + Duration::from_millis(20)).await;
            Ok(1.0)
        };
        assert_eq!(verdict(slow).await, Verdict::Harmed("late".to_owned()));
        let failed = verdict(async { Err(anyhow::anyhow!("status 500")) }).await;
        assert_eq!(failed, Verdict::Harmed("status 500".to_owned()));
    }
}
