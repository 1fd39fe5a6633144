//! One gate, as a spec that was found sound means it.
//!
//! Invariant: a [`Gate`] has exactly one kind, and numbers that its method is defined for;
//! [`super::read`] is the only one who makes them of a spec.

use std::time::Duration;

use crds::v1alpha1::reward_model::gate::{AfterPromotion, OnNoData, PairedMetric, RouterMetric};
use stats::Alpha;
use stats::margins::Direction;

/// One requirement on a new revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Its name, by which steps mention it.
    pub name: String,
    /// What it looks at.
    pub kind: Kind,
    /// The probability of a false `Fail` that it may have over the whole rollout. A gate that does not
    /// compare under uncertainty spends none of it, and shows its intervals at this level.
    pub alpha: Alpha,
    /// How often it is looked at.
    pub interval: Duration,
    /// Samples below which it has no verdict.
    pub min_samples: u64,
    /// Looks without an answer in a row that are borne.
    pub error_limit: u32,
    /// What is done while there is no data.
    pub on_no_data: OnNoData,
    /// What a failure after promotion does.
    pub after_promotion: AfterPromotion,
    /// It reports, and decides nothing.
    pub dry_run: bool,
}

/// What a gate looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// What the routers count.
    Router(RouterRule),
    /// The golden set.
    Golden(GoldenRule),
    /// Both scores of shadowed requests.
    Paired(PairedRule),
    /// Labelled pairs from `/feedback`.
    Preferences(PreferencesRule),
    /// A Prometheus query.
    Prometheus {
        /// The query.
        query: String,
        /// Between what its answer has to lie.
        bound: Bound,
    },
}

impl Kind {
    /// Whether it decides under uncertainty, and so has a part in the rollout's alpha. A golden set is
    /// the same set for everybody, and a query's answer has no error that is known.
    pub const fn compares(&self) -> bool {
        match self {
            Self::Router(_) | Self::Paired(_) | Self::Preferences(_) => true,
            Self::Golden(_) | Self::Prometheus { .. } => false,
        }
    }
}

/// A bound on one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// It is at least this.
    AtLeast(f64),
    /// It is at most this.
    AtMost(f64),
}

impl Bound {
    /// The number.
    pub const fn get(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// Whether `value` keeps it. No NaN does.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    /// Which way is better.
    pub const fn direction(self) -> Direction {
        match self {
            Self::AtLeast(_) => Direction::Higher,
            Self::AtMost(_) => Direction::Lower,
        }
    }
}

/// A comparison with the stable revision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// How much worse is borne, in the units of the metric. 0: none, and then it is enough that no harm
    /// is seen; above it has to be shown that the new revision is no worse by that much.
    pub margin: f64,
    /// Which way is better.
    pub direction: Direction,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// A fixed bound.
    Threshold(Bound),
    /// The stable revision.
    Compare(Comparison),
}

/// On what the routers count.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterRule {
    /// What is counted.
    pub metric: RouterMetric,
    /// From when on a request is slow.
    pub slower_than: Option<Duration>,
    /// What it is held against.
    pub rule: Rule,
}

/// On the golden set: each that is there has to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GoldenRule {
    /// The least accuracy, from 0 to 1.
    pub min_accuracy: Option<f64>,
    /// The most that accuracy may lose against the stable revision.
    pub max_accuracy_drop: Option<f64>,
    /// The least rank correlation with the stable revision, from -1 to 1.
    pub min_rank_correlation: Option<f64>,
    /// The most that the mean score may move, either way, in units of the score.
    pub max_score_shift: Option<f64>,
}

/// On both scores of shadowed requests: equivalence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedRule {
    /// What is compared.
    pub metric: PairedMetric,
    /// `ScoreShift`: the most that the mean may differ, in units of the score. `RankAgreement`: the least
    /// Kendall's tau. `PreferenceFlips`: the largest share of requests whose best candidate changes.
    pub within: f64,
}

/// On labelled pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PreferencesRule {
    /// The least accuracy, from 0 to 1.
    MinAccuracy(f64),
    /// No less accurate than the stable revision by more than this, from 0 to 1. At 0 it is enough that
    /// no harm is seen.
    Compare {
        /// How much worse is borne.
        margin: f64,
    },
}
