//! Exact evidence on rare events, by the first event of each cell of users.
//!
//! Owns the two sequences over first events. A cell holds all requests of its users and its first event
//! counts alone, so that users whose requests are alike are no more evidence than one. Assignment is
//! independent of cells: whose requests a cell's first event falls among is a coin that the share of the
//! traffic has weighed (stats.md 1.2, `event_split`), whatever the rate of events does meanwhile.

use stats::{Alpha, BetaPrior, Share, Tally, beta_binomial};

use super::super::measurement::{Stratum, Sums};
use super::difference::total;

/// Cells of users by where their first event was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FirstErrors {
    /// Cells with an event in either arm.
    any: u64,
    /// Those with events in the new revision alone. A cell that has some in both counts for the stable
    /// one: nobody knows which came first, and so it speaks against nobody.
    canary_alone: u64,
}

impl FirstErrors {
    /// Of all strata together.
    pub(super) fn of(strata: &[&Stratum]) -> Self {
        let stable = total(strata.iter().map(|stratum| &stratum.stable));
        let canary = total(strata.iter().map(|stratum| &stratum.canary));
        let had = |sums: &Sums, cell: usize| sums.get(cell).is_some_and(|(_, y)| *y > 0.0);
        let mut first = Self::default();
        for cell in 0..stable.len().max(canary.len()) {
            let (a, b) = (had(&stable, cell), had(&canary, cell));
            first.any += u64::from(a || b);
            first.canary_alone += u64::from(b && !a);
        }
        first
    }

    /// Cells with an event in either arm.
    pub(super) const fn any(self) -> u64 {
        self.any
    }

    /// Cells with events in the new revision alone.
    pub(super) const fn canary_alone(self) -> u64 {
        self.canary_alone
    }

    /// Cells with an event in the stable revision.
    pub(super) const fn stable(self) -> u64 {
        self.any.saturating_sub(self.canary_alone)
    }
}

/// Between what the logarithm of a ratio of rates is looked for.
const RATIOS: (f64, f64) = (-7.0, 12.0);
/// Between what the logarithm of a rate is.
const RATES: (f64, f64) = (-25.0, 0.0);

/// At least so many times as often as in the stable revision do events happen in the new one, which had
/// no more than `share` of the traffic (0 to 1). 0 where it may be as often, or less.
///
/// Given that a cell has an event at all, it is the new revision's with the probability
/// `ratio share / (ratio share + 1 - share)`, or less where that had a smaller share for a time: the
/// sequence's one-sided form holds for all of them.
pub(super) fn ratio_at_least(first: FirstErrors, share: f64, alpha: Alpha) -> f64 {
    if share >= 1.0 {
        return 0.0;
    }
    let tally = Tally {
        successes: first.canary_alone,
        failures: first.stable(),
    };
    // Most looks end here: what is not even more often than in the stable revision is no harm.
    if !too_many(tally, share, alpha) {
        return 0.0;
    }
    root(RATIOS, |ln_ratio| {
        let odds = ln_ratio.exp() * share / (1.0 - share);
        too_many(tally, odds / (1.0 + odds), alpha)
    })
}

/// At least so often does a request have an event, where `cells` cells of users had one in this many
/// `requests`. A cell's later requests count as if they had none, which only lowers it.
pub(super) fn rate_at_least(cells: u64, requests: u64, alpha: Alpha) -> f64 {
    let tally = Tally {
        successes: cells,
        failures: requests.saturating_sub(cells),
    };
    root(RATES, |ln_rate| too_many(tally, ln_rate.exp(), alpha))
}

/// Whether requests have an event surely more often than `rate`.
pub(super) fn is_rate_above(cells: u64, requests: u64, rate: f64, alpha: Alpha) -> bool {
    let tally = Tally {
        successes: cells,
        failures: requests.saturating_sub(cells),
    };
    // Of a rate of 0 one event is the contrary.
    if rate <= 0.0 {
        return cells > 0;
    }
    too_many(tally, rate, alpha)
}

/// Whether the share is surely above `theta`.
fn too_many(tally: Tally, theta: f64, alpha: Alpha) -> bool {
    Share::new(theta).is_some_and(|theta| {
        alpha.rejects(beta_binomial(tally, theta, BetaPrior::JEFFREYS).greater)
    })
}

/// The exponential of where `rejected` ends, from below; 0 where it does not even hold at the lower end.
fn root((mut low, mut high): (f64, f64), rejected: impl Fn(f64) -> bool) -> f64 {
    if !rejected(low) {
        return 0.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if rejected(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpha() -> Alpha {
        Alpha::new(0.01).unwrap()
    }

    fn first(stable: u64, canary_alone: u64) -> FirstErrors {
        FirstErrors {
            any: stable + canary_alone,
            canary_alone,
        }
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert!(ratio_at_least(first(0, 0), 0.1, alpha()).abs() < f64::EPSILON);
        assert!(rate_at_least(0, 1000, alpha()).abs() < f64::EPSILON);
        // All traffic is the new revision's: nothing is compared.
        assert!(ratio_at_least(first(0, 50), 1.0, alpha()).abs() < f64::EPSILON);
    }

    #[test]
    fn seven_errors_of_a_tenth_of_the_traffic_against_three_are_too_many() {
        let ratio = ratio_at_least(first(3, 7), 0.1, alpha());
        assert!(ratio > 1.0 && ratio < 7.0 / 3.0 * 9.0, "{ratio}");
        let fair = ratio_at_least(first(90, 10), 0.1, alpha());
        assert!(fair < f64::EPSILON, "{fair}");
    }

    #[test]
    fn a_rate_is_surely_above_a_part_of_what_was_seen() {
        let rate = rate_at_least(30, 1000, alpha());
        assert!((0.012..0.03).contains(&rate), "{rate}");
    }
}
