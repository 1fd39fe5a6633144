//! `POST /evaluate`: both answers of every pair are scored in parts, within a time of their own.

use axum::response::Response;
use inference_api::evaluate::{EvaluateRequest, EvaluateResponse, Pair};
use inference_api::{InputOptions, Problem};
use inference_scoring::evaluation::{ScoredPair, evaluate as judge};
use inference_scoring::{Deadline, Score, Scorer};

use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload};
use crate::judgement;

pub(crate) async fn evaluate<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let settings = &call.app.settings;
    let request: EvaluateRequest = payload.parse()?;
    let include_scores = request.include_scores;
    let pairs = request.into_pairs(&settings.limits, settings.max_pairs)?;
    let inputs = pairs.iter().flat_map(Pair::inputs).collect();
    let deadline = Deadline::At(call.arrived + settings.evaluate_timeout);
    let scores = call
        .measure_in_parts(inputs, InputOptions::default(), deadline)
        .await
        .map_err(Failure::of_pair)?;
    let shown = call.shown(&scores);
    let (chosen, rejected) = split(&scores.scores);
    let margins: Vec<ScoredPair> = pairs
        .into_iter()
        .zip(chosen.iter().zip(&rejected))
        .map(|(pair, (chosen, rejected))| ScoredPair {
            chosen: shown.logit(chosen),
            rejected: shown.logit(rejected),
            weight: pair.weight.unwrap_or(1.0),
            category: pair.category,
        })
        .collect();
    let found = judge(&margins, shown.by().calibration);
    let found = found.map_err(|error| Problem::internal(error.to_string()).at(error.pair))?;
    let rewards = |scores: &[&Score]| scores.iter().map(|score| shown.reward(score)).collect();
    let seconds = call.arrived.elapsed().as_secs_f64();
    let answer = EvaluateResponse {
        chosen_scores: include_scores.then(|| rewards(&chosen)),
        rejected_scores: include_scores.then(|| rewards(&rejected)),
        ..judgement::response(&found, seconds, shown.version())
    };
    Ok(shown.answer(answer))
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
    pub(super) fn of_pair(self) -> Self {
        self.map(|problem| Problem {
            index: problem.index.map(|index| index / 2),
            ..problem
        })
    }
}
