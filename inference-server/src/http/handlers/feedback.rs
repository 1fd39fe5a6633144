//! `POST /feedback`: labelled pairs, scored later by both revisions of a rollout or by all variants of an
//! experiment, and events of users.
//!
//! Invariant: it is there where somebody can score by two revisions, and nowhere else.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use inference_api::feedback::{Feedback as Sent, FeedbackRequest, Preference};
use inference_api::{Input, Problem};
use inference_scoring::Scorer;

use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload};

pub(crate) async fn feedback<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let app = call.app.clone();
    let unknown =
        || Problem::not_found("feedback is taken by a router: see `inference-server route`");
    let feedback = app.feedback.as_ref().ok_or_else(unknown)?;
    let request: FeedbackRequest = payload.parse()?;
    let preferences = match request.into_feedback(&app.settings.limits, feedback.most())? {
        Sent::Preferences(preferences) => preferences,
        Sent::Events(events) => {
            call.admit(Vec::new())?;
            let answer = feedback.happened(events)?;
            return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
        }
    };
    let inputs = preferences.iter().flat_map(Preference::inputs).collect();
    let admitted = call.admit(inputs).map_err(Failure::of_pair)?;
    let pairs = admitted.as_slice().chunks_exact(2);
    let preferences = preferences.into_iter().zip(pairs);
    let preferences = preferences.map(|(preference, pair)| of(preference, pair));
    let answer = feedback.prefer(preferences.collect())?;
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// A preference with its texts as they were admitted: what must not be kept is no longer in them.
fn of(preference: Preference, pair: &[Input]) -> Preference {
    match pair {
        [
            Input::Conversation {
                prompt,
                response: chosen,
            },
            Input::Conversation {
                response: rejected, ..
            },
        ] => Preference {
            prompt: prompt.clone(),
            chosen: chosen.clone(),
            rejected: rejected.clone(),
            user: preference.user,
        },
        _ => preference,
    }
}
