//! Methods that are exact from the first event on: whose an event is, labelled pairs, and bounds of Prometheus.
//!
//! Invariant: they need no guard (stats.md 1.6).

use crds::v1alpha1::ab_experiment::{Method, Test};
use stats::margins::Direction;
use stats::{
    Bounded, Discordance, Estimate, Events, Kappa, Moments, RateRatio, Tuning, Undefined,
    event_split,
};

use super::super::spec::{Size, Source};
use super::super::totals::{Counted, Labelled};
use super::compare::number;
use super::finding::{Asked, Finding};

/// The sum of squares at which the bounded sequence is tightest: some hundred pairs on which both differ.
const TIGHTEST: f64 = 200.0;
/// Answers of Prometheus in a row beyond its bound that count.
const IN_A_ROW: u32 = 3;

impl Asked<'_> {
    /// Rare events are compared by whose they are, exactly and from the first one on (stats.md 1.2), where the
    /// margin is none or a part.
    pub(super) fn split(&self, mut finding: Finding, a: &[Counted], b: &[Counted]) -> Finding {
        let exact = self.design.method == Method::Exact || self.metric.source == Source::Errors;
        let part = match (self.metric.test, self.metric.margin) {
            (Test::Superiority, _) | (_, None) => 0.0,
            (_, Some(Size::Relative(part))) => part.get(),
            (_, Some(Size::Absolute(_))) => return finding,
        };
        if !exact {
            return finding;
        }
        let ratio = RateRatio::new(match self.metric.direction {
            Direction::Higher => 1.0 - part,
            Direction::Lower => 1.0 + part,
        });
        let Some(ratio) = ratio else {
            return finding;
        };
        let (mut more, mut fewer) = (0.0, 0.0);
        for (a, b) in a.iter().zip(b) {
            let events = |counted: &Counted, weight| Events {
                users: counted.had,
                weight,
            };
            let (a, b) = (events(a, self.weights.0), events(b, self.weights.1));
            let Some(split) = event_split(a, b, ratio, Kappa::DEFAULT) else {
                return finding;
            };
            more = stats::carried(more, split.evidence.greater);
            fewer = stats::carried(fewer, split.evidence.less);
        }
        finding.method = "event split";
        finding.collecting = None;
        (finding.benefit, finding.harm) = match self.metric.direction {
            Direction::Higher => (more, fewer),
            Direction::Lower => (fewer, more),
        };
        finding.non_inferior = finding.benefit;
        finding
    }

    /// Labelled pairs of the current epoch: the sequential `McNemar` test (1.2) for better and worse, the exact
    /// sequence for differences of -1, 0 and 1 (1.3) against a margin.
    pub(super) fn labelled(&self) -> Finding {
        let mut finding = Finding::new("sequential McNemar");
        let counted = self.of(self.arm);
        let labelled = counted.last().and_then(|counted| counted.labelled);
        let labelled = turned(labelled.unwrap_or_default(), self.metric.direction);
        let pairs = labelled.total();
        (finding.count, finding.users) = (pairs, pairs);
        let counts = Discordance::new(pairs, labelled.candidate_alone, labelled.control_alone);
        let sums = counts.and_then(Discordance::differences);
        let tuning = Tuning::at(TIGHTEST, self.levels.benefit);
        let ((Some(counts), Some(sums)), Some(tuning)) = ((counts, sums), tuning) else {
            return finding.undefined(Undefined::OutOfRange);
        };
        if pairs == 0 {
            finding.collecting = Some("collecting: no labelled pairs yet".to_owned());
            return finding;
        }
        let accuracy =
            |alone: u64| number(labelled.both_right.saturating_add(alone)) / number(pairs);
        finding.mean = Some(accuracy(labelled.candidate_alone));
        finding.control = Some(accuracy(labelled.control_alone));
        finding.effect = sums.mean();
        finding.error = stats::paired(sums).ok().map(Estimate::error);
        let bounded = |values: Option<Moments>| Bounded::new(values?, -1.0, tuning);
        let reversed = Moments::new(sums.n(), -sums.sum(), sums.squares());
        finding.lower = bounded(Some(sums)).map(|of| of.lower(self.levels.benefit));
        finding.upper = bounded(reversed).map(|of| -of.lower(self.levels.harm));
        let margin = match self.metric.margin {
            Some(Size::Absolute(margin)) => margin.get(),
            Some(Size::Relative(_)) | None => 0.0,
        };
        let log_e = |values, null| bounded(values).map_or(f64::NEG_INFINITY, |of| of.log_e(null));
        let mcnemar = counts.log_e();
        let (better, worse) = mcnemar.map_or((f64::NEG_INFINITY, f64::NEG_INFINITY), |log_e| {
            (log_e.greater, log_e.less)
        });
        finding.non_inferior = if margin > 0.0 {
            log_e(Some(sums), -margin)
        } else {
            better
        };
        (finding.benefit, finding.harm) = match self.metric.test {
            Test::NonInferiority | Test::NoHarm if margin > 0.0 => {
                finding.method = "exact bounded differences";
                (finding.non_inferior, log_e(reversed, margin))
            }
            Test::Superiority | Test::NonInferiority | Test::NoHarm => (better, worse),
        };
        finding
    }

    pub(super) fn prometheus(&self) -> Finding {
        let mut finding = Finding::new("threshold");
        let answer = |arm: usize| self.of(arm).last().and_then(|counted| counted.answer);
        finding.mean = answer(self.arm).filter(|answer| answer.is_finite());
        finding.control = answer(0).filter(|answer| answer.is_finite());
        finding.beyond = match (finding.mean, self.metric.absolute_max) {
            (Some(value), Some(most)) if value > most => self.track.beyond.saturating_add(1),
            (Some(_), _) => 0,
            // A source that does not answer says neither.
            (None, _) => self.track.beyond,
        };
        if finding.beyond >= IN_A_ROW
            && let (Some(value), Some(most)) = (finding.mean, self.metric.absolute_max)
        {
            finding.breaks = Some(format!(
                "{IN_A_ROW} answers in a row above {most}, the last {value}"
            ));
        }
        // It guards nothing but its bound, so that a promotion does not wait for it once it has answered.
        finding.non_inferior = f64::INFINITY;
        if finding.mean.is_none() {
            finding.collecting = Some("Prometheus does not answer with one number".to_owned());
        }
        finding
    }
}

/// Fewer right ones are better where somebody says so.
const fn turned(labelled: Labelled, direction: Direction) -> Labelled {
    match direction {
        Direction::Higher => labelled,
        Direction::Lower => Labelled {
            both_right: labelled.both_wrong,
            control_alone: labelled.candidate_alone,
            candidate_alone: labelled.control_alone,
            both_wrong: labelled.both_right,
        },
    }
}
