//! The tail of the normal distribution, in logarithms.
//!
//! Owns its numerics, and must not know what they are used for. Full relative accuracy however far out:
//! of two large terms that cancel, neither is ever formed.

use libm::{erfc, exp, log, log1p};

use crate::special::LN_2_PI;

/// From here on the asymptotic series of Mills' ratio is exact to the last bit.
const SERIES_FROM: f64 = 20.0;

/// `x^2/2 + ln Phi(-x)` for x >= 0: the logarithm of Mills' ratio, but for a constant. Falls from
/// `-ln 2` at 0 as slowly as `-ln x`.
pub(crate) fn ln_mills(x: f64) -> f64 {
    if x < SERIES_FROM {
        return 0.5 * x * x + log(0.5 * erfc(x * std::f64::consts::FRAC_1_SQRT_2));
    }
    let w = 1.0 / (x * x);
    // 1 - w (1 - 3w (1 - 5w (...))), from the inside out.
    let series = [11.0, 9.0, 7.0, 5.0, 3.0, 1.0]
        .iter()
        .fold(1.0, |inner, odd| 1.0 - odd * w * inner);
    -log(x) - 0.5 * LN_2_PI + log(series)
}

/// `ln Phi(z)`.
pub(crate) fn log_ndtr(z: f64) -> f64 {
    if z > 0.0 {
        log1p(-0.5 * erfc(z * std::f64::consts::FRAC_1_SQRT_2))
    } else {
        ln_mills(-z) - 0.5 * z * z
    }
}

/// The density at z of a normal distribution with standard deviation 1, times sqrt(2 pi).
pub(crate) fn bell(z: f64) -> f64 {
    exp(-0.5 * z * z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_begins_where_the_formula_ends() {
        let (formula, series) = (ln_mills(19.999_999_999), ln_mills(20.0));
        assert!((formula - series).abs() < 1e-9, "{formula} {series}");
    }

    #[test]
    fn both_tails_are_one_together() {
        for z in [0.0, 0.1, 1.0, 3.0, 6.0] {
            let sum = exp(log_ndtr(z)) + exp(log_ndtr(-z));
            assert!((sum - 1.0).abs() < 1e-15, "{z}: {sum}");
        }
    }

    #[test]
    fn far_out_the_tail_is_finite() {
        // ln Phi(-40) = -804.608442 (tables of the normal tail).
        assert!((log_ndtr(-40.0) + 804.608_442_013_754).abs() < 1e-9);
        assert!(ln_mills(1e120).is_finite());
    }
}
