//! What is measured for a gate at one look, as plain data.
//!
//! Owns the types alone. Counts and sums are those since the rollout began, of all routers together:
//! looks do not add up. Invariant: none; whatever stands here, [`super::judge`] has an answer.

use std::collections::BTreeMap;

use stats::Cells;

use crate::capacity::Percent;

/// All that was gathered for one look: what stands here was measured since the plan that asked for it
/// ([`crate::plan::Plan::due`]), or it would be counted twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// By the gates' names. A gate that is not here was not looked at.
    pub measurements: BTreeMap<String, Measurement>,
    /// Pairs of scores of shadowed requests.
    pub pairs: u64,
}

/// What was measured for one gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Measurement {
    /// What the routers count: one for each share that the new revision has had, in their order, the last
    /// one up to now. What was counted while one of both had nothing is never compared.
    Router(Vec<Stratum>),
    /// What the golden set's Job answered.
    Golden(Golden),
    /// Both scores of shadowed requests.
    Paired(Pairs),
    /// Labelled pairs.
    Preferences(Labelled),
    /// What Prometheus answered.
    Prometheus(PrometheusAnswer),
    /// There is nothing yet, and why.
    Nothing(String),
    /// What should have measured did not work, and why.
    Failed(String),
}

/// Of each hash cell of users, by its number: x, the requests that were assigned to an arm; and y, what
/// they add up to: errors, slow requests, scores that are not finite, or (`ScoreSpread`) squared distances
/// of the scores from their arm's mean. Cells that had nothing are `(0, 0.0)`, or left out at the end.
pub type Sums = Vec<(u64, f64)>;

/// What was counted while the new revision had one share of the traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stratum {
    /// The share: the most that any router sent it.
    pub share: Percent,
    /// Of the stable revision.
    pub stable: Sums,
    /// Of the new one.
    pub canary: Sums,
}

/// A golden set, scored by the new revision and, where there is one, by the stable one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Golden {
    /// Pairs that were scored.
    pub pairs: u64,
    /// Pairs on which the new revision is right.
    pub right: u64,
    /// The comparison with the stable revision; `None` where there is none.
    pub against_stable: Option<Scored>,
}

/// The new revision against the stable one on a golden set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Pairs on which the stable revision is right.
    pub right: u64,
    /// Rank correlation of both revisions' scores.
    pub rank_correlation: Option<f64>,
    /// Mean of the new scores less the mean of the old ones.
    pub score_shift: Option<f64>,
}

/// Both scores of shadowed requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pairs {
    /// By cells of users: x counts pairs, y sums new score less old score.
    pub differences: Cells,
    /// By cells of users: x counts comparisons of two requests, each of which is in the cells of both; y those
    /// that both revisions order alike.
    pub orders: Cells,
    /// Pairs of requests that both revisions order alike. They do not overlap.
    pub concordant: u64,
    /// Those that they order otherwise.
    pub discordant: u64,
    /// By cells of users: x counts requests with several candidates, y those whose best one is another.
    pub flips: Cells,
    /// Requests with several candidates.
    pub compared: u64,
    /// Those of them whose best candidate is another one.
    pub flipped: u64,
    /// Requests that were to be shadowed.
    pub eligible: u64,
    /// Those of them that the other revision answered.
    pub answered: u64,
}

/// Labelled pairs that both revisions have scored; one pair of a prompt or user counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "who is right")]
pub struct Labelled {
    pub both_right: u64,
    pub stable_alone: u64,
    pub canary_alone: u64,
    pub both_wrong: u64,
}

impl Labelled {
    /// All pairs.
    pub const fn pairs(self) -> u64 {
        self.both_right
            .saturating_add(self.stable_alone)
            .saturating_add(self.canary_alone)
            .saturating_add(self.both_wrong)
    }
}

/// What Prometheus answered.
#[derive(Clone, Debug, PartialEq)]
pub enum PrometheusAnswer {
    /// One number; one that is not finite is no answer.
    Value(f64),
    /// No series.
    Empty,
    /// A string or a sample that is no number.
    NotANumber,
    /// More than one series.
    Several(usize),
    /// A matrix, or another type that is no single number.
    NotAVector(String),
    /// It did not answer, or refused the query.
    Unreachable(String),
}
