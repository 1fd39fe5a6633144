//! The verdict of one look at one gate: a total function over what was measured.
//!
//! Owns which method each metric is judged by; the methods are `stats`'s. Sections are those of stats.md.
//! Invariants: only a measurement can be a `Fail`, and only where a confidence sequence excludes what is
//! allowed (a golden set, which is the same for both, by its value); what could not be measured is
//! `NoData` or `Error`.
//!
//! | gate | Fail | Pass |
//! |---|---|---|
//! | router, threshold | the sequence excludes the bound (1.1; of rare errors also 1.2) | enough samples, and the estimate keeps the bound |
//! | router, compareToStable | the sequence excludes the margin on the worse side (1.1; of errors also 1.2) | with a margin: that it is no worse by that much is shown; without: enough samples, and no harm is seen (`noHarm` of 2.2) |
//! | golden | a requirement does not hold | all hold |
//! | paired | the sequence excludes `within` (1.1, 1.2) | it lies within (equivalence) |
//! | preferences | as router (1.2 McNemar, 1.3) | as router |
//! | prometheus | three results in a row beyond the threshold ([`super::Track`]) | the last result keeps it |

mod difference;
mod events;
mod golden;
mod normal;
mod paired;
mod preferences;
mod prometheus;
mod router;

use crds::v1alpha1::reward_model::gate::PairedMetric;
use crds::v1alpha1::reward_model::status::Verdict;
use crds::value::Decimal;

use super::figures::{plain, shown};
use super::gate::{Gate, Kind};
use super::measurement::Measurement;
use super::track::Frozen;

/// A verdict, with the numbers that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What was measured.
    pub estimate: Option<Decimal>,
    /// Its lower bound at the gate's level.
    pub lower: Option<Decimal>,
    /// Its upper bound.
    pub upper: Option<Decimal>,
    /// On how many samples.
    pub samples: Option<i64>,
    /// In words, with units.
    pub message: String,
}

impl Judgement {
    /// One without numbers.
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            estimate: None,
            lower: None,
            upper: None,
            samples: None,
            message: message.into(),
        }
    }

    fn on(mut self, samples: u64) -> Self {
        self.samples = Some(i64::try_from(samples).unwrap_or(i64::MAX));
        self
    }

    fn estimated(mut self, estimate: f64) -> Self {
        self.estimate = shown(estimate);
        self
    }

    fn between(mut self, lower: f64, upper: f64) -> Self {
        (self.lower, self.upper) = (shown(lower), shown(upper));
        self
    }
}

/// What a look was, for those that count in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It had an answer.
    Answered,
    /// It had one, beyond the threshold.
    Beyond,
    /// It had none.
    Missed,
}

/// What one look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub judgement: Judgement,
    /// What it was.
    pub look: Look,
    /// What holds from now on.
    pub frozen: Frozen,
}

impl Finding {
    fn of(judgement: Judgement, frozen: &Frozen) -> Self {
        let look = match judgement.verdict {
            Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => Look::Answered,
            Verdict::NoData | Verdict::Error => Look::Missed,
        };
        Self {
            judgement,
            look,
            frozen: frozen.clone(),
        }
    }
}

/// What `measurement` says of `gate` at its level, with what was `frozen` at an earlier look.
pub fn judge(gate: &Gate, frozen: &Frozen, measurement: &Measurement) -> Finding {
    let plainly = |judgement| Finding::of(judgement, frozen);
    match (&gate.kind, measurement) {
        (_, Measurement::Nothing(why)) => plainly(Judgement::new(Verdict::NoData, why)),
        (_, Measurement::Failed(why)) => plainly(Judgement::new(Verdict::Error, why)),
        (Kind::Router(rule), Measurement::Router(strata)) => {
            router::judge(gate, rule, frozen, strata)
        }
        (Kind::Golden(rule), Measurement::Golden(golden)) => {
            plainly(golden::judge(gate, rule, golden))
        }
        (Kind::Paired(rule), Measurement::Paired(pairs)) => plainly(match rule.metric {
            PairedMetric::ScoreShift => paired::shift(gate, rule.within, pairs),
            PairedMetric::RankAgreement => paired::agreement(gate, rule.within, pairs),
            PairedMetric::PreferenceFlips => paired::flips(gate, rule.within, pairs),
        }),
        (Kind::Preferences(rule), Measurement::Preferences(labelled)) => {
            plainly(preferences::judge(gate, rule, *labelled))
        }
        (Kind::Prometheus { bound, .. }, Measurement::Prometheus(answer)) => {
            prometheus::judge(*bound, frozen, answer)
        }
        (
            Kind::Router(_)
            | Kind::Golden(_)
            | Kind::Paired(_)
            | Kind::Preferences(_)
            | Kind::Prometheus { .. },
            Measurement::Router(_)
            | Measurement::Golden(_)
            | Measurement::Paired(_)
            | Measurement::Preferences(_)
            | Measurement::Prometheus(_),
        ) => plainly(Judgement::new(
            Verdict::Error,
            "what was measured is of another kind than the gate, which has changed: it is measured anew",
        )),
    }
}

/// Too few samples for a verdict.
fn collecting(what: &str, seen: u64, needed: u64) -> Judgement {
    let verdict = if seen == 0 {
        Verdict::NoData
    } else {
        Verdict::Inconclusive
    };
    Judgement::new(verdict, format!("collecting: {seen} of {needed} {what}")).on(seen)
}

/// Counts are whole and below 2^53, where sums of floating point are exact.
fn whole(sum: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast stops at 0 and at the largest count"
    )]
    let count = sum as u64;
    count
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more than 53 bits"
)]
const fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// `lower` to `upper`, for a sentence.
fn range(lower: f64, upper: f64) -> String {
    format!("{} to {}", plain(lower), plain(upper))
}
