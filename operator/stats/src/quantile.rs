//! Quantiles of what is kept as a histogram.
//!
//! Owns the exact confidence sequence at the edges, for reports, and the guard with a frozen threshold,
//! for decisions: the sequence alone needs four times the requests. Invariant: a [`Histogram`] has
//! ascending edges and one cell more than edges; a value on an edge lies below it.

use libm::{ceil, log};

use crate::beta_binomial::{BetaPrior, Share, Tally, beta_binomial};
use crate::event_split::Kappa;
use crate::level::Alpha;
use crate::proportions::Proportion;
use crate::special::count;

/// What a quotient of logarithms may be too large by, before it is rounded up.
const ROUNDING: f64 = 1e-9;

/// Counts between edges: the first cell is all up to the first edge, the last all above the last edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram<'a> {
    edges: &'a [f64],
    cells: &'a [u64],
    total: u64,
}

/// What is known of a quantile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// It is above this edge. `None` where the grid does not say.
    pub lower: Option<f64>,
    /// Interpolated between edges; the last edge where it is above it.
    pub estimate: f64,
    /// It is at most this edge. `None` where the grid does not say.
    pub upper: Option<f64>,
}

impl<'a> Histogram<'a> {
    /// `None` where edges are none, not finite or not ascending, where cells are not one more, and where
    /// their sum overflows.
    pub fn new(edges: &'a [f64], cells: &'a [u64]) -> Option<Self> {
        let ascending = edges.is_sorted_by(|one, next| one < next);
        let finite = edges.iter().all(|edge| edge.is_finite());
        let fits = !edges.is_empty() && cells.len() == edges.len().saturating_add(1);
        let total = cells
            .iter()
            .try_fold(0_u64, |sum, cell| sum.checked_add(*cell))?;
        (ascending && finite && fits).then_some(Self {
            edges,
            cells,
            total,
        })
    }

    /// All that was counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Each edge, what its cell has, and what all up to it have.
    fn rising(&self) -> impl Iterator<Item = (f64, u64, u64)> {
        let cells = self.edges.iter().zip(self.cells);
        cells.scan(0_u64, |sum, (edge, cell)| {
            *sum = sum.saturating_add(*cell);
            Some((*edge, *cell, *sum))
        })
    }

    /// Between which edges the quantile `p` lies, each end at its own level (stats.md 1.4, `quantile_cs`
    /// of the reference): each edge's share is tested with the prior Beta(kappa p, kappa (1-p)). That all
    /// edges are tested costs nothing, because one quantile alone is true. `None` without counts.
    pub fn quantile(&self, p: Share, side: Alpha, kappa: Kappa) -> Option<Quantile> {
        if self.total == 0 {
            return None;
        }
        let prior = BetaPrior::new(kappa.get() * p.get(), kappa.get() * (1.0 - p.get()))?;
        let target = p.get() * count(self.total);
        let (mut lower, mut upper) = (None, None);
        for (edge, _, below) in self.rising() {
            let tally = Tally {
                successes: below,
                failures: self.total.saturating_sub(below),
            };
            let evidence = beta_binomial(tally, p, prior);
            if side.rejects(evidence.less) && count(below) < target {
                lower = Some(edge);
            }
            if side.rejects(evidence.greater) && count(below) > target && upper.is_none() {
                upper = Some(edge);
            }
        }
        Some(Quantile {
            lower,
            estimate: self.interpolated(target)?,
            upper,
        })
    }

    fn interpolated(&self, target: f64) -> Option<f64> {
        let mut left = *self.edges.first()?;
        for (edge, cell, below) in self.rising() {
            if count(below) >= target && cell > 0 {
                let part = (target - count(below.saturating_sub(cell))) / count(cell);
                return Some(left + (edge - left) * part);
            }
            left = edge;
        }
        self.edges.last().copied()
    }

    /// The index of the first edge up to which at least `p` of all lies: what the guard freezes of
    /// control. `None` without counts, and where it is above the last edge.
    pub fn edge_of(&self, p: Share) -> Option<usize> {
        let target = p.get() * count(self.total);
        let reached = |(_, _, below): (f64, u64, u64)| count(below) >= target;
        (self.total > 0)
            .then(|| self.rising().position(reached))
            .flatten()
    }

    /// How many lie above the edge. `None` where there is no such edge.
    pub fn above(&self, edge: usize) -> Option<Proportion> {
        self.edges.get(edge)?;
        let above = self.cells.get(edge.checked_add(1)?..)?.iter().sum();
        Proportion::new(self.total, above)
    }
}

