//! `OpenRLHF`'s `POST /get_reward`. Its trainer sends what a policy wrote, of any number, and gives
//! up after five tries: so a long list is scored in parts, each of which waits for its turn.

use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload};
use axum::response::Response;
use inference_api::InputOptions;
use inference_api::openrlhf::{ExtraLogs, RewardRequest, RewardResponse};
use inference_scoring::{Backbone, Deadline, Scorer};

pub(crate) async fn get_reward<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let settings = &call.app.settings;
    let request: RewardRequest = payload.parse()?;
    let inputs = request.into_inputs(&settings.limits)?;
    let decoder = match call.served.model.about.backbone {
        Backbone::Encoder => false,
        Backbone::Decoder => true,
    };
    let options = InputOptions {
        // What is sent to a decoder was rendered by a chat template, special tokens included; a
        // policy ends its texts with one end, with none where it was cut, or with padding.
        add_special_tokens: Some(!decoder),
        clean_ends: decoder,
        ..InputOptions::default()
    };
    let deadline = Deadline::OnceAdmitted(settings.timeout);
    let scores = call.score_in_parts(inputs, options, deadline).await?;
    let shown = call.shown(&scores);
    let rewards: Vec<f32> = scores
        .scores
        .iter()
        .map(|score| shown.reward(score))
        .collect();
    let answer = RewardResponse {
        scores: rewards.clone(),
        rewards,
        extra_logs: ExtraLogs::default(),
    };
    Ok(shown.answer(answer))
}
