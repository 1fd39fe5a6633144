//! `OpenRLHF`'s `POST /get_reward`. Its trainer sends what a policy wrote, of any number, and gives
//! up after five tries: so a long list is scored in parts, each of which waits for its turn.

use axum::response::Response;
use inference_api::InputOptions;
use inference_api::openrlhf::{ExtraLogs, RewardRequest, RewardResponse};
use inference_scoring::Scorer;

use super::Kind;
use super::body::Payload;
use super::call::{Call, Patience, timed};
use super::error::Failure;

pub(super) async fn get_reward<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let settings = &call.app.settings;
    let request: RewardRequest = payload.parse()?;
    let inputs = request.into_inputs(&settings.limits)?;
    let decoder = match call.served.model.kind {
        Kind::Encoder => false,
        Kind::Decoder => true,
    };
    let options = InputOptions {
        // What is sent to a decoder was rendered by a chat template, special tokens included; a
        // policy ends its texts with one end, with none where it was cut, or with padding.
        add_special_tokens: Some(!decoder),
        clean_ends: decoder,
        ..InputOptions::default()
    };
    let patience = Patience::Each(settings.timeout);
    let scores = call.score_in_parts(inputs, options, patience).await?;
    let rewards: Vec<f32> = scores
        .scores
        .iter()
        .map(|score| call.reward(score))
        .collect();
    let answer = RewardResponse {
        scores: rewards.clone(),
        rewards,
        extra_logs: ExtraLogs::default(),
    };
    Ok(timed(answer, scores.timings))
}
