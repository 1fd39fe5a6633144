//! Differences within pairs: the same request, or the same labelled pair, seen by both arms.
//!
//! Owns how a pair's two scores become one difference. Pairs are taken for independent; where users have
//! several, use [`crate::Cells`] with y the sum of differences. Invariant: an estimate has two pairs at
//! least.

use libm::{fma, sqrt};

use crate::estimate::{Estimate, Undefined};
use crate::moments::{Moments, above_rounding};
use crate::special::count;

/// No sum of scores is larger.
const LARGEST: f64 = 1e150;

/// The mean of differences `candidate - control` (stats.md 1.1 (c), `paired` of the reference).
/// `TooFewUnits` with fewer than two.
pub fn paired(differences: Moments) -> Result<Estimate, Undefined> {
    let arm = differences.arm()?;
    Estimate::new(arm.mean(), sqrt(arm.variance_of_mean()))
}

/// Sums over pairs of scores: `a` of control, `b` of the candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cross {
    /// Pairs.
    pub pairs: u64,
    /// The sum of a.
    pub a: f64,
    /// The sum of b.
    pub b: f64,
    /// The sum of a squared.
    pub aa: f64,
    /// The sum of b squared.
    pub bb: f64,
    /// The sum of a times b.
    pub ab: f64,
}

/// What pairs of scores say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedScores {
    /// The mean of b - a.
    pub estimate: Estimate,
    /// Pearson's correlation of both. `None` where one does not vary.
    pub pearson: Option<f64>,
}

impl Cross {
    /// Of pairs `(a, b)`.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        pairs
            .into_iter()
            .fold(Self::default(), |sums, (a, b)| Self {
                pairs: sums.pairs.saturating_add(1),
                a: sums.a + a,
                b: sums.b + b,
                aa: sums.aa + a * a,
                bb: sums.bb + b * b,
                ab: sums.ab + a * b,
            })
    }

    /// The mean difference, and how far both go together (`paired_from_cross` of the reference). What
    /// lies below the rounding of its own subtraction is 0.
    pub fn scores(self) -> Result<PairedScores, Undefined> {
        if self.pairs < 2 {
            return Err(Undefined::TooFewUnits);
        }
        let sums = [self.a, self.b, self.aa, self.bb, self.ab];
        if sums.iter().any(|sum| sum.is_nan() || sum.abs() > LARGEST) {
            return Err(Undefined::OutOfRange);
        }
        let n = count(self.pairs);
        let scatter = |one: f64, other: f64, product: f64| fma(-one, other / n, product);
        let floor = |scatter: f64, size: f64| above_rounding(scatter, self.pairs, size);
        let a = floor(scatter(self.a, self.a, self.aa), self.aa);
        let b = floor(scatter(self.b, self.b, self.bb), self.bb);
        let both = scatter(self.a, self.b, self.ab);
        let size = self.aa + self.bb + 2.0 * self.ab.abs();
        let difference = floor(a + b - 2.0 * both, size);
        let pearson = (a > 0.0 && b > 0.0).then(|| both / (sqrt(a) * sqrt(b)));
        Ok(PairedScores {
            estimate: Estimate::new((self.b - self.a) / n, sqrt(difference / (n - 1.0) / n))?,
            pearson: pearson.map(|r| r.clamp(-1.0, 1.0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_says_nothing() {
        assert_eq!(
            Cross::of([(1.0, 2.0)]).scores(),
            Err(Undefined::TooFewUnits)
        );
        assert_eq!(
            paired(Moments::of([1.0]).unwrap()),
            Err(Undefined::TooFewUnits)
        );
        let nan = Cross::of([(1.0, f64::NAN), (1.0, 2.0)]);
        assert_eq!(nan.scores(), Err(Undefined::OutOfRange));
    }

    #[test]
    fn a_shift_alone_has_no_error_and_goes_fully_together() {
        for tenths in 1..100_u32 {
            let shift = f64::from(tenths) * 0.1;
            let shifted = Cross::of((0..500_u32).map(|i| {
                let score = f64::from(i) * 0.1;
                (score, score + shift)
            }));
            let scores = shifted.scores().unwrap();
            assert!((scores.estimate.effect() - shift).abs() < 1e-9);
            assert!(scores.estimate.spread().is_err(), "{scores:?}");
            assert!((scores.pearson.unwrap() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_sums_of_products_say_what_the_differences_say() {
        let pairs: Vec<(f64, f64)> = (0..60_u32)
            .map(|i| (f64::from(i % 7), f64::from(i % 5) + f64::from(i % 7)))
            .collect();
        let cross = Cross::of(pairs.clone()).scores().unwrap().estimate;
        let direct = paired(Moments::of(pairs.iter().map(|(a, b)| b - a)).unwrap()).unwrap();
        assert!((cross.effect() - direct.effect()).abs() < 1e-12);
        assert!((cross.error() / direct.error() - 1.0).abs() < 1e-12);
    }
}
