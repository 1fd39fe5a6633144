//! What is summed of a rollout.
//!
//! Invariant: [`Sums::merge`] is commutative, and an empty one changes nothing; counts are added exactly,
//! and sums of scores to within the rounding of an addition.

use std::collections::BTreeMap;

use super::preferences::Lots;
use super::{ByCell, Preferences, Shadow, Sum};
use crate::cutoff::{Arm, ByArm};

/// The requests of one arm and cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmCell {
    /// Requests of which it is known what became of them.
    pub requests: u64,
    /// Of them, those that the arm's revision did not answer, or not with a number: failed, late, or
    /// refused for want of room. Also where stable answered in its place. What both revisions fail at in
    /// one way is no request, and neither is what finds nobody to connect to: that is no fault of the
    /// revision.
    pub errors: u64,
    /// Of the errors, those that were answered with a score that is no number.
    pub non_finite: u64,
    /// Scores that are numbers: a request may have several.
    pub scores: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

impl ArmCell {
    /// The sum of the squares of its scores' distances from `centre`.
    pub fn squares_about(self, centre: f64) -> f64 {
        let scores = number(self.scores);
        (self.squares - 2.0 * centre * self.sum + centre * centre * scores).max(0.0)
    }
}

impl Sum for ArmCell {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            non_finite: self.non_finite.saturating_add(other.non_finite),
            scores: self.scores.saturating_add(other.scores),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }
}

/// The requests of one arm and cell since a threshold is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowCell {
    /// Those of which it is known whether they were slow. Requests that were given up before the
    /// threshold are not among them.
    pub requests: u64,
    /// Those that took longer.
    pub slow: u64,
}

impl Sum for SlowCell {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            slow: self.slow.saturating_add(other.slow),
        }
    }
}

/// What is summed of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArmSums {
    /// Requests and scores.
    pub cells: ByCell<ArmCell>,
    /// Slow requests, by the threshold in milliseconds.
    pub slow: BTreeMap<u32, ByCell<SlowCell>>,
    /// Scores, not requests, that were no numbers; of the canary also those of shadowed requests.
    pub non_finite: u64,
    /// Requests that found nobody to connect to.
    pub unreachable: u64,
}

impl ArmSums {
    /// Adds those of another router.
    pub fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        for (threshold, cells) in &other.slow {
            self.slow.entry(*threshold).or_default().merge(cells);
        }
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        self.unreachable = self.unreachable.saturating_add(other.unreachable);
    }

    /// Requests and errors of them.
    pub fn error_moments(&self) -> stats::Cells {
        self.cells
            .moments(|cell| (cell.requests, number(cell.errors)))
    }

    /// Requests and those that took longer than a threshold in milliseconds; `None` where nobody looked.
    pub fn slow_moments(&self, threshold: u32) -> Option<stats::Cells> {
        let cells = self.slow.get(&threshold)?;
        Some(cells.moments(|cell| (cell.requests, number(cell.slow))))
    }

    /// Scores and their sum.
    pub fn score_moments(&self) -> stats::Cells {
        self.cells.moments(|cell| (cell.scores, cell.sum))
    }

    /// Scores and the sum of their squares about `centre`: their ratio is the spread, squared.
    pub fn spread_moments(&self, centre: f64) -> stats::Cells {
        self.cells
            .moments(|cell| (cell.scores, cell.squares_about(centre)))
    }
}

/// All that is summed of a rollout, by one router or by several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Requests by the arm that their key was assigned to.
    pub arms: ByArm<ArmSums>,
    /// Requests that both revisions scored.
    pub shadow: Shadow,
    /// Labelled pairs that both revisions scored.
    pub preferences: Preferences,
}

impl Sums {
    /// Adds those of the router `instance`.
    pub(super) fn merge(&mut self, other: &Self, instance: &str, lots: &mut Lots) {
        for arm in [Arm::Stable, Arm::Canary] {
            self.arms.of_mut(arm).merge(other.arms.of(arm));
        }
        self.shadow.merge(&other.shadow);
        self.preferences.merge(&other.preferences, instance, lots);
    }
}

/// A count as the statistics take it: exact to 2^53, which no router counts to.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
pub(super) const fn number(count: u64) -> f64 {
    count as f64
}
