//! The normal mixture in information time: evidence and confidence sequences for everything that is
//! approximately normal.
//!
//! Owns the mixture over effects with a frozen prior. Sources: mSPRT of Johari and others (2015, 2022);
//! asymptotic confidence sequences of Waudby-Smith and others (2021); their validity from a delayed start
//! on, Bibaut, Kallus and Lindon (2022). Invariants: `tau` is frozen at the first look that counts, so
//! that the boundary is a function of the information `1/se^2` alone; every number that comes out is
//! finite. It is asymptotic: [`crate::eligibility`] says from how many users on.

use libm::{log, log1p, sqrt};

use crate::beta_binomial::LogE;
use crate::estimate::{Estimate, Interval, Null, Scale, Undefined, bisect};
use crate::level::Alpha;
use crate::normal::{ln_mills, log_ndtr};

/// An estimate under a prior of standard deviation `tau` over effects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormalMixture {
    estimate: Estimate,
    error: f64,
    tau: f64,
}

impl NormalMixture {
    /// `NoVariance` where the estimate has no error.
    pub fn new(estimate: Estimate, tau: Scale) -> Result<Self, Undefined> {
        Ok(Self {
            estimate,
            error: estimate.spread()?.get(),
            tau: tau.get(),
        })
    }

    /// Evidence against "the effect is `null`", "at most" and "at least" it (stats.md 1.1, `nm_log_e_*` of
    /// the reference): `-ln(1 + (tau/se)^2)/2 + k z^2/2` with `k = tau^2/(tau^2 + se^2)`; the one-sided
    /// forms mix over one half of the prior.
    pub fn log_e(self, null: Null) -> LogE {
        let z = (self.estimate.effect() - null.get()) / self.error;
        LogE {
            two_sided: self.two_sided(z),
            greater: one_sided(z, self.error / self.tau),
            less: one_sided(-z, self.error / self.tau),
        }
    }

    fn two_sided(self, z: f64) -> f64 {
        let ratio = self.error / self.tau;
        shrink(ratio) + 0.5 * information(ratio) * z * z
    }

    /// The two-sided confidence sequence at this level.
    pub fn interval(self, alpha: Alpha) -> Interval {
        let reach = two_sided_multiplier(self.error / self.tau, alpha) * self.error;
        Interval {
            low: self.estimate.effect() - reach,
            high: self.estimate.effect() + reach,
        }
    }

    /// The standard errors that a one-sided bound lies away from the estimate.
    pub fn multiplier(self, alpha: Alpha) -> f64 {
        one_sided_multiplier(self.error / self.tau, alpha)
    }

    /// The effect is at least this.
    pub fn lower(self, alpha: Alpha) -> f64 {
        self.estimate.effect() - self.multiplier(alpha) * self.error
    }

    /// The effect is at most this.
    pub fn upper(self, alpha: Alpha) -> f64 {
        self.estimate.effect() + self.multiplier(alpha) * self.error
    }
}

/// `-ln(1 + (tau/se)^2) / 2`, of `se/tau`.
fn shrink(ratio: f64) -> f64 {
    -0.5 * log1p(1.0 / (ratio * ratio))
}

/// `tau^2 / (tau^2 + se^2)`, of `se/tau`.
fn information(ratio: f64) -> f64 {
    1.0 / (1.0 + ratio * ratio)
}

/// Evidence against "at most", `z` errors above it. Below it the two large terms are never formed.
fn one_sided(z: f64, ratio: f64) -> f64 {
    let x = z * sqrt(information(ratio));
    let tail = if x >= 0.0 {
        0.5 * x * x + log_ndtr(x)
    } else {
        ln_mills(-x)
    };
    std::f64::consts::LN_2 + shrink(ratio) + tail
}

/// The standard errors that the two-sided sequence reaches (`nm_mult_two` of the reference).
fn two_sided_multiplier(ratio: f64, alpha: Alpha) -> f64 {
    let r = ratio * ratio;
    sqrt((1.0 + r) * (2.0 * alpha.threshold() + log1p(1.0 / r)))
}

/// The `z` at which one-sided evidence reaches the level: 0 where it does there already
/// (`nm_mult_one` of the reference).
pub(crate) fn one_sided_multiplier(ratio: f64, alpha: Alpha) -> f64 {
    let widest = two_sided_multiplier(ratio, alpha);
    bisect(0.0, widest, |z| one_sided(z, ratio) < alpha.threshold())
}

/// `L(alpha) = -2 ln a + ln(1 - 2 ln a)`: `tau^2 = L se^2` makes the sequence tightest at that `se`.
pub fn tightest(alpha: Alpha) -> f64 {
    let twice = 2.0 * alpha.threshold();
    twice + log(twice + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture(effect: f64, error: f64, tau: f64) -> NormalMixture {
        let estimate = Estimate::new(effect, error).unwrap();
        NormalMixture::new(estimate, Scale::new(tau).unwrap()).unwrap()
    }

    #[test]
    fn a_constant_is_no_evidence() {
        let constant = Estimate::new(1.0, 0.0).unwrap();
        let mixture = NormalMixture::new(constant, Scale::new(1.0).unwrap());
        assert_eq!(mixture, Err(Undefined::NoVariance));
    }

    #[test]
    fn before_anything_is_known_evidence_is_one() {
        let unknown = mixture(3.0, 1e50, 1.0).log_e(Null::ZERO);
        for ln_e in [unknown.two_sided, unknown.greater, unknown.less] {
            assert!(ln_e.abs() < 1e-12, "{unknown:?}");
        }
    }

    #[test]
    fn at_the_ends_of_the_range_everything_is_finite() {
        for (effect, error, tau) in [
            (1e60, 1e-60, 1e60),
            (1e60, 1e-60, 1e-60),
            (-1e60, 1e60, 1e-60),
        ] {
            let (mixture, alpha) = (mixture(effect, error, tau), Alpha::new(1e-300).unwrap());
            let evidence = mixture.log_e(Null::new(-1e60).unwrap());
            let interval = mixture.interval(alpha);
            for number in [
                evidence.two_sided,
                evidence.greater,
                evidence.less,
                interval.low,
                interval.high,
                mixture.lower(alpha),
                mixture.upper(alpha),
            ] {
                assert!(number.is_finite(), "{effect} {error} {tau}: {number}");
            }
        }
    }

    #[test]
    fn the_prior_of_a_target_is_tightest_there() {
        let alpha = Alpha::new(0.05).unwrap();
        let best = sqrt(tightest(alpha));
        let width = |tau: f64| two_sided_multiplier(1.0 / tau, alpha);
        for other in [0.8, 0.95, 1.05, 1.2] {
            assert!(width(best * other) > width(best), "{other}");
        }
    }
}
