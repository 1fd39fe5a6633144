//! What routers ask: `POST /internal/score`, `POST /internal/tokens`, `GET /internal/model`,
//! `POST /internal/cache`.
//!
//! Invariant: an answer has the bits of the scorer's, and an error all that it says, so that what a
//! router makes of both is what this server would have made of them. Scores are forgotten for nobody but
//! an admin, and the routers of a server that stands behind them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use inference_api::Problem;
use inference_api::internal::{
    self, Forget, Model, Question, read_question, write_answer, write_unanswered,
};
use inference_api::update::CacheCleared;
use inference_scoring::{Deadline, ScoreError, Scorer, wire};

use crate::http::base::failure::{Failure, Unscored};
use crate::http::request::{Call, Payload};

pub(crate) async fn score<S: Scorer>(call: Call<S>, payload: Payload) -> Result<Response, Failure> {
    let scores = match call.relay(question(&payload)?).await? {
        Ok(scores) => scores,
        Err(error) => return Ok(unscored(error)),
    };
    // Strings and numbers: there is nothing that JSON could not write.
    let by = serde_json::to_vec(&wire::by(&scores.by)).unwrap_or_default();
    let answer = write_answer(&wire::answer(scores, &by));
    Ok(bytes(StatusCode::OK, answer))
}

pub(crate) async fn tokens<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let question = question(&payload)?;
    let tokens = call.served.tokens.clone();
    let tokens = tokens.ok_or_else(|| Problem::conflict("there is no tokenizer here"))?;
    let inputs = call.admit(question.inputs)?;
    let deadline = Deadline::came(question.until, call.arrived, call.app.settings.timeout);
    let until = deadline.from(call.arrived);
    Ok(match tokens.tokens(inputs, question.options, until).await {
        Ok(tokens) => Json(tokens).into_response(),
        Err(error) => unscored(error),
    })
}

pub(crate) async fn model<S: Scorer>(call: Call<S>) -> Json<Model> {
    let model = &call.served.model;
    Json(Model {
        by: wire::by(&model.about),
        architecture: model.architecture.clone(),
        parameters: model.parameters,
        dtype: model.dtype.clone(),
        device: model.device.clone(),
        engine: model.engine.clone(),
        max_tokens: model.max_tokens,
        special_date: model.special_date.clone(),
        loaded_at: model.loaded_at,
    })
}

pub(crate) async fn forget<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Json<CacheCleared>, Failure> {
    let cache = &call.app.cache;
    let is_a_routers = call.app.is_behind_routers();
    if !call.is_admins() && !is_a_routers {
        let detail = "only the routers of a server with --revision may ask this";
        return Err(Problem::forbidden(detail).into());
    }
    let Forget { model_version } = payload.parse()?;
    cache.clear(&model_version).await?;
    Ok(Json(CacheCleared { model_version }))
}

fn question(payload: &Payload) -> Result<Question, Problem> {
    read_question(payload.bytes()).map_err(|torn| Problem::bad_request(torn.to_string()))
}

/// An error with the status that a client would see.
fn unscored(error: ScoreError) -> Response {
    let status = Unscored::from(error.clone()).problem().status;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    bytes(status, write_unanswered(&wire::unanswered(error)))
}

fn bytes(status: StatusCode, body: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static(internal::CONTENT_TYPE);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
