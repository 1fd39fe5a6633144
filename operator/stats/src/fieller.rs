//! A ratio of two means, for display.
//!
//! Owns Fieller's set. It decides nothing: decisions compare with a margin ([`crate::margins`]).

use libm::sqrt;

use crate::estimate::Interval;
use crate::means::Arm;

/// A mean, and the variance with which it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownMean {
    /// The mean.
    pub mean: f64,
    /// The variance of the mean, not of a unit.
    pub variance: f64,
}

impl From<Arm> for KnownMean {
    fn from(arm: Arm) -> Self {
        Self {
            mean: arm.mean(),
            variance: arm.variance_of_mean(),
        }
    }
}

/// Between what the ratio `mean_B / mean_A` lies, `multiplier` standard errors wide (stats.md 1.1,
/// `fieller` of the reference; give it the one-sided multiplier of the mixture). `None` where control's
/// mean is not separated from 0, so that no ratio is too large, or where a number is not finite.
pub fn fieller(a: KnownMean, b: KnownMean, multiplier: f64) -> Option<Interval> {
    let square = multiplier * multiplier;
    let lead = a.mean * a.mean - square * a.variance;
    let middle = a.mean * b.mean;
    let tail = b.mean * b.mean - square * b.variance;
    let inside = middle * middle - lead * tail;
    let sound = lead > 0.0 && inside >= 0.0;
    let (low, high) = (
        (middle - sqrt(inside)) / lead,
        (middle + sqrt(inside)) / lead,
    );
    (sound && low.is_finite() && high.is_finite()).then_some(Interval { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_near_zero_has_no_ratio() {
        let known = |mean, variance| KnownMean { mean, variance };
        assert_eq!(fieller(known(0.1, 0.01), known(0.2, 0.01), 3.0), None);
        assert_eq!(fieller(known(0.0, 0.0), known(0.2, 0.01), 3.0), None);
        assert_eq!(fieller(known(f64::NAN, 0.1), known(0.2, 0.01), 3.0), None);
        assert_eq!(fieller(known(1e200, 0.1), known(1e200, 0.01), 3.0), None);
        // Its set is not an interval, but all outside one.
        assert_eq!(fieller(known(0.1, 0.01), known(2.0, 0.01), 3.0), None);
        // A variance below 0 is none: no real end.
        assert_eq!(fieller(known(1.0, 0.0), known(0.1, -1.0), 3.0), None);
    }

    #[test]
    fn the_ratio_of_the_means_lies_in_it() {
        let (a, b) = (
            Arm::new(100, -4.0, 2.0).unwrap(),
            Arm::new(100, -4.4, 2.0).unwrap(),
        );
        assert!(fieller(a.into(), b.into(), 3.2).unwrap().contains(1.1));
    }
}
