//! Exact evidence over successes and failures: the beta-binomial e-process.
//!
//! Owns the mixture, and the tail of a binomial. The share under the hypothesis is compared with shares
//! that a Beta prior spreads; the one-sided forms use the prior truncated at the hypothesis, which makes
//! them valid for all shares on its side.

use crate::special::{count, log_beta_tails, log_m};

/// A probability strictly between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// `None` unless it lies strictly between 0 and 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share < 1.0).then_some(Self(share))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A Beta distribution over shares, as it was before anything was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaPrior {
    a: f64,
    b: f64,
}

impl BetaPrior {
    /// Of one that nothing is known of: Beta(1/2, 1/2).
    pub const JEFFREYS: Self = Self { a: 0.5, b: 0.5 };
    /// `None` unless both are finite and above 0.
    pub fn new(a: f64, b: f64) -> Option<Self> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        (positive(a) && positive(b)).then_some(Self { a, b })
    }

    /// What it is worth in successes.
    pub(crate) const fn a(self) -> f64 {
        self.a
    }

    /// What it is worth in failures.
    pub(crate) const fn b(self) -> f64 {
        self.b
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Trials that had it.
    pub successes: u64,
    /// Trials that had not.
    pub failures: u64,
}

/// Natural logarithms of the e-values of one hypothesis and its two sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogE {
    /// Against: the share is exactly this.
    pub two_sided: f64,
    /// Against: the share is at most this. Large where there are too many successes.
    pub greater: f64,
    /// Against: the share is at least this. Large where there are too few.
    pub less: f64,
}

/// Evidence against the share `theta0` (stats.md 1.2, `bb_log_e` of the reference).
pub fn beta_binomial(tally: Tally, theta0: Share, prior: BetaPrior) -> LogE {
    let (a, b) = (
        prior.a + count(tally.successes),
        prior.b + count(tally.failures),
    );
    let two_sided = log_m(a, b, theta0.0) - log_m(prior.a, prior.b, theta0.0);
    let (below, above) = log_beta_tails(a, b, theta0.0);
    let (below_before, above_before) = log_beta_tails(prior.a, prior.b, theta0.0);
    LogE {
        two_sided,
        greater: two_sided + above - above_before,
        less: two_sided + below - below_before,
    }
}

/// The natural logarithm of the probability that at least `least` of `trials` have what each has with
/// probability `share`: `P(Bin(n, p) >= x) = I_p(x, n - x + 1)`. 0 where none is asked for, minus
/// infinity where more are than there are trials.
pub fn ln_at_least(least: u64, trials: u64, share: Share) -> f64 {
    if least == 0 {
        return 0.0;
    }
    let Some(rest) = trials.checked_sub(least) else {
        return f64::NEG_INFINITY;
    };
    log_beta_tails(count(least), count(rest) + 1.0, share.0).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_no_nan_and_leaves_room_on_both_sides() {
        for bad in [f64::NAN, 0.0, 1.0, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(Share::new(bad), None);
        }
        for bad in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
            assert_eq!(BetaPrior::new(bad, 1.0), None);
            assert_eq!(BetaPrior::new(1.0, bad), None);
        }
    }

    #[test]
    fn the_tail_of_a_binomial_is_that_of_the_sum() {
        // P(Bin(5, 0.01) >= 3) = 10 p^3 q^2 + 5 p^4 q + p^5.
        let (p, q): (f64, f64) = (0.01, 0.99);
        let sum = 10.0 * p.powi(3) * q.powi(2) + 5.0 * p.powi(4) * q + p.powi(5);
        let tail = ln_at_least(3, 5, Share::new(p).unwrap()).exp();
        assert!((tail / sum - 1.0).abs() < 1e-12, "{tail} {sum}");
        assert!((ln_at_least(0, 5, Share::new(p).unwrap())).abs() < f64::EPSILON);
        let more = ln_at_least(6, 5, Share::new(p).unwrap());
        assert!(more.is_infinite() && more < 0.0, "{more}");
    }

    /// The e-value after `n` trials, averaged over what they may be under the hypothesis.
    fn mean_under_null(trials: u64, theta: f64, prior: BetaPrior, pick: fn(LogE) -> f64) -> f64 {
        let share = Share::new(theta).unwrap();
        // By logarithms: a difference of two tails would lose what is rare, and weighs the most.
        let choose = |x: u64| -> f64 {
            (0..x)
                .map(|i| (count(trials - i) / count(x - i)).ln())
                .sum()
        };
        (0..=trials)
            .map(|successes| {
                let tally = Tally {
                    successes,
                    failures: trials - successes,
                };
                let likely = choose(successes)
                    + count(tally.successes) * theta.ln()
                    + count(tally.failures) * (-theta).ln_1p();
                (likely + pick(beta_binomial(tally, share, prior))).exp()
            })
            .sum()
    }

    proptest! {
        #[test]
        fn evidence_is_one_on_average_where_the_hypothesis_holds(
            trials in 0_u64..40, theta in 0.02_f64..0.98, a in 0.1_f64..20.0, b in 0.1_f64..20.0,
        ) {
            let prior = BetaPrior::new(a, b).unwrap();
            for pick in [(|e: LogE| e.two_sided) as fn(LogE) -> f64, |e| e.greater, |e| e.less] {
                let mean = mean_under_null(trials, theta, prior, pick);
                prop_assert!((mean - 1.0).abs() < 1e-6, "{mean}");
            }
        }

        #[test]
        fn more_successes_are_more_evidence_of_too_many(
            successes in 0_u64..1_000_000, failures in 0_u64..1_000_000, theta in 0.001_f64..0.999,
        ) {
            let share = Share::new(theta).unwrap();
            let prior = BetaPrior::new(20.0 * theta, 20.0 * (1.0 - theta)).unwrap();
            let at = |successes| beta_binomial(Tally { successes, failures }, share, prior).greater;
            let (fewer, more) = (at(successes), at(successes + 1));
            prop_assert!(more.is_finite() && more >= fewer - 1e-9 * fewer.abs().max(1.0), "{fewer} {more}");
        }
    }
}
