//! An evaluation as a table for people.

use std::fmt::Write;

use inference_api::evaluate::EvaluateResponse;

use super::Report;

/// The whole report. Writing to a string cannot fail.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    evaluation(&mut text, "", &report.own);
    if let Some(other) = &report.against {
        evaluation(&mut text, "against ", other);
    }
    if let Some(found) = &report.comparison {
        let [low, high] = found.interval;
        let _ = writeln!(
            text,
            "difference {:+.4} ({low:+.4} to {high:+.4}), rank correlation {}, {} preferences flipped, scores shifted by {:+.4}",
            found.accuracy_difference,
            number(found.rank_correlation),
            found.preference_flips,
            found.score_shift,
        );
    }
    text
}

fn evaluation(text: &mut String, what: &str, found: &EvaluateResponse) {
    let width = found.by_category.keys().map(|name| name.chars().count());
    let width = width.max().unwrap_or(0).max("category".len());
    let _ = writeln!(text, "{what}version {}", found.model_version);
    let _ = writeln!(
        text,
        "{:width$}  {:>7}  {:>8}  95 % interval",
        "category", "pairs", "accuracy"
    );
    let mut row = |name: &str, pairs: usize, accuracy, interval| {
        let _ = writeln!(
            text,
            "{name:width$}  {pairs:>7}  {:>8}  {}",
            number(accuracy),
            span(interval)
        );
    };
    for (name, category) in &found.by_category {
        row(name, category.pairs, category.accuracy, category.interval);
    }
    row("all", found.pairs, found.accuracy, found.interval);
    let _ = writeln!(
        text,
        "precision {}, recall {}, f1 {}, {} ties, brier {}, calibration error {}, {:.1} s\n",
        number(found.precision),
        number(found.recall),
        number(found.f1_score),
        found.ties,
        number(found.brier),
        number(found.calibration_error),
        found.processing_time,
    );
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

fn span(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |[low, high]| format!("{low:.4} to {high:.4}"),
    )
}
