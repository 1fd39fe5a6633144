//! text-embeddings-inference's `POST /predict`, `POST /rerank` and `POST /tokenize`.

use axum::Json;
use axum::response::Response;
use inference_api::tei::{
    PredictRequest, PredictResponse, Prediction, Rank, RerankRequest, Token, TokenizeRequest,
};
use inference_api::{Dialect, Input, InputOptions, Problem};
use inference_scoring::{Score, Scorer};

use super::body::Payload;
use super::call::{Call, ranking, timed};
use super::error::Failure;

pub(super) async fn predict<S: Scorer>(
    call: &Call<S>,
    payload: &Payload,
) -> Result<Response, Failure> {
    let answer = async {
        let request: PredictRequest = payload.parse()?;
        let asked = request.into_asked(&call.app.settings.limits)?;
        if asked.batch {
            let scores = call.score(asked.inputs, asked.options).await?;
            let of = |score| predictions(call, score, asked.raw);
            let answer = PredictResponse::Batch(scores.scores.iter().map(of).collect());
            return Ok(timed(answer, scores.timings));
        }
        let input = asked.inputs.into_iter().next();
        let input = input.ok_or_else(|| Problem::unprocessable("inputs is empty"))?;
        let (score, timings) = call.score_one(input, asked.options).await?;
        let answer = PredictResponse::Single(predictions(call, &score, asked.raw));
        Ok(timed(answer, timings))
    };
    answer
        .await
        .map_err(|failure: Failure| failure.of(Dialect::Tei))
}

/// All labels, the highest first.
fn predictions<S: Scorer>(call: &Call<S>, score: &Score, raw: bool) -> Vec<Prediction> {
    let values = call.activated_by_labels(score, raw);
    let labels = &call.served.model.labels;
    let prediction = |index: usize| {
        Some(Prediction {
            score: *values.get(index)?,
            label: labels.get(index)?.clone(),
        })
    };
    ranking(&values)
        .into_iter()
        .filter_map(prediction)
        .collect()
}

pub(super) async fn rerank<S: Scorer>(
    call: &Call<S>,
    payload: &Payload,
) -> Result<Response, Failure> {
    let answer = async {
        let request: RerankRequest = payload.parse()?;
        let (inputs, options) = request.inputs(&call.app.settings.limits)?;
        let scores = call.score(inputs, options).await?;
        let values: Vec<f32> = scores
            .scores
            .iter()
            .map(|score| call.own_label(&call.activated_by_labels(score, request.raw_scores)))
            .collect();
        let rank = |index: usize| {
            let text = request.texts.get(index).cloned();
            Some(Rank {
                index,
                text: text.filter(|_| request.return_text),
                score: *values.get(index)?,
            })
        };
        let answer: Vec<Rank> = ranking(&values).into_iter().filter_map(rank).collect();
        Ok(timed(answer, scores.timings))
    };
    answer
        .await
        .map_err(|failure: Failure| failure.of(Dialect::Tei))
}

pub(super) async fn tokenize<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Json<Vec<Vec<Token>>>, Failure> {
    let request: TokenizeRequest = payload.parse()?;
    let limits = &call.app.settings.limits;
    let mut inputs = inference_api::sglang::inputs(request.inputs, "inputs", limits)?;
    let tokens = call.served.tokens.clone().ok_or_else(|| {
        Problem::conflict("there is no tokenizer here: ask the scoring server itself")
    })?;
    call.admit(&mut inputs)?;
    let options = InputOptions {
        add_special_tokens: Some(request.add_special_tokens),
        ..InputOptions::default()
    };
    let work = move || {
        let of = |(index, input): (usize, Input)| {
            let tokens = tokens.tokens(input, options);
            tokens.map_err(|message| Problem::unprocessable(message).at(index))
        };
        inputs.into_iter().enumerate().map(of).collect()
    };
    let tokens: Result<_, Problem> = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::internal("the tokenizer failed"))?;
    Ok(Json(tokens?))
}
