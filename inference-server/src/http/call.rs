//! One request on its way: the model it began with, who sent it, and how it is scored.
//!
//! Owns admission at the edge of the scorer, and the choice of numbers that an answer shows.
//! Invariant: a request is admitted once, whatever it is split into.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use inference_api::{Input, InputOptions};
use inference_models::OutputActivation;
use inference_scoring::{Score, ScoreError, ScoreRequest, Scorer, Scores, Timings};

use super::edge::Caller;
use super::error::{self, Failure};
use super::trace::{Arrived, RequestId};
use super::{App, Served};
use crate::args::DialectScores;
use crate::spans::RequestSpan;

pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Says that all scores of an answer were remembered.
pub(super) const CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Parts of one request that are on their way at once: one is computed while one is tokenised.
const PARTS_IN_FLIGHT: usize = 2;

/// One request on its way.
pub(super) struct Call<S> {
    pub(super) app: Arc<App<S>>,
    pub(super) served: Arc<Served<S>>,
    pub(super) arrived: Instant,
    pub(super) id: String,
    /// `None` where there are no traces.
    pub(super) span: Option<RequestSpan>,
    caller: Caller,
}

/// How long the parts of a long request may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Each part, from when its turn comes.
    Each(Duration),
    /// All of them.
    Until(Instant),
}

impl<S: Scorer> FromRequestParts<Arc<App<S>>> for Call<S> {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App<S>>,
    ) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        let served = extensions.get::<Arc<Served<S>>>().cloned();
        let arrived = extensions.get::<Arrived>();
        Ok(Self {
            app: app.clone(),
            served: served.unwrap_or_else(|| app.current.load_full()),
            arrived: arrived.map_or_else(Instant::now, |arrived| arrived.0),
            id: extensions
                .get::<RequestId>()
                .map(RequestId::text)
                .unwrap_or_default(),
            span: extensions.get::<RequestSpan>().cloned(),
            caller: extensions.get::<Caller>().cloned().unwrap_or_default(),
        })
    }
}

impl<S: Scorer> Call<S> {
    /// Scores one input, which an error does not name.
    pub(super) async fn score_one(
        &self,
        input: Input,
        options: InputOptions,
    ) -> Result<(Score, Timings), Failure> {
        let mut inputs = vec![input];
        self.admit(&mut inputs).map_err(Failure::without_index)?;
        let deadline = self.arrived + self.app.settings.timeout;
        let Scores {
            scores, timings, ..
        } = self
            .run(inputs, options, deadline)
            .await
            .map_err(|failure| error::problem(&failure, true))?;
        let score = scores.into_iter().next();
        let score = score.ok_or_else(|| error::problem(&ScoreError::Engine, true))?;
        Ok((score, timings))
    }

    /// Scores inputs as one batch.
    pub(super) async fn score(
        &self,
        mut inputs: Vec<Input>,
        options: InputOptions,
    ) -> Result<Scores, Failure> {
        self.admit(&mut inputs)?;
        let deadline = self.arrived + self.app.settings.timeout;
        let scores = self.run(inputs, options, deadline).await;
        scores.map_err(|failure| error::problem(&failure, false).into())
    }

    /// Scores any number of inputs in parts, each of which waits for its turn.
    pub(super) async fn score_in_parts(
        &self,
        mut inputs: Vec<Input>,
        options: InputOptions,
        patience: Patience,
    ) -> Result<Scores, Failure> {
        self.admit(&mut inputs)?;
        let size = self.app.settings.limits.max_batch.max(1);
        let mut parts = Vec::new();
        while !inputs.is_empty() {
            let rest = inputs.split_off(size.min(inputs.len()));
            parts.push(std::mem::replace(&mut inputs, rest));
        }
        let part = |(part, inputs): (usize, Vec<Input>)| async move {
            let deadline = match patience {
                Patience::Each(time) => Instant::now() + time,
                Patience::Until(deadline) => deadline,
            };
            let scores = self.run(inputs, options, deadline).await;
            scores.map_err(|failure| match failure {
                ScoreError::Input {
                    index,
                    message,
                    too_long,
                } => ScoreError::Input {
                    index: index + part * size,
                    message,
                    too_long,
                },
                ScoreError::Overloaded
                | ScoreError::Late
                | ScoreError::NotFinite
                | ScoreError::Engine
                | ScoreError::NotReady => failure,
            })
        };
        let nothing = Scores {
            scores: Vec::new(),
            hits: 0,
            timings: Timings {
                cached: true,
                ..Timings::default()
            },
        };
        stream::iter(parts.into_iter().enumerate().map(part))
            .buffered(PARTS_IN_FLIGHT)
            .try_fold(nothing, |mut all, part| async move {
                all.scores.extend(part.scores);
                all.hits += part.hits;
                all.timings.cached &= part.timings.cached;
                all.timings.tokenise += part.timings.tokenise;
                all.timings.queue += part.timings.queue;
                all.timings.inference += part.timings.inference;
                Ok(all)
            })
            .await
            .map_err(|failure| error::problem(&failure, false).into())
    }

