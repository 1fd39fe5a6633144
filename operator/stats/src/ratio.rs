//! Ratios of sums over independent units: everything that is measured per request.
//!
//! Owns the delta method. Requests of one user are alike, so that they are no units; users are, and so
//! are hash cells of them: each user lies in one cell. Invariant: the sums are finite.

use crate::estimate::Undefined;
use crate::means::Arm;
use crate::moments::above_rounding;
use crate::special::count;

/// No sum of a cell is larger, so that no product of sums overflows.
const LARGEST: f64 = 1e150;

/// Sums over units of `x` (requests) and `y` (what is measured of them, summed).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cells {
    /// Units that made a request.
    pub units: u64,
    /// The sum of x.
    pub x: f64,
    /// The sum of y.
    pub y: f64,
    /// The sum of x squared.
    pub xx: f64,
    /// The sum of x times y.
    pub xy: f64,
    /// The sum of y squared.
    pub yy: f64,
}

impl Cells {
    /// Of the cells `(x, y)` of one arm; those without a request are no units.
    pub fn of(cells: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let active = cells.into_iter().filter(|(x, _)| *x > 0);
        active.fold(Self::default(), |sums, (x, y)| {
            let x = count(x);
            Self {
                units: sums.units.saturating_add(1),
                x: sums.x + x,
                y: sums.y + y,
                xx: sums.xx + x * x,
                xy: sums.xy + x * y,
                yy: sums.yy + y * y,
            }
        })
    }

    /// `R = sum y / sum x` as an arm, whose variance is that of the delta method: the mean square of
    /// `y - R x` over the squared mean of x (stats.md 1.1 (e), `ratio_arm` of the reference). What lies
    /// below the rounding of its own subtraction is 0, so that a constant has no variance.
    pub fn ratio(self) -> Result<Arm, Undefined> {
        if self.units < 2 {
            return Err(Undefined::TooFewUnits);
        }
        let sums = [self.x, self.y, self.xx, self.xy, self.yy];
        if sums.iter().any(|sum| sum.is_nan() || sum.abs() > LARGEST) {
            return Err(Undefined::OutOfRange);
        }
        if self.x <= 0.0 {
            return Err(Undefined::NoExposure);
        }
        let ratio = self.y / self.x;
        let (cross, square) = (2.0 * ratio * self.xy, ratio * ratio * self.xx);
        let scatter = self.yy - cross + square;
        let size = self.yy + cross.abs() + square;
        let scatter = above_rounding(scatter, self.units, size);
        let units = count(self.units);
        let per_unit = units / self.x;
        Arm::new(
            self.units,
            ratio,
            scatter / (units - 1.0) * per_unit * per_unit,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_two_units_or_a_request_there_is_no_ratio() {
        assert_eq!(Cells::of([]).ratio(), Err(Undefined::TooFewUnits));
        assert_eq!(
            Cells::of([(3, 1.0), (0, 7.0)]).ratio(),
            Err(Undefined::TooFewUnits)
        );
        let none = Cells {
            units: 10,
            ..Cells::default()
        };
        assert_eq!(none.ratio(), Err(Undefined::NoExposure));
        let nan = Cells::of([(3, f64::NAN), (1, 1.0)]);
        assert_eq!(nan.ratio(), Err(Undefined::OutOfRange));
    }

    #[test]
    fn a_candidate_that_returns_a_constant_has_no_variance() {
        for tenths in 1..100_u32 {
            let constant = f64::from(tenths) * 0.1;
            let cells = (1..400_u32).map(|x| (u64::from(x), f64::from(x) * constant));
            let variance = Cells::of(cells).ratio().unwrap().variance();
            assert!(variance <= 0.0, "{constant}: {variance}");
        }
    }

    #[test]
    fn with_one_request_each_it_is_the_mean() {
        let values: Vec<f64> = (0..50_u32).map(|i| f64::from(i * i % 17)).collect();
        let cells = Cells::of(values.iter().map(|value| (1, *value)))
            .ratio()
            .unwrap();
        let mean = crate::Moments::of(values).unwrap().arm().unwrap();
        assert!((cells.mean() - mean.mean()).abs() < 1e-12);
        assert!((cells.variance() / mean.variance() - 1.0).abs() < 1e-12);
    }
}
