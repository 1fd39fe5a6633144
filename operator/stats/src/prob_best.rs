//! The probability that a variant is the best, for display.
//!
//! Owns the integral over independent normal posteriors. Descriptive only: looked at again and again it
//! is outside any band sooner or later (stats.md 2.3), and nothing is decided on it.

use libm::{exp, sqrt};

use crate::estimate::{Estimate, Undefined};
use crate::normal::{bell, log_ndtr};

/// Steps of the trapezoid, from -10 to 10 standard errors.
const STEPS: u32 = 4000;
/// How far out the integral goes.
const REACH: f64 = 10.0;

/// For each variant the probability that its mean is the largest (`prob_best` of the reference). Means
/// are independent, better is larger. Accurate to 1e-7 while errors differ by less than a hundredfold.
/// `NoVariance` where one has no error.
pub fn prob_best(variants: &[Estimate]) -> Result<Vec<f64>, Undefined> {
    for variant in variants {
        variant.spread()?;
    }
    let each = variants.iter().enumerate();
    Ok(each
        .map(|(index, variant)| of(index, *variant, variants))
        .collect())
}

fn of(index: usize, variant: Estimate, variants: &[Estimate]) -> f64 {
    let step = 2.0 * REACH / f64::from(STEPS);
    let rivals = || {
        let all = variants.iter().enumerate();
        all.filter(|(other, _)| *other != index)
            .map(|(_, rival)| rival)
    };
    let beaten = |x: f64| -> f64 {
        rivals()
            .map(|rival| log_ndtr((x - rival.effect()) / rival.error()))
            .sum()
    };
    let at = |node: u32| {
        let z = f64::from(node) * step - REACH;
        let end = if node == 0 || node == STEPS { 0.5 } else { 1.0 };
        end * bell(z) * exp(beaten(variant.effect() + variant.error() * z))
    };
    let sum: f64 = (0..=STEPS).map(at).sum();
    (sum * step / sqrt(2.0 * std::f64::consts::PI)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_one_is_the_best_and_none_is_of_none() {
        let one = Estimate::new(1.0, 0.1).unwrap();
        assert!((prob_best(&[one]).unwrap()[0] - 1.0).abs() < 1e-9);
        assert_eq!(prob_best(&[]), Ok(vec![]));
        let constant = Estimate::new(1.0, 0.0).unwrap();
        assert_eq!(prob_best(&[one, constant]), Err(Undefined::NoVariance));
    }

    #[test]
    fn of_two_it_is_the_tail_of_their_difference() {
        let pair = [
            Estimate::new(0.0, 0.3).unwrap(),
            Estimate::new(0.5, 0.4).unwrap(),
        ];
        let got = prob_best(&pair).unwrap();
        assert!((got[1] - exp(log_ndtr(1.0))).abs() < 1e-9, "{got:?}");
    }
}
