//! The functions that evidence over counts is made of.
//!
//! Owns their numerics: each works where the textbook's formula would subtract two large numbers. It
//! must not know what they are used for. Accurate to a relative 6e-13 at a billion counts, where a
//! difference of log-gammas is off by 2e-6.

use libm::{erfc, exp, expm1, log, log1p, sqrt};

/// ln(2 pi).
pub(crate) const LN_2_PI: f64 = 1.837_877_066_409_345_3;
/// Below it the series of [`stirling_delta`] is not accurate enough.
const STIRLING_FROM: f64 = 15.0;
/// What stands for 0 in a continued fraction (Lentz).
const TINY: f64 = 1e-300;
/// From here on the incomplete gamma function is approximated: to 1e-10, in no time.
const GAMMA_LARGE: f64 = 1e10;
/// Steps of a continued fraction: far more than any needs.
const STEPS: u32 = 2_000_000;

/// ln(1 - e^x) for x <= 0.
pub(crate) fn log1mexp(x: f64) -> f64 {
    if x == 0.0 {
        f64::NEG_INFINITY
    } else if x > -std::f64::consts::LN_2 {
        log(-expm1(x))
    } else {
        log1p(-exp(x))
    }
}

/// What Stirling's formula leaves of ln Gamma(x): `ln Gamma(x) - [(x-1/2) ln x - x + ln(2 pi)/2]`, for
/// x > 0. Small arguments are shifted up, so that no log-gamma is needed.
pub(crate) fn stirling_delta(x: f64) -> f64 {
    if x < STIRLING_FROM {
        let (mut product, mut y) = (1.0, x);
        while y < STIRLING_FROM {
            product *= y;
            y += 1.0;
        }
        return stirling_series(y) + (y - 0.5) * log(y)
            - (x - 0.5) * log(x)
            - (y - x)
            - log(product);
    }
    stirling_series(x)
}

fn stirling_series(x: f64) -> f64 {
    const TERMS: [f64; 6] = [
        1.0 / 12.0,
        1.0 / 360.0,
        1.0 / 1260.0,
        1.0 / 1680.0,
        1.0 / 1188.0,
        691.0 / 360_360.0,
    ];
    let r = 1.0 / (x * x);
    // 1/12 - r (1/360 - r (1/1260 - ...)), from the inside out.
    let sum = TERMS.iter().rev().fold(0.0, |inner, term| term - r * inner);
    sum / x
}

/// `x ln(x/m) + m - x` without cancellation, for x >= 0 and m > 0 (Loader 2000, "Fast and accurate
/// computation of binomial probabilities").
pub(crate) fn bd0(x: f64, m: f64) -> f64 {
    if x == 0.0 {
        return m;
    }
    let off = x - m;
    if off.abs() >= 0.1 * (x + m) {
        return x * log(x / m) + m - x;
    }
    let ratio = off / (x + m);
    let (mut sum, mut term, mut odd) = (off * ratio, 2.0 * x * ratio, 1.0);
    for _ in 0..1000 {
        term *= ratio * ratio;
        odd += 2.0;
        let next = sum + term / odd;
        if next.to_bits() == sum.to_bits() {
            break;
        }
        sum = next;
    }
    sum
}

/// `ln [Beta(a, b) / (t^a (1-t)^b)]`: the only place where large gammas meet. Every beta-binomial
/// e-value is a difference of two of these.
pub(crate) fn log_m(a: f64, b: f64, t: f64) -> f64 {
    log_m_of(&[(a, t), (b, 1.0 - t)])
}

/// The same of more than two parts, each a concentration and its share: of Dirichlet-multinomials.
pub(crate) fn log_m_of(parts: &[(f64, f64)]) -> f64 {
    let n: f64 = parts.iter().map(|(alpha, _)| alpha).sum();
    let rest = count(parts.len().saturating_sub(1) as u64);
    let start = 0.5 * rest * LN_2_PI + 0.5 * log(n) - stirling_delta(n);
    parts.iter().fold(start, |sum, &(alpha, share)| {
        sum - 0.5 * log(alpha) + stirling_delta(alpha) + bd0(alpha, n * share)
    })
}