/// Both arms above the frozen threshold (stats.md 1.4, `exceedance` of the reference): control above
/// edge `i`, the candidate above edge `i + steps`. Give it counts from after the freeze alone, and
/// compare the proportions, or the ratios where users have several requests. `None` where the grid ends
/// before.
pub fn exceedance(
    control: &Histogram<'_>,
    candidate: &Histogram<'_>,
    edge: usize,
    steps: usize,
) -> Option<(Proportion, Proportion)> {
    let same = control.edges == candidate.edges;
    let higher = candidate.above(edge.checked_add(steps)?)?;
    same.then_some((control.above(edge)?, higher))
}

/// The edges that a tolerance is worth on a geometric grid: `ceil(ln(1 + tolerance) / ln(growth))`.
/// `None` where the tolerance is below 0, the grid does not grow, or either is not finite.
pub fn tolerated_steps(tolerance: f64, growth: f64) -> Option<u32> {
    let sound = (0.0..=1e9).contains(&tolerance) && growth > 1.0 && growth.is_finite();
    let steps = ceil(log(1.0 + tolerance) / log(growth) - ROUNDING).max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number between 0 and u32::MAX"
    )]
    let whole = || steps as u32;
    (sound && steps <= f64::from(u32::MAX)).then(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: [f64; 3] = [1.0, 2.0, 4.0];

    #[test]
    fn a_histogram_that_does_not_fit_is_refused() {
        assert_eq!(Histogram::new(&[], &[1]), None);
        assert_eq!(Histogram::new(&EDGES, &[1, 2, 3]), None);
        assert_eq!(Histogram::new(&[1.0, 1.0], &[1, 2, 3]), None);
        assert_eq!(Histogram::new(&[1.0, f64::INFINITY], &[1, 2, 3]), None);
        assert_eq!(Histogram::new(&[1.0, f64::NAN], &[1, 2, 3]), None);
        assert_eq!(Histogram::new(&EDGES, &[u64::MAX, 1, 0, 0]), None);
    }

    fn of<'a>(edges: &'a [f64], cells: &'a [u64]) -> Histogram<'a> {
        Histogram::new(edges, cells).unwrap()
    }

    #[test]
    fn a_quantile_above_the_grid_is_its_last_edge_and_has_no_upper_end() {
        let (p, side) = (Share::new(0.5).unwrap(), Alpha::new(0.0125).unwrap());
        let high = of(&EDGES, &[0, 0, 0, 5000]);
        let quantile = high.quantile(p, side, Kappa::of(500.0)).unwrap();
        assert_eq!(
            quantile,
            Quantile {
                lower: Some(4.0),
                estimate: 4.0,
                upper: None
            }
        );
        assert_eq!(high.edge_of(p), None);
    }

    #[test]
    fn without_counts_there_is_no_quantile() {
        let (p, side) = (Share::new(0.5).unwrap(), Alpha::new(0.0125).unwrap());
        let none = of(&EDGES, &[0, 0, 0, 0]);
        assert_eq!(
            (none.quantile(p, side, Kappa::of(500.0)), none.edge_of(p)),
            (None, None)
        );
    }

    #[test]
    fn the_guard_compares_a_slower_edge_of_the_candidate() {
        let (control, candidate) = (of(&EDGES, &[50, 45, 4, 1]), of(&EDGES, &[40, 30, 20, 10]));
        assert_eq!(control.edge_of(Share::new(0.95).unwrap()), Some(1));
        let (a, b) = exceedance(&control, &candidate, 1, 1).unwrap();
        assert_eq!(
            ((a.had(), a.users()), (b.had(), b.users())),
            ((5, 100), (10, 100))
        );
        assert_eq!(exceedance(&control, &candidate, 1, 2), None);
        assert_eq!(exceedance(&control, &candidate, usize::MAX, 2), None);
        let other = [1.0, 2.0, 5.0];
        assert_eq!(exceedance(&control, &of(&other, &[1, 1, 1, 1]), 1, 1), None);
    }

    #[test]
    fn a_tolerance_of_one_step_is_one_step() {
        let growth = libm::exp2(1.0 / 16.0);
        for steps in 1..200_u32 {
            let tolerance = libm::pow(growth, f64::from(steps)) - 1.0;
            assert_eq!(tolerated_steps(tolerance, growth), Some(steps));
        }
        assert_eq!(tolerated_steps(0.2, growth), Some(5));
        assert_eq!(tolerated_steps(0.0, growth), Some(0));
        for (tolerance, growth) in [(-0.1, 2.0), (0.1, 1.0), (f64::NAN, 2.0), (0.1, f64::NAN)] {
            assert_eq!(tolerated_steps(tolerance, growth), None);
        }
        assert_eq!(tolerated_steps(1e9, 1.0 + 1e-9), None);
    }
}
