//! text-embeddings-inference's `POST /predict`, `POST /rerank` and `POST /tokenize`.

use crate::http::base::failure::{Failure, Unscored};
use crate::http::request::{Call, Payload, Shown, ranking};
use axum::Json;
use axum::response::Response;
use inference_api::tei::{
    PredictRequest, PredictResponse, Prediction, Rank, RerankRequest, Token, TokenizeRequest,
};
use inference_api::{Dialect, InputOptions, Problem};
use inference_scoring::{Score, Scorer};

pub(crate) async fn predict<S: Scorer>(
    call: &Call<S>,
    payload: &Payload,
) -> Result<Response, Failure> {
    let answer = async {
        let request: PredictRequest = payload.parse()?;
        let asked = request.into_asked(&call.app.settings.limits)?;
        if asked.batch {
            let scores = call.score(asked.inputs, asked.options).await?;
            let shown = call.shown(&scores);
            let of = |score| predictions(&shown, score, asked.raw);
            let answer = PredictResponse::Batch(scores.scores.iter().map(of).collect());
            return Ok(shown.answer(answer));
        }
        let input = asked.inputs.into_iter().next();
        let input = input.ok_or_else(|| Problem::unprocessable("inputs is empty"))?;
        let (score, shown) = call.score_one(input, asked.options).await?;
        let answer = PredictResponse::Single(predictions(&shown, &score, asked.raw));
        Ok(shown.answer(answer))
    };
    answer
        .await
        .map_err(|failure: Failure| failure.of(Dialect::Tei))
}

/// All labels, the highest first.
fn predictions(shown: &Shown, score: &Score, raw: bool) -> Vec<Prediction> {
    let values = shown.activated_by_labels(score, raw);
    let labels = &shown.by().labels;
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

pub(crate) async fn rerank<S: Scorer>(
    call: &Call<S>,
    payload: &Payload,
) -> Result<Response, Failure> {
    let answer = async {
        let request: RerankRequest = payload.parse()?;
        let (inputs, options) = request.inputs(&call.app.settings.limits)?;
        let scores = call.score(inputs, options).await?;
        let shown = call.shown(&scores);
        let values: Vec<f32> = scores
            .scores
            .iter()
            .map(|score| shown.own_label(&shown.activated_by_labels(score, request.raw_scores)))
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
        Ok(shown.answer(answer))
    };
    answer
        .await
        .map_err(|failure: Failure| failure.of(Dialect::Tei))
}

pub(crate) async fn tokenize<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Json<Vec<Vec<Token>>>, Failure> {
    let request: TokenizeRequest = payload.parse()?;
    let limits = &call.app.settings.limits;
    let inputs = inference_api::sglang::inputs(request.inputs, "inputs", limits)?;
    let tokens = call.served.tokens.clone().ok_or_else(|| {
        Problem::conflict("there is no tokenizer here: ask the scoring server itself")
    })?;
    let inputs = call.admit(inputs)?;
    let options = InputOptions {
        add_special_tokens: Some(request.add_special_tokens),
        ..InputOptions::default()
    };
    let until = call.arrived + call.app.settings.timeout;
    let tokens = tokens.tokens(inputs, options, until).await;
    Ok(Json(tokens.map_err(Unscored::from)?))
}