    /// The last checks before work is done: unwanted text, then the caller's rate.
    pub(super) fn admit(&self, inputs: &mut [Input]) -> Result<(), Failure> {
        for (index, input) in inputs.iter_mut().enumerate() {
            let checked = self.app.edge.filter.apply(input);
            checked.map_err(|problem| problem.at(index))?;
        }
        Ok(self.app.edge.admit(&self.caller)?)
    }

    async fn run(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
        deadline: Instant,
    ) -> Result<Scores, ScoreError> {
        let request = ScoreRequest {
            inputs,
            options,
            deadline,
        };
        let span = self.span.as_ref().map(|span| (span, SystemTime::now()));
        let outcome = self.served.scorer.score(request).await;
        match &outcome {
            Ok(scores) => {
                if let Some((span, began)) = span {
                    span.scored(began, scores);
                }
                let rewards: Vec<f32> = scores.scores.iter().map(|s| self.reward(s)).collect();
                self.app.metrics.scored(&rewards, scores.hits);
            }
            Err(failure) => {
                let kind = error::kind(failure);
                if let Some((span, _)) = span {
                    span.failed(kind);
                }
                self.app.metrics.failed(kind);
            }
        }
        outcome
    }

    /// The raw logit that is the score. The label was checked against the model when it was loaded.
    pub(super) fn logit(&self, score: &Score) -> f32 {
        let label = self.app.settings.label;
        score.logits.get(label).copied().unwrap_or(f32::NAN)
    }

    /// The score of the native routes.
    pub(super) fn reward(&self, score: &Score) -> f32 {
        self.app.settings.activation.apply(self.logit(score))
    }

    /// All labels by name, where there are several.
    pub(super) fn labels(&self, score: &Score) -> Option<BTreeMap<String, f32>> {
        let labels = &self.served.model.labels;
        let activation = self.app.settings.activation;
        let values = score.logits.iter().map(|logit| activation.apply(*logit));
        (labels.len() > 1).then(|| labels.iter().cloned().zip(values).collect())
    }

    pub(super) fn confidence(&self, score: &Score) -> Option<f64> {
        let calibration = self.served.model.calibration?;
        Some(calibration.confidence(self.logit(score)))
    }

    pub(super) fn probability(&self, score: &Score) -> Option<f64> {
        let calibration = self.served.model.calibration?;
        Some(calibration.probability(self.logit(score)))
    }

    /// All labels as the dialects of vLLM and Cohere show them: through what the checkpoint says,
    /// unless raw ones are wanted.
    pub(super) fn activated(&self, score: &Score, raw: bool) -> Vec<f32> {
        self.through(self.served.model.activation, score, raw)
    }

    /// All labels as TEI shows them, which does not ask the checkpoint: through a sigmoid, or a
    /// softmax where there are several, unless raw ones are wanted.
    pub(super) fn activated_by_labels(&self, score: &Score, raw: bool) -> Vec<f32> {
        self.through(OutputActivation::ByLabels, score, raw)
    }

    fn through(&self, activation: OutputActivation, score: &Score, raw: bool) -> Vec<f32> {
        let raw = match self.app.settings.dialect_scores {
            DialectScores::Raw => true,
            DialectScores::Peer => raw,
        };
        if raw {
            score.logits.clone()
        } else {
            activation.apply(&score.logits)
        }
    }

    /// Of all labels the one that is the score.
    pub(super) fn own_label(&self, values: &[f32]) -> f32 {
        let label = self.app.settings.label;
        values.get(label).copied().unwrap_or(f32::NAN)
    }

    pub(super) fn version(&self) -> String {
        self.served.model.version.clone()
    }
}

/// Indexes of `scores`, the highest first; equals keep their order.
pub(super) fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    order.into_iter().map(|(index, _)| index).collect()
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An answer that says where its time went.
pub(super) fn timed<T: serde::Serialize>(answer: T, timings: Timings) -> Response {
    let mut response = Json(answer).into_response();
    let text = format!(
        "tokenise;dur={:.3}, queue;dur={:.3}, inference;dur={:.3}",
        timings.tokenise.as_secs_f64() * 1e3,
        timings.queue.as_secs_f64() * 1e3,
        timings.inference.as_secs_f64() * 1e3
    );
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
    if timings.cached {
        response
            .headers_mut()
            .insert(CACHE, HeaderValue::from_static("hit"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_keeps_the_order_of_equals() {
        assert_eq!(ranking(&[0.5, 2.0, 0.5, -1.0]), [1, 0, 2, 3]);
    }
}
