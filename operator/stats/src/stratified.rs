//! One difference over epochs in which the arms had different weights.
//!
//! Owns how epochs are put together: each compares its own arms, so that an arm which got more traffic
//! in good times does not look good for it. Users count in the epoch that enrolled them.

use crate::estimate::{Estimate, Undefined};
use crate::means::larger_error;
use crate::moments::Moments;
use crate::special::count;

/// The users that one epoch enrolled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Of control.
    pub a: Moments,
    /// Of the candidate.
    pub b: Moments,
}

/// One epoch's part: its units, effect and weight.
struct Part {
    a: f64,
    b: f64,
    effect: f64,
    weight: f64,
}

fn part(epoch: &Epoch) -> Option<Part> {
    let (a, b) = (count(epoch.a.n()), count(epoch.b.n()));
    Some(Part {
        a,
        b,
        effect: epoch.b.mean()? - epoch.a.mean()?,
        weight: a * b / (a + b),
    })
}

/// The mean of the epochs' differences, weighted by `h = nA nB / (nA + nB)`, with the variance within
/// epochs (stats.md 5, `stratified` of the reference): the larger of Welch's and the pooled one. An epoch
/// in which an arm has nobody has no part. `TooFewUnits` where no epoch has both arms, or an arm never
/// has more than one user in an epoch.
pub fn stratified(epochs: &[Epoch]) -> Result<Estimate, Undefined> {
    let (mut scatter_a, mut scatter_b, mut rest_a, mut rest_b) = (0.0, 0.0, 0.0, 0.0);
    let mut parts = Vec::with_capacity(epochs.len());
    for epoch in epochs {
        let Some(part) = part(epoch) else { continue };
        scatter_a += epoch.a.scatter().unwrap_or(0.0);
        scatter_b += epoch.b.scatter().unwrap_or(0.0);
        rest_a += part.a - 1.0;
        rest_b += part.b - 1.0;
        parts.push(part);
    }
    if rest_a < 1.0 || rest_b < 1.0 {
        return Err(Undefined::TooFewUnits);
    }
    let (of_a, of_b) = (scatter_a / rest_a, scatter_b / rest_b);
    let of_both = (scatter_a + scatter_b) / (rest_a + rest_b);
    let over = |term: fn(&Part) -> f64| parts.iter().map(term).sum::<f64>();
    let weight = over(|part| part.weight);
    let effect = over(|part| part.weight * part.effect) / weight;
    let by_a = over(|part| part.weight * part.weight / part.a) / (weight * weight);
    let by_b = over(|part| part.weight * part.weight / part.b) / (weight * weight);
    larger_error(effect, of_a * by_a + of_b * by_b, of_both * (by_a + by_b))
}

#[cfg(test)]
mod tests {
    use libm::sqrt;

    use super::*;
    use crate::{Factor, difference_of_means};

    fn moments(n: u64, sum: f64, squares: f64) -> Moments {
        Moments::new(n, sum, squares).unwrap()
    }

    #[test]
    fn one_epoch_is_the_difference_of_its_means() {
        let (a, b) = (moments(1000, 2300.0, 6400.0), moments(900, 2350.0, 6700.0));
        let one = stratified(&[Epoch { a, b }]).unwrap();
        let plain = difference_of_means(a.arm().unwrap(), b.arm().unwrap(), Factor::PLAIN).unwrap();
        assert!((one.effect() - plain.effect()).abs() < 1e-12);
        assert!((one.error() / plain.error() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_trend_in_time_is_no_effect() {
        // Both arms are 1 in the first epoch and 3 in the second; the candidate has 5 %, then 50 %.
        let epochs = [
            Epoch {
                a: moments(950, 950.0, 1900.0),
                b: moments(50, 50.0, 100.0),
            },
            Epoch {
                a: moments(500, 1500.0, 5000.0),
                b: moments(500, 1500.0, 5000.0),
            },
        ];
        assert!(stratified(&epochs).unwrap().effect().abs() < 1e-12);
    }

    #[test]
    fn epochs_without_one_of_the_arms_have_no_part() {
        let empty = Moments::default();
        let some = moments(10, 5.0, 9.0);
        for epochs in [
            vec![],
            vec![Epoch { a: empty, b: some }],
            vec![Epoch {
                a: some,
                b: moments(1, 1.0, 1.0),
            }],
        ] {
            assert_eq!(stratified(&epochs), Err(Undefined::TooFewUnits));
        }
        let whole = Epoch { a: some, b: some };
        let with = stratified(&[whole, Epoch { a: empty, b: some }]);
        assert_eq!(with, stratified(&[whole]));
    }

    #[test]
    fn the_error_is_a_standard_error() {
        let whole = Epoch {
            a: moments(10, 5.0, 9.0),
            b: moments(10, 5.0, 9.0),
        };
        let (one, two) = (
            stratified(&[whole]).unwrap(),
            stratified(&[whole, whole]).unwrap(),
        );
        assert!((one.error() / two.error() - sqrt(2.0)).abs() < 1e-12);
    }
}
