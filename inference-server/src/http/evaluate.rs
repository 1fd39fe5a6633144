//! `POST /evaluate`: both answers of every pair are scored in parts, within a time of their own.

use axum::response::Response;
use inference_api::evaluate::{EvaluateRequest, EvaluateResponse, Pair};
use inference_api::{InputOptions, Problem};
use inference_scoring::evaluation::{ScoredPair, evaluate as judge};
use inference_scoring::{Score, Scorer};

use super::body::Payload;
use super::call::{Call, Patience, timed};
use super::error::Failure;
use crate::judgement;

pub(super) async fn evaluate<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let settings = &call.app.settings;
    let request: EvaluateRequest = payload.parse()?;
    let include_scores = request.include_scores;
    let pairs = request.into_pairs(&settings.limits, settings.max_pairs)?;
    let inputs = pairs.iter().flat_map(Pair::inputs).collect();
    let patience = Patience::Until(call.arrived + settings.evaluate_timeout);
    let scores = call
        .score_in_parts(inputs, InputOptions::default(), patience)
        .await
        .map_err(Failure::of_pair)?;
    let (chosen, rejected) = split(&scores.scores);
    let margins: Vec<ScoredPair> = pairs
        .into_iter()
        .zip(chosen.iter().zip(&rejected))
        .map(|(pair, (chosen, rejected))| ScoredPair {
            chosen: call.logit(chosen),
            rejected: call.logit(rejected),
            weight: pair.weight.unwrap_or(1.0),
            category: pair.category,
        })
        .collect();
    let found = judge(&margins, call.served.model.calibration);
    let rewards = |scores: &[&Score]| scores.iter().map(|score| call.reward(score)).collect();
    let seconds = call.arrived.elapsed().as_secs_f64();
    let answer = EvaluateResponse {
        chosen_scores: include_scores.then(|| rewards(&chosen)),
        rejected_scores: include_scores.then(|| rewards(&rejected)),
        ..judgement::response(&found, seconds, call.version())
    };
    Ok(timed(answer, scores.timings))
}

/// The scores of the preferred answers, and of the others.
fn split(scores: &[Score]) -> (Vec<&Score>, Vec<&Score>) {
    scores
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [chosen, rejected] => Some((chosen, rejected)),
            _ => None,
        })
        .unzip()
}

impl Failure {
    /// Two inputs are one pair to the client.
    fn of_pair(self) -> Self {
        self.map(|problem| Problem {
            index: problem.index.map(|index| index / 2),
            ..problem
        })
    }
}
