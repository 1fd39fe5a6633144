//! What pairs of scores of one text say, stable's and the canary's.
//!
//! Owns differences by cell, the sums of both scores, and how far both put texts in one order. It must
//! not know who asked. Invariants: `eligible` is at least what was paired and dropped; a request is
//! compared with at most one other, so that comparisons are independent (stats.md 1.2).

use serde::{Deserialize, Serialize};
use stats::Cross;

use super::sums::number;
use super::{ByCell, Sum};

/// The scores of one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The stable revision's.
    pub stable: f64,
    /// The canary's.
    pub canary: f64,
}

/// The pairs of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairCell {
    /// Texts that both scored: a request may have several.
    pub pairs: u64,
    /// The sum of the canary's score less stable's.
    pub sum: f64,
    /// The sum of its square.
    pub squares: f64,
    /// Requests with several answers to one prompt that both scored.
    pub compared: u64,
    /// Of them, those of which the best answer differs.
    pub flipped: u64,
    /// Comparisons with a request of another cell, which has the same comparison.
    pub ordered: u64,
    /// Of them, those that both put in one order.
    pub concordant: u64,
}

impl Sum for PairCell {
    fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs.saturating_add(other.pairs),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            compared: self.compared.saturating_add(other.compared),
            flipped: self.flipped.saturating_add(other.flipped),
            ordered: self.ordered.saturating_add(other.ordered),
            concordant: self.concordant.saturating_add(other.concordant),
        }
    }
}

/// Requests that were to be scored by both and were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ShadowDropped"))]
#[serde(rename_all = "camelCase", default)]
pub struct Dropped {
    /// The queue was full.
    pub full: u64,
    /// The other revision answered with a failure, or with no number, or nobody took the connection.
    pub failed: u64,
    /// It did not answer in time.
    pub late: u64,
}

impl Dropped {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.full
            .saturating_add(self.failed)
            .saturating_add(self.late)
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            full: self.full.saturating_add(other.full),
            failed: self.failed.saturating_add(other.failed),
            late: self.late.saturating_add(other.late),
        }
    }
}

/// What is summed of requests that both revisions scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shadow {
    /// By the cell of the request's key.
    pub cells: ByCell<PairCell>,
    /// Stable's scores (a) and the canary's (b).
    pub cross: Cross,
    /// Times that both put two consecutive requests of different cells in one order.
    pub concordant: u64,
    /// Times that they did not. That one has a tie and the other has not counts here.
    pub discordant: u64,
    /// Requests that were to be scored by both. What is neither paired nor dropped is under way.
    pub eligible: u64,
    /// Requests that were scored by both.
    pub paired: u64,
    /// Those that were not.
    pub dropped: Dropped,
}

impl Shadow {
    /// Adds those of another router.
    pub fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        let (one, two) = (self.cross, other.cross);
        self.cross = Cross {
            pairs: one.pairs.saturating_add(two.pairs),
            a: one.a + two.a,
            b: one.b + two.b,
            aa: one.aa + two.aa,
            bb: one.bb + two.bb,
            ab: one.ab + two.ab,
        };
        self.concordant = self.concordant.saturating_add(other.concordant);
        self.discordant = self.discordant.saturating_add(other.discordant);
        self.eligible = self.eligible.saturating_add(other.eligible);
        self.paired = self.paired.saturating_add(other.paired);
        self.dropped = self.dropped.plus(other.dropped);
    }

    /// Pairs and the sum of their differences, canary less stable.
    pub fn shift_moments(&self) -> stats::Cells {
        self.cells.moments(|cell| (cell.pairs, cell.sum))
    }

    /// Requests with several answers, and those of which the best one differs.
    pub fn flip_moments(&self) -> stats::Cells {
        self.cells
            .moments(|cell| (cell.compared, number(cell.flipped)))
    }

    /// Comparisons of two requests, each in the cells of both, and those that both revisions put in one order.
    pub fn order_moments(&self) -> stats::Cells {
        self.cells
            .moments(|cell| (cell.ordered, number(cell.concordant)))
    }

    /// The share of the requests that are done with which both have scored, 0 to 1; `None` before the
    /// first.
    pub fn coverage(&self) -> Option<f64> {
        let done = self.paired.saturating_add(self.dropped.total());
        (done > 0).then(|| number(self.paired) / number(done))
    }
}
