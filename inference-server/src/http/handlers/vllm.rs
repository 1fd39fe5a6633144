//! vLLM's `POST /classify` and `POST /score`. `SGLang` has a `/classify` too: its clients send
//! `text`.

use axum::response::Response;
use inference_api::vllm::{
    Class, ClassifyRequest, ClassifyResponse, ScoreItem, ScoreRequest, ScoreResponse, Usage,
};
use inference_scoring::{Score, Scorer};

use super::sglang;
use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload, now, ranking, require_one};

pub(crate) async fn classify<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    if payload.has("text") {
        require_one(&payload, "text", &["input", "messages"])?;
        return sglang::classify(&call, &payload).await;
    }
    let request: ClassifyRequest = payload.parse()?;
    let most = call.served.model.max_tokens;
    let (raw, options) = (request.options.raw(), request.options.input_options(most)?);
    let inputs = request.into_inputs(&call.app.settings.limits)?;
    let scores = call.score(inputs, options).await?;
    let shown = call.shown(&scores);
    let class = |(index, score)| {
        let probs = shown.activated(score, raw);
        let best = ranking(&probs).first().copied().unwrap_or_default();
        let label = shown.by().labels.get(best).cloned();
        Class {
            index,
            label: label.unwrap_or_default(),
            num_classes: probs.len(),
            probs,
        }
    };
    let answer = ClassifyResponse {
        id: format!("classify-{}", call.id),
        object: "list",
        created: now(),
        model: shown.version(),
        data: scores.scores.iter().enumerate().map(class).collect(),
        usage: usage(&scores.scores),
    };
    Ok(shown.answer(answer))
}

pub(crate) async fn score<S: Scorer>(call: Call<S>, payload: Payload) -> Result<Response, Failure> {
    let request: ScoreRequest = payload.parse()?;
    let most = call.served.model.max_tokens;
    let (raw, options) = (request.options.raw(), request.options.input_options(most)?);
    let inputs = request.into_inputs(&call.app.settings.limits)?;
    let scores = call.score(inputs, options).await?;
    let shown = call.shown(&scores);
    let item = |(index, score)| ScoreItem {
        index,
        object: "score",
        score: shown.own_label(&shown.activated(score, raw)),
    };
    let answer = ScoreResponse {
        id: format!("score-{}", call.id),
        object: "list",
        created: now(),
        model: shown.version(),
        data: scores.scores.iter().enumerate().map(item).collect(),
        usage: usage(&scores.scores),
    };
    Ok(shown.answer(answer))
}

pub(super) fn usage(scores: &[Score]) -> Usage {
    Usage::of(scores.iter().map(|score| score.tokens).sum())
}
