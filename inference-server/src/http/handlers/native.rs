//! `POST /predict` and `POST /predict/batch`.

use axum::response::Response;
use inference_api::native::{BatchRequest, BatchResponse, PredictRequest, PredictResponse};
use inference_api::{Dialect, InputOptions};
use inference_scoring::Scorer;
use serde_json::value::RawValue;

use super::tei;
use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload, require_one};

/// Ours; or TEI's, whose clients send `inputs`.
pub(crate) async fn predict<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    if payload.has("inputs") {
        if let Some(span) = &call.span {
            span.speaks(Dialect::Tei);
        }
        let others = ["text", "text_pair", "context", "messages"];
        require_one(&payload, "inputs", &others)?;
        tei::predict(&call, &payload).await
    } else {
        one(&call, &payload).await
    }
}

async fn one<S: Scorer>(call: &Call<S>, payload: &Payload) -> Result<Response, Failure> {
    let request: PredictRequest = payload.parse()?;
    carry(call, request.metadata.as_deref());
    let raw = request.raw_scores;
    let input = request.into_input(&call.app.settings.limits)?;
    let (score, shown) = call.score_one(input, InputOptions::default()).await?;
    let shown = shown.raw(raw);
    let answer = PredictResponse {
        reward_score: shown.reward(&score),
        confidence: shown.confidence(&score),
        probability: shown.probability(&score),
        processing_time: call.arrived.elapsed().as_secs_f64(),
        model_version: shown.version(),
        truncated: score.truncated,
        tokens: score.tokens,
        scores: shown.labels(&score),
    };
    Ok(shown.answer(answer))
}

pub(crate) async fn batch<S: Scorer>(call: Call<S>, payload: Payload) -> Result<Response, Failure> {
    let request: BatchRequest = payload.parse()?;
    carry(&call, request.metadata.as_deref());
    let raw = request.raw_scores;
    let inputs = request.into_inputs(&call.app.settings.limits)?;
    let given = call.score(inputs, InputOptions::default()).await?;
    let (shown, scores) = (call.shown(&given).raw(raw), &given.scores);
    let answer = BatchResponse {
        reward_scores: scores.iter().map(|score| shown.reward(score)).collect(),
        confidences: scores.iter().map(|score| shown.confidence(score)).collect(),
        probabilities: scores
            .iter()
            .map(|score| shown.probability(score))
            .collect(),
        processing_time: call.arrived.elapsed().as_secs_f64(),
        model_version: shown.version(),
        truncated: scores.iter().map(|score| score.truncated).collect(),
        tokens: scores.iter().map(|score| score.tokens).collect(),
        scores: scores.iter().map(|score| shown.labels(score)).collect(),
    };
    Ok(shown.answer(answer))
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
