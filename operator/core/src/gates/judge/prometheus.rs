//! Gates on a Prometheus query: one number against a threshold, without an error that is known.
//!
//! Invariant: only a finite number is a result. What is no number says nothing of the new revision.

use crds::v1alpha1::reward_model::status::Verdict;

use super::super::figures::plain;
use super::super::gate::Bound;
use super::super::measurement::PrometheusAnswer;
use super::super::track::Frozen;
use super::{Finding, Judgement, Look};

pub(super) fn judge(bound: Bound, frozen: &Frozen, answer: &PrometheusAnswer) -> Finding {
    let (judgement, look) = match answer {
        PrometheusAnswer::Value(value) if value.is_finite() => result(bound, *value),
        PrometheusAnswer::Value(value) => missed(
            Verdict::NoData,
            format!("the query answers {value}: it has nothing to count, or divides by 0"),
        ),
        PrometheusAnswer::Empty => missed(
            Verdict::NoData,
            "the query answers no series: check its labels, and whether anything is scraped"
                .to_owned(),
        ),
        PrometheusAnswer::NotANumber => missed(
            Verdict::Error,
            "the query answers what is no number: it must answer one number".to_owned(),
        ),
        PrometheusAnswer::Several(series) => missed(
            Verdict::Error,
            format!("the query answers {series} series: put sum() or max() around it"),
        ),
        PrometheusAnswer::NotAVector(kind) => missed(
            Verdict::Error,
            format!("the query answers a {kind}: it must answer one number"),
        ),
        PrometheusAnswer::Unreachable(why) => {
            missed(Verdict::Error, format!("Prometheus does not answer: {why}"))
        }
    };
    Finding {
        judgement,
        look,
        frozen: frozen.clone(),
    }
}

fn missed(verdict: Verdict, message: String) -> (Judgement, Look) {
    (Judgement::new(verdict, message), Look::Missed)
}

/// A result beyond the threshold is no failure yet: how many there are in a row says that.
fn result(bound: Bound, value: f64) -> (Judgement, Look) {
    let (verdict, look, word) = if bound.holds(value) {
        (Verdict::Pass, Look::Answered, "within")
    } else {
        (Verdict::Inconclusive, Look::Beyond, "beyond")
    };
    let message = format!(
        "the query answers {}, {word} the threshold of {}",
        plain(value),
        plain(bound.get())
    );
    (Judgement::new(verdict, message).estimated(value), look)
}
