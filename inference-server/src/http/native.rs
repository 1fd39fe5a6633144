//! `POST /predict` and `POST /predict/batch`.

use axum::response::Response;
use inference_api::native::{BatchRequest, BatchResponse, PredictRequest, PredictResponse};
use inference_api::{Dialect, InputOptions};
use inference_scoring::{Scorer, Scores};
use serde_json::value::RawValue;

use super::body::Payload;
use super::call::{Call, timed};
use super::error::Failure;
use super::tei;

/// Ours; or TEI's, whose clients send `inputs`.
pub(super) async fn predict<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    if payload.has("inputs") {
        if let Some(span) = &call.span {
            span.speaks(Dialect::Tei);
        }
        tei::predict(&call, &payload).await
    } else {
        one(&call, &payload).await
    }
}

async fn one<S: Scorer>(call: &Call<S>, payload: &Payload) -> Result<Response, Failure> {
    let request: PredictRequest = payload.parse()?;
    carry(call, request.metadata.as_deref());
    let input = request.into_input(&call.app.settings.limits)?;
    let (score, timings) = call.score_one(input, InputOptions::default()).await?;
    let answer = PredictResponse {
        reward_score: call.reward(&score),
        confidence: call.confidence(&score),
        probability: call.probability(&score),
        processing_time: call.arrived.elapsed().as_secs_f64(),
        model_version: call.version(),
        truncated: score.truncated,
        tokens: score.tokens,
        scores: call.labels(&score),
    };
    Ok(timed(answer, timings))
}

pub(super) async fn batch<S: Scorer>(call: Call<S>, payload: Payload) -> Result<Response, Failure> {
    let request: BatchRequest = payload.parse()?;
    carry(&call, request.metadata.as_deref());
    let inputs = request.into_inputs(&call.app.settings.limits)?;
    let Scores {
        scores, timings, ..
    } = call.score(inputs, InputOptions::default()).await?;
    let answer = BatchResponse {
        reward_scores: scores.iter().map(|score| call.reward(score)).collect(),
        confidences: scores.iter().map(|score| call.confidence(score)).collect(),
        probabilities: scores.iter().map(|score| call.probability(score)).collect(),
        processing_time: call.arrived.elapsed().as_secs_f64(),
        model_version: call.version(),
        truncated: scores.iter().map(|score| score.truncated).collect(),
        tokens: scores.iter().map(|score| score.tokens).collect(),
        scores: scores.iter().map(|score| call.labels(score)).collect(),
    };
    Ok(timed(answer, timings))
}

/// Metadata goes into the log and the trace, and nowhere else.
fn carry<S>(call: &Call<S>, metadata: Option<&RawValue>) {
    let Some(metadata) = metadata else {
        return;
    };
    tracing::debug!(target: "api", request = call.id, metadata = metadata.get(), "request");
    if let Some(span) = &call.span {
        span.metadata(metadata.get());
    }
}
