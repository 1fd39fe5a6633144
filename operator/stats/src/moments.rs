//! How many, their sum and the sum of their squares: what is kept of values that went by.
//!
//! Owns sums of a sample, how two are put together, and the mean and variance they stand for. Invariant:
//! the sums are finite and small enough that their products are; without values they are 0.

use libm::fma;

use crate::estimate::Undefined;
use crate::means::Arm;
use crate::special::count;

/// No sum is larger: its square is still finite.
const LARGEST_SUM: f64 = 1e150;
/// What is left of a subtraction of sums, and 0 where that is no more than their rounding: of `n` terms
/// that were added one by one, each sum is off by up to `n` units in the last place of its `size`. (The
/// reference takes 4 of them, which is enough for sums that are themselves exact, and no fewer here.)
pub(crate) fn above_rounding(left: f64, n: u64, size: f64) -> f64 {
    let floor = count(n).max(4.0) * f64::EPSILON * size;
    if left <= floor { 0.0 } else { left }
}

/// Sums of values in the units of a metric. Where the mean is more than a thousand standard deviations,
/// sum `x - offset` instead (stats.md 0): nothing here can repair what the sums have lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    n: u64,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// Of `n` values with this sum and sum of squares. `None` where one is not finite or beyond 1e150
    /// (squares: 1e300), squares are below 0, or there are sums without values.
    pub fn new(n: u64, sum: f64, squares: f64) -> Option<Self> {
        let sound =
            sum.abs() <= LARGEST_SUM && (0.0..=LARGEST_SUM * LARGEST_SUM).contains(&squares);
        let empty = sum == 0.0 && squares == 0.0;
        (sound && (n > 0 || empty)).then_some(Self { n, sum, squares })
    }

    /// Of values, in one pass. `None` where a value or a sum is out of range.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        values.into_iter().try_fold(Self::default(), |sums, value| {
            sums.merge(Self::new(1, value, value * value)?)
        })
    }

    /// Of the values of both. `None` where the count or a sum leaves its range.
    pub fn merge(self, other: Self) -> Option<Self> {
        Self::new(
            self.n.checked_add(other.n)?,
            self.sum + other.sum,
            self.squares + other.squares,
        )
    }

    /// How many values.
    pub const fn n(self) -> u64 {
        self.n
    }

    /// Their sum.
    pub const fn sum(self) -> f64 {
        self.sum
    }

    /// The sum of their squares.
    pub const fn squares(self) -> f64 {
        self.squares
    }

    /// The mean. `None` without values.
    pub fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / count(self.n))
    }

    /// The sum of squared distances from the mean: 0 below the rounding of the subtraction.
    pub(crate) fn scatter(self) -> Option<f64> {
        let scatter = fma(-self.sum, self.mean()?, self.squares);
        Some(above_rounding(scatter, self.n, self.squares))
    }

    /// The unbiased variance. `None` with fewer than two values.
    pub fn variance(self) -> Option<f64> {
        let rest = self.n.checked_sub(1).filter(|rest| *rest > 0)?;
        Some(self.scatter()? / count(rest))
    }

    /// As an arm, of which each value is one unit. `TooFewUnits` with fewer than two.
    pub fn arm(self) -> Result<Arm, Undefined> {
        let (Some(mean), Some(variance)) = (self.mean(), self.variance()) else {
            return Err(Undefined::TooFewUnits);
        };
        Arm::new(self.n, mean, variance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_none_and_of_one_there_is_no_variance() {
        let none = Moments::default();
        assert_eq!((none.mean(), none.variance()), (None, None));
        assert_eq!(none.arm(), Err(Undefined::TooFewUnits));
        let one = Moments::of([3.5]).unwrap();
        assert_eq!((one.mean(), one.variance()), (Some(3.5), None));
        assert_eq!((one.n(), one.sum(), one.squares()), (1, 3.5, 12.25));
    }

    #[test]
    fn a_constant_has_no_variance_but_rounding() {
        let same = Moments::of(std::iter::repeat_n(0.1, 1000)).unwrap();
        assert_eq!(same.variance(), Some(0.0));
    }

    #[test]
    fn sums_that_would_overflow_are_refused() {
        for (n, sum, squares) in [
            (1, f64::NAN, 1.0),
            (1, 1.0, f64::NAN),
            (1, 1e151, 1e302),
            (1, 1.0, -1.0),
            (0, 1.0, 1.0),
        ] {
            assert_eq!(Moments::new(n, sum, squares), None, "{n} {sum} {squares}");
        }
        let full = Moments::new(u64::MAX, 1.0, 1.0).unwrap();
        assert_eq!(full.merge(Moments::of([1.0]).unwrap()), None);
        assert_eq!(Moments::of([1.0, f64::INFINITY]), None);
    }
}
