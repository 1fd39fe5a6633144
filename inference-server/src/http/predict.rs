//! `POST /predict` and `POST /predict/batch`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use inference_api::native::{BatchRequest, BatchResponse, PredictRequest, PredictResponse};
use inference_api::{Input, InputOptions};
use inference_scoring::{Score, ScoreRequest, Scorer, Scores, Timings};

use super::error::{self, Failure};
use super::{App, body};

pub(super) async fn one<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let arrived = Instant::now();
    let request: PredictRequest = body::json(&headers, body, app.settings.max_body_bytes).await?;
    log_metadata(request.metadata.as_deref());
    let input = request.into_input(&app.settings.limits)?;
    let scores = score(&app, vec![input], arrived, true).await?;
    let timings = scores.timings;
    let Some(score) = scores.scores.into_iter().next() else {
        return Err(error::problem(&inference_scoring::ScoreError::Engine, true).into());
    };
    let reward = app.reward(&score);
    let answer = PredictResponse {
        reward_score: reward,
        confidence: app
            .settings
            .calibration
            .map(|c| c.confidence(app.logit(&score))),
        probability: app
            .settings
            .calibration
            .map(|c| c.probability(app.logit(&score))),
        processing_time: arrived.elapsed().as_secs_f64(),
        model_version: app.model.version.clone(),
        truncated: score.truncated,
        tokens: score.tokens,
        scores: app.all_labels(&score),
    };
    Ok(with_timings(Json(answer), timings))
}

pub(super) async fn batch<S: Scorer>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let arrived = Instant::now();
    let request: BatchRequest = body::json(&headers, body, app.settings.max_body_bytes).await?;
    log_metadata(request.metadata.as_deref());
    let inputs = request.into_inputs(&app.settings.limits)?;
    let Scores {
        scores, timings, ..
    } = score(&app, inputs, arrived, false).await?;
    let calibration = app.settings.calibration;
    let several = app.model.labels.len() > 1;
    let answer = BatchResponse {
        reward_scores: scores.iter().map(|score| app.reward(score)).collect(),
        confidences: scores
            .iter()
            .map(|s| calibration.map(|c| c.confidence(app.logit(s))))
            .collect(),
        probabilities: scores
            .iter()
            .map(|s| calibration.map(|c| c.probability(app.logit(s))))
            .collect(),
        processing_time: arrived.elapsed().as_secs_f64(),
        model_version: app.model.version.clone(),
        truncated: scores.iter().map(|score| score.truncated).collect(),
        tokens: scores.iter().map(|score| score.tokens).collect(),
        scores: several.then(|| {
            scores
                .iter()
                .filter_map(|score| app.all_labels(score))
                .collect()
        }),
    };
    Ok(with_timings(Json(answer), timings))
}

async fn score<S: Scorer>(
    app: &App<S>,
    inputs: Vec<Input>,
    arrived: Instant,
    single: bool,
) -> Result<Scores, Failure> {
    let request = ScoreRequest {
        inputs,
        options: InputOptions::default(),
        deadline: arrived + app.settings.timeout,
    };
    match app.scorer.score(request).await {
        Ok(scores) => {
            let rewards: Vec<f32> = scores
                .scores
                .iter()
                .map(|score| app.reward(score))
                .collect();
            app.metrics.scored(&rewards, scores.hits);
            Ok(scores)
        }
        Err(failure) => {
            app.metrics.failed(error::kind(&failure));
            Err(error::problem(&failure, single).into())
        }
    }
}

impl<S> App<S> {
    /// The raw logit that is the score. The label was checked against the model at the start.
    fn logit(&self, score: &Score) -> f32 {
        score
            .logits
            .get(self.settings.label)
            .copied()
            .unwrap_or(f32::NAN)
    }

    fn reward(&self, score: &Score) -> f32 {
        self.settings.activation.apply(self.logit(score))
    }

    fn all_labels(&self, score: &Score) -> Option<BTreeMap<String, f32>> {
        let labels = &self.model.labels;
        let activation = self.settings.activation;
        let named = labels
            .iter()
            .cloned()
            .zip(score.logits.iter().map(|l| activation.apply(*l)));
        (labels.len() > 1).then(|| named.collect())
    }
}

fn log_metadata(metadata: Option<&serde_json::value::RawValue>) {
    if let Some(metadata) = metadata {
        tracing::debug!(target: "api", metadata = metadata.get(), "request");
    }
}

fn with_timings(answer: impl IntoResponse, timings: Timings) -> Response {
    let mut response = answer.into_response();
    let text = format!(
        "tokenise;dur={:.3}, queue;dur={:.3}, inference;dur={:.3}",
        timings.tokenise.as_secs_f64() * 1e3,
        timings.queue.as_secs_f64() * 1e3,
        timings.inference.as_secs_f64() * 1e3
    );
    if let Ok(value) = HeaderValue::from_str(&text) {
        response
            .headers_mut()
            .insert(HeaderName::from_static("server-timing"), value);
    }
    response
}
