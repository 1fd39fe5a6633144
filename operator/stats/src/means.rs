//! The difference of two means.
//!
//! Owns arms of independent units and how two are compared. It must not know whether a unit is a user, a
//! hash cell or a pair. Invariant: an [`Arm`] has at least two units and a variance of at least 0.

use libm::sqrt;

use crate::estimate::{Estimate, Factor, Undefined};
use crate::special::count;

/// Independent units, their mean and the variance of one: that of the mean is `variance / units`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    units: u64,
    mean: f64,
    variance: f64,
}

impl Arm {
    /// `TooFewUnits` below two; `OutOfRange` where a number is not finite or the variance below 0.
    pub fn new(units: u64, mean: f64, variance: f64) -> Result<Self, Undefined> {
        if units < 2 {
            return Err(Undefined::TooFewUnits);
        }
        if !mean.is_finite() || !variance.is_finite() || variance < 0.0 {
            return Err(Undefined::OutOfRange);
        }
        Ok(Self {
            units,
            mean,
            variance,
        })
    }

    /// Independent units.
    pub const fn units(self) -> u64 {
        self.units
    }

    /// The mean.
    pub const fn mean(self) -> f64 {
        self.mean
    }

    /// The variance of one unit.
    pub const fn variance(self) -> f64 {
        self.variance
    }

    /// The variance of the mean.
    pub fn variance_of_mean(self) -> f64 {
        self.variance / count(self.units)
    }
}

/// The variance of one unit where both arms have the same.
pub fn pooled_variance(a: Arm, b: Arm) -> f64 {
    let (rest_a, rest_b) = (count(a.units) - 1.0, count(b.units) - 1.0);
    (rest_a * a.variance + rest_b * b.variance) / (rest_a + rest_b)
}

/// `mean_B - r mean_A` (stats.md 1.1, `combine_means` of the reference). The error is the larger of
/// Welch's and the pooled one: the same for balanced arms; for a small arm of skewed data Welch's alone
/// is too small, and rolls back three times as often as it may.
pub fn difference_of_means(a: Arm, b: Arm, factor: Factor) -> Result<Estimate, Undefined> {
    let r = factor.get();
    let (n_a, n_b) = (count(a.units), count(b.units));
    let welch = b.variance / n_b + r * r * a.variance / n_a;
    let pooled = pooled_variance(a, b) * (1.0 / n_b + r * r / n_a);
    larger_error(b.mean - r * a.mean, welch, pooled)
}

/// The estimate with the larger of two variances. One that is NaN is refused, and not passed over.
pub(crate) fn larger_error(effect: f64, one: f64, other: f64) -> Result<Estimate, Undefined> {
    if one.is_nan() || other.is_nan() {
        return Err(Undefined::OutOfRange);
    }
    Estimate::new(effect, sqrt(one.max(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_unit_is_no_arm() {
        assert_eq!(Arm::new(1, 0.0, 1.0), Err(Undefined::TooFewUnits));
        for (mean, variance) in [(f64::NAN, 1.0), (0.0, f64::INFINITY), (0.0, -1.0)] {
            assert_eq!(Arm::new(2, mean, variance), Err(Undefined::OutOfRange));
        }
    }

    #[test]
    fn arms_that_do_not_vary_have_no_error() {
        let arm = |mean| Arm::new(10, mean, 0.0).unwrap();
        let same = difference_of_means(arm(1.0), arm(2.0), Factor::PLAIN).unwrap();
        assert_eq!((same.effect(), same.error()), (1.0, 0.0));
    }

    #[test]
    fn what_overflows_is_out_of_range() {
        let huge = Arm::new(10, 1e300, f64::MAX).unwrap();
        let large = Factor::new(1e200).unwrap();
        assert_eq!(
            difference_of_means(huge, huge, large),
            Err(Undefined::OutOfRange)
        );
        assert_eq!(larger_error(0.0, 1.0, f64::NAN), Err(Undefined::OutOfRange));
        assert_eq!(larger_error(0.0, f64::NAN, 1.0), Err(Undefined::OutOfRange));
    }

    #[test]
    fn a_small_arm_of_less_variance_does_not_make_the_error_small() {
        let (large, small) = (
            Arm::new(1900, 2.0, 4.0).unwrap(),
            Arm::new(100, 2.3, 1.0).unwrap(),
        );
        let error = difference_of_means(large, small, Factor::PLAIN)
            .unwrap()
            .error();
        let welch = sqrt(1.0 / 100.0 + 4.0 / 1900.0);
        assert!(error > 1.8 * welch, "{error} {welch}");
    }
}