/// `(ln I_x(a, b), ln(1 - I_x(a, b)))`, the tails of the regularised incomplete beta function, for
/// 0 < x < 1.
pub(crate) fn log_beta_tails(a: f64, b: f64, x: f64) -> (f64, f64) {
    let m = log_m(a, b, x);
    if x < (a + 1.0) / (a + b + 2.0) {
        let lower = (-m - log(a) + log(beta_fraction(a, b, x))).min(0.0);
        (lower, log1mexp(lower))
    } else {
        let upper = (-m - log(b) + log(beta_fraction(b, a, 1.0 - x))).min(0.0);
        (log1mexp(upper), upper)
    }
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let not_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (sum, above, below) = (a + b, a + 1.0, a - 1.0);
    let mut above_ratio = 1.0;
    let mut below_ratio = 1.0 / not_zero(1.0 - sum * x / above);
    let mut value = below_ratio;
    for step in 1..STEPS {
        let m = f64::from(step);
        let m2 = 2.0 * m;
        let even = m * (b - m) * x / ((below + m2) * (a + m2));
        below_ratio = 1.0 / not_zero(1.0 + even * below_ratio);
        above_ratio = not_zero(1.0 + even / above_ratio);
        value *= below_ratio * above_ratio;
        let odd = -(a + m) * (sum + m) * x / ((a + m2) * (above + m2));
        below_ratio = 1.0 / not_zero(1.0 + odd * below_ratio);
        above_ratio = not_zero(1.0 + odd / above_ratio);
        let change = below_ratio * above_ratio;
        value *= change;
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// `ln P(a, x)`, the regularised lower incomplete gamma function, for a > 0 and x > 0: the series below
/// a + 1, the continued fraction (Lentz) above. Either needs about `sqrt(a)` steps where x is near a, and
/// fails where 1 is lost beside a; from [`GAMMA_LARGE`] on the normal approximation is as good.
pub(crate) fn log_gamma_p(a: f64, x: f64) -> f64 {
    if a > GAMMA_LARGE {
        return log_gamma_p_large(a, x);
    }
    // ln [x^a e^-x / Gamma(a + 1)]
    let front = -bd0(a, x) - 0.5 * (LN_2_PI + log(a)) - stirling_delta(a);
    if x < a + 1.0 {
        (front + log(gamma_series(a, x))).min(0.0)
    } else {
        log1mexp((front + log(a) + log(gamma_fraction(a, x))).min(0.0))
    }
}

/// The uniform expansion of Temme (1979) with its first correction, which is a third of the density where
/// x is near a. The next is smaller by `1/sqrt(a)`.
fn log_gamma_p_large(a: f64, x: f64) -> f64 {
    let distance = bd0(a, x);
    let tail = 0.5 * erfc(sqrt(distance));
    let correction = exp(-distance - 0.5 * (LN_2_PI + log(a))) / 3.0;
    if x >= a {
        log1p(-(tail - correction).max(0.0))
    } else {
        log(tail + correction)
    }
}

fn gamma_series(a: f64, x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for step in 1..STEPS {
        term *= x / (a + f64::from(step));
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}

fn gamma_fraction(a: f64, x: f64) -> f64 {
    let not_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut odd = x + 1.0 - a;
    let mut above_ratio = 1.0 / TINY;
    let mut below_ratio = 1.0 / odd;
    let mut value = below_ratio;
    for step in 1..STEPS {
        let i = f64::from(step);
        let part = -i * (i - a);
        odd += 2.0;
        below_ratio = 1.0 / not_zero(part * below_ratio + odd);
        above_ratio = not_zero(odd + part / above_ratio);
        let change = below_ratio * above_ratio;
        value *= change;
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// A count as a number: exact below 2^53, which is more than is ever counted; rounded above.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53, up to which every one is exact"
)]
pub(crate) const fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remainder_of_stirling_is_continuous_where_it_is_shifted() {
        let (below, above) = (stirling_delta(14.999_999_999), stirling_delta(15.0));
        assert!((below - above).abs() < 1e-11, "{below} {above}");
    }

    #[test]
    fn a_deviance_is_continuous_where_its_series_begins() {
        // |x - m| = 0.1 (x + m) at x = 11, m = 9.
        let (series, formula) = (bd0(10.999_999_99, 9.0), bd0(11.000_000_01, 9.0));
        assert!((series - formula).abs() < 1e-8, "{series} {formula}");
        assert_eq!(bd0(0.0, 3.0).to_bits(), 3.0_f64.to_bits());
    }

    #[test]
    fn the_gamma_function_is_continuous_where_it_is_approximated() {
        for off in [-3.0, -0.5, 0.0, 0.5, 3.0] {
            let (a, x) = (GAMMA_LARGE, GAMMA_LARGE + off * sqrt(GAMMA_LARGE));
            let (exact, large) = (log_gamma_p(a, x), log_gamma_p_large(a, x));
            assert!(
                (exact - large).abs() < 1e-9 * exact.abs().max(0.1),
                "{off}: {exact} {large}"
            );
        }
        for a in [1e17, 1e120] {
            assert!((log_gamma_p(a, a) - log(0.5)).abs() < 1e-6, "{a}");
        }
    }

    #[test]
    fn a_gamma_of_one_is_the_exponential_distribution() {
        for x in [0.01, 0.5, 1.9, 2.1, 30.0] {
            let want = log(-expm1(-x));
            assert!(
                (log_gamma_p(1.0, x) - want).abs() <= 1e-12 * want.abs().max(1e-3),
                "{x}"
            );
        }
    }

    #[test]
    fn one_less_the_whole_is_nothing() {
        assert_eq!(log1mexp(0.0).to_bits(), f64::NEG_INFINITY.to_bits());
        assert!((log1mexp(-1e-20) - log(1e-20)).abs() < 1e-12);
        assert!((log1mexp(-50.0) + exp(-50.0)).abs() < 1e-30);
    }
}
