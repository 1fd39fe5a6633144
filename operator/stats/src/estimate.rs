//! What every method that is approximately normal reduces to: an estimate and its standard error.
//!
//! Owns the range of numbers in which nothing overflows, and the reasons why there is no estimate.
//! Invariant: an [`Estimate`], a [`Scale`] and a [`Null`] lie in that range, so that no formula over
//! them yields NaN or loses a standard error to 0.

use std::fmt;

/// No number is larger: squares of quotients stay far from overflow.
const LARGEST: f64 = 1e60;
/// No scale is smaller.
const SMALLEST: f64 = 1e-60;

/// Why something cannot be estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undefined {
    /// Fewer units than the formula needs.
    TooFewUnits,
    /// Nothing to divide by: the units made no request.
    NoExposure,
    /// No spread: every unit is the same.
    NoVariance,
    /// A number is not finite, or beyond 1e60.
    OutOfRange,
}

impl fmt::Display for Undefined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TooFewUnits => "too few units",
            Self::NoExposure => "no exposure",
            Self::NoVariance => "no variance",
            Self::OutOfRange => "a number out of range",
        })
    }
}

impl std::error::Error for Undefined {}

/// A size above 0 in the units of the metric: a prior's standard deviation `tau`, a smallest effect, a
/// margin, a standard deviation of units.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Scale(f64);

impl Scale {
    /// `None` unless it lies between 1e-60 and 1e60.
    pub fn new(size: f64) -> Option<Self> {
        (SMALLEST..=LARGEST).contains(&size).then_some(Self(size))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The effect that a hypothesis allows at most, or at least, in the units of the metric.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Null(f64);

impl Null {
    /// No effect.
    pub const ZERO: Self = Self(0.0);

    /// `None` where it is NaN or beyond 1e60.
    pub fn new(effect: f64) -> Option<Self> {
        (effect.abs() <= LARGEST).then_some(Self(effect))
    }

    /// As much as this worse.
    pub const fn below(margin: Scale) -> Self {
        Self(-margin.0)
    }

    /// As much as this better.
    pub const fn above(margin: Scale) -> Self {
        Self(margin.0)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// By how much A is multiplied before B is compared with it: 1 for a plain difference, `1 + delta` for
/// "B is at most delta more than A".
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Factor(f64);

impl Factor {
    /// A plain difference.
    pub const PLAIN: Self = Self(1.0);

    /// `None` unless it is finite and above 0.
    pub fn new(factor: f64) -> Option<Self> {
        (factor > 0.0 && factor.is_finite()).then_some(Self(factor))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// An effect, and the standard error with which it is known, both in the units of the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    effect: f64,
    error: f64,
}

impl Estimate {
    /// `OutOfRange` where one is NaN or beyond 1e60, or where an error is below 0 or so small that it is
    /// neither 0 nor a number to divide by.
    pub fn new(effect: f64, error: f64) -> Result<Self, Undefined> {
        let sound = effect.abs() <= LARGEST && (error == 0.0 || Scale::new(error).is_some());
        if sound {
            Ok(Self { effect, error })
        } else {
            Err(Undefined::OutOfRange)
        }
    }

    /// The effect.
    pub const fn effect(self) -> f64 {
        self.effect
    }

    /// Its standard error: 0 where no unit differs from another.
    pub const fn error(self) -> f64 {
        self.error
    }

    /// The error, where there is one.
    pub fn spread(self) -> Result<Scale, Undefined> {
        Scale::new(self.error).ok_or(Undefined::NoVariance)
    }

    /// The same seen from the other arm, or of a metric of which less is better.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            effect: -self.effect,
            error: self.error,
        }
    }
}

/// What lies between two numbers, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether it has the number in it. No NaN is.
    pub fn contains(self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }
}

/// The root of a function that rises from below 0 at `low` to above it at `high`: halved until two
/// neighbouring numbers are left.
pub(crate) fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low.min(high) || middle >= low.max(high) {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_out_of_range_is_an_estimate() {
        for (effect, error) in [
            (f64::NAN, 1.0),
            (1.0, f64::NAN),
            (1e61, 1.0),
            (1.0, -1.0),
            (1.0, 1e-61),
            (1.0, f64::INFINITY),
        ] {
            assert_eq!(Estimate::new(effect, error), Err(Undefined::OutOfRange));
        }
        for bad in [f64::NAN, 0.0, -1.0, 1e61] {
            assert_eq!(Scale::new(bad), None);
        }
        assert_eq!((Null::new(f64::NAN), Null::new(1e61)), (None, None));
        assert_eq!((Factor::new(0.0), Factor::new(f64::NAN)), (None, None));
    }

    #[test]
    fn without_a_spread_there_is_none_to_divide_by() {
        let constant = Estimate::new(1.0, 0.0).unwrap();
        assert_eq!(constant.spread(), Err(Undefined::NoVariance));
        assert_eq!(Undefined::NoVariance.to_string(), "no variance");
        let words: Vec<_> = [
            Undefined::TooFewUnits,
            Undefined::NoExposure,
            Undefined::OutOfRange,
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            words,
            ["too few units", "no exposure", "a number out of range"]
        );
    }

    #[test]
    fn a_root_is_found_from_either_side() {
        let root = bisect(0.0, 2.0, |x| x * x < 2.0);
        assert!((root - std::f64::consts::SQRT_2).abs() < 1e-15);
        let falling = bisect(2.0, 0.0, |x| x * x > 2.0);
        assert!((falling - std::f64::consts::SQRT_2).abs() < 1e-15);
    }
}
