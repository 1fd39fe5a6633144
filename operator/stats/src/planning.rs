//! How much has to be seen: the prior of a plan, and what an effect costs.
//!
//! Owns the formulas that say beforehand how many users a decision needs, and afterwards how many more.
//! It must not know of time: a caller that knows the rate of users does.

use libm::sqrt;

use crate::estimate::{Scale, bisect};
use crate::level::Alpha;
use crate::means::{Arm, pooled_variance};
use crate::normal_mixture::{one_sided_multiplier, tightest};

/// The part of a standard deviation that `tau` is where no smallest effect is given: tightest at 5,000
/// users (GrowthBook's default).
const PART_OF_SD: f64 = 0.08;

/// Two arms as they are planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The standard deviation of a unit of A.
    pub sd_a: Scale,
    /// That of B.
    pub sd_b: Scale,
    /// A's part of the units, in any measure that both share.
    pub weight_a: Scale,
    /// B's.
    pub weight_b: Scale,
}

impl Plan {
    /// The variance of the effect, times all units.
    fn variance(self) -> f64 {
        let whole = self.weight_a.get() + self.weight_b.get();
        let of = |sd: Scale, weight: Scale| sd.get() * sd.get() * whole / weight.get();
        of(self.sd_a, self.weight_a) + of(self.sd_b, self.weight_b)
    }

    /// The `tau` with which the sequence is tightest at this many units of both arms together
    /// (`tau_from_target` of the reference). `None` without units.
    pub fn tau(self, units: u64, alpha: Alpha) -> Option<Scale> {
        let units = crate::special::count(units);
        Scale::new(sqrt(tightest(alpha) * self.variance() / units))
    }

    /// The units of both arms together at which the effect has this standard error.
    pub fn units(self, error: Scale) -> f64 {
        self.variance() / error.get() / error.get()
    }
}

/// The standard error at which an effect seen as large as `smallest` is just significant, one-sided
/// (stats.md 1.1, `required_se` of the reference). Between a billionth of the effect and the whole.
pub fn required_error(smallest: Scale, tau: Scale, alpha: Alpha) -> f64 {
    let effect = smallest.get();
    bisect(1e-9 * effect, effect, |error| {
        one_sided_multiplier(error / tau.get(), alpha) * error < effect
    })
}

/// How many times as much as was seen so far is still to be seen, until the standard error is as small as
/// required: `(se/required)^2 - 1`, and 0 once it is.
pub fn still_needed(error: Scale, required: Scale) -> f64 {
    let ratio = error.get() / required.get();
    (ratio * ratio - 1.0).max(0.0)
}

/// The `tau` where no smallest effect is given: 0.08 standard deviations of both arms together. `None`
/// where nothing varies.
pub fn tau_of_spread(a: Arm, b: Arm) -> Option<Scale> {
    Scale::new(PART_OF_SD * sqrt(pooled_variance(a, b)))
}

/// The `tau` of a smallest effect that is relative to control's mean. `None` where that is 0.
pub fn tau_of_relative(part: Scale, control: Arm) -> Option<Scale> {
    Scale::new(part.get() * control.mean().abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(size: f64) -> Scale {
        Scale::new(size).unwrap()
    }

    #[test]
    fn the_smallest_effect_is_nearly_the_tau_that_is_tightest_where_it_is_detected() {
        // stats.md 1.1: sqrt(L) is 2.82 at 0.05, and a fixed test detects 2.80 errors.
        assert!((sqrt(tightest(Alpha::new(0.05).unwrap())) - 2.82).abs() < 0.01);
    }

    #[test]
    fn a_plan_of_no_units_has_no_tau() {
        let (one, alpha) = (scale(1.0), Alpha::new(0.05).unwrap());
        let plan = Plan {
            sd_a: one,
            sd_b: one,
            weight_a: one,
            weight_b: one,
        };
        assert_eq!(plan.tau(0, alpha), None);
        // 0.08 standard deviations at 5,000.
        assert!((plan.tau(5000, alpha).unwrap().get() - 0.08).abs() < 0.001);
        // Two arms of 1,000 have an error of sqrt(2/1000).
        assert!((plan.units(scale(sqrt(0.002))) - 2000.0).abs() < 1e-6);
    }

    #[test]
    fn at_the_required_error_the_effect_is_just_significant() {
        let (effect, alpha) = (scale(0.01), Alpha::new(0.025).unwrap());
        let error = required_error(effect, effect, alpha);
        let reached = one_sided_multiplier(error / 0.01, alpha) * error;
        assert!((reached / 0.01 - 1.0).abs() < 1e-9);
        assert!((still_needed(scale(2.0 * error), scale(error)) - 3.0).abs() < 1e-9);
        assert!(still_needed(scale(error), scale(2.0 * error)).abs() < f64::EPSILON);
    }

    #[test]
    fn a_tau_without_a_plan_comes_from_what_was_seen() {
        let arm = |mean, variance| Arm::new(200, mean, variance).unwrap();
        assert!((tau_of_spread(arm(1.0, 4.0), arm(1.0, 4.0)).unwrap().get() - 0.16).abs() < 1e-12);
        assert_eq!(tau_of_spread(arm(1.0, 0.0), arm(1.0, 0.0)), None);
        assert!((tau_of_relative(scale(0.1), arm(-5.0, 1.0)).unwrap().get() - 0.5).abs() < 1e-12);
        assert_eq!(tau_of_relative(scale(0.1), arm(0.0, 1.0)), None);
    }
}
