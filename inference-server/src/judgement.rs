//! An evaluation in the words of `POST /evaluate`, for the server and the command line alike.

use inference_api::evaluate::{CategoryResult, EvaluateResponse};
use inference_scoring::evaluation::{Evaluation, Tally};

/// The answer without scores.
pub(crate) fn response(found: &Evaluation, seconds: f64, version: String) -> EvaluateResponse {
    let by_category = found.by_category.iter();
    EvaluateResponse {
        pairs: found.all.pairs(),
        wins: found.all.wins,
        ties: found.all.ties,
        losses: found.all.losses,
        accuracy: found.all.accuracy(),
        interval: found.all.interval(),
        precision: found.all.precision(),
        recall: found.all.recall(),
        f1_score: found.all.f1(),
        brier: found.brier,
        calibration_error: found.calibration_error,
        by_category: by_category
            .map(|(name, tally)| (name.clone(), category(tally)))
            .collect(),
        chosen_scores: None,
        rejected_scores: None,
        processing_time: seconds,
        model_version: version,
    }
}

fn category(tally: &Tally) -> CategoryResult {
    CategoryResult {
        pairs: tally.pairs(),
        accuracy: tally.accuracy(),
        interval: tally.interval(),
    }
}
