//! Confidence sequences for a probability, exact from the first trial on.
//!
//! Owns the inversion of the beta-binomial e-process, and what is read off it: concordance, and the
//! breaker on an error rate. Invariant: the interval holds what was seen, and lies within [0, 1].

use crate::beta_binomial::{BetaPrior, Tally};
use crate::estimate::{Interval, bisect};
use crate::level::Alpha;
use crate::special::{count, log_m};

/// The level of [`exceeds`].
const BREAKER: f64 = 1e-3;

/// Between what the probability of a success lies (stats.md 1.2, `binomial_cs` of the reference): all
/// shares against which there is no evidence of `1/alpha`. The whole of [0, 1] before the first trial.
pub fn binomial_cs(tally: Tally, prior: BetaPrior, alpha: Alpha) -> Interval {
    let (successes, failures) = (count(tally.successes), count(tally.failures));
    let (a, b) = (prior.a() + successes, prior.b() + failures);
    let seen = successes / (successes + failures);
    let rejected =
        |share: f64| log_m(a, b, share) - log_m(prior.a(), prior.b(), share) >= alpha.threshold();
    let low = if tally.successes > 0 {
        bisect(0.0, seen, rejected)
    } else {
        0.0
    };
    let high = if tally.failures > 0 {
        bisect(1.0, seen, rejected)
    } else {
        1.0
    };
    Interval { low, high }
}

/// Between what Kendall's tau lies: `2p - 1` where p is the probability that two versions order a pair
/// alike (stats.md 1.2). Pairs must not overlap. A success is a concordant pair.
pub fn kendall_tau(pairs: Tally, alpha: Alpha) -> Interval {
    let share = binomial_cs(pairs, BetaPrior::JEFFREYS, alpha);
    Interval {
        low: 2.0 * share.low - 1.0,
        high: 2.0 * share.high - 1.0,
    }
}

/// Whether a rate is surely above what it may ever be: the lower end at 0.1 % (stats.md 2.3, 2.). A
/// success is an error.
pub fn exceeds(errors: Tally, most: f64) -> bool {
    Alpha::new(BREAKER)
        .is_some_and(|alpha| binomial_cs(errors, BetaPrior::JEFFREYS, alpha).low > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(successes: u64, failures: u64) -> Tally {
        Tally {
            successes,
            failures,
        }
    }

    #[test]
    fn before_the_first_trial_everything_is_possible() {
        let alpha = Alpha::new(0.05).unwrap();
        let all = binomial_cs(tally(0, 0), BetaPrior::JEFFREYS, alpha);
        assert_eq!(
            all,
            Interval {
                low: 0.0,
                high: 1.0
            }
        );
        assert_eq!(
            kendall_tau(tally(0, 0), alpha),
            Interval {
                low: -1.0,
                high: 1.0
            }
        );
    }

    #[test]
    fn pairs_that_are_all_ordered_alike_have_a_tau_near_one() {
        let tau = kendall_tau(tally(1000, 0), Alpha::new(0.05).unwrap());
        assert!(
            tau.low > 0.98 && (tau.high - 1.0).abs() < f64::EPSILON,
            "{tau:?}"
        );
    }

    #[test]
    fn the_breaker_opens_on_certainty_alone() {
        assert!(exceeds(tally(30, 0), 0.5) && !exceeds(tally(3, 0), 0.5));
        assert!(!exceeds(tally(0, 0), 0.0) && !exceeds(tally(60, 40), 0.5));
        assert!(!exceeds(tally(30, 0), f64::NAN));
    }
}
