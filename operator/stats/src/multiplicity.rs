//! Many tests at once, beside the budget.
//!
//! Owns the corrections for diagnostics that decide nothing: Holm (some false rejection), e-BH (the part
//! of false rejections, whatever depends on what) and e-LOND (over experiments, one after the other).

use libm::log;

use crate::level::Alpha;
use crate::special::count;

/// Holm's adjusted p-values, in the order given. `None` where one is not between 0 and 1.
pub fn holm(p_values: &[f64]) -> Option<Vec<f64>> {
    if !p_values.iter().all(|p| (0.0..=1.0).contains(p)) {
        return None;
    }
    let mut order: Vec<(usize, f64)> = p_values.iter().copied().enumerate().collect();
    order.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut left = count(p_values.len() as u64);
    let mut most: f64 = 0.0;
    let mut adjusted: Vec<(usize, f64)> = Vec::with_capacity(order.len());
    for (index, p) in order {
        most = most.max((left * p).min(1.0));
        left -= 1.0;
        adjusted.push((index, most));
    }
    adjusted.sort_by_key(|(index, _)| *index);
    Some(adjusted.into_iter().map(|(_, p)| p).collect())
}

/// The indices that e-BH rejects at this rate of false discoveries, ascending (Wang and Ramdas 2022).
/// Evidence is natural logarithms. `None` where one is NaN.
pub fn e_bh(ln_es: &[f64], alpha: Alpha) -> Option<Vec<usize>> {
    if ln_es.iter().any(|ln_e| ln_e.is_nan()) {
        return None;
    }
    let all = count(ln_es.len() as u64);
    let mut order: Vec<(usize, f64)> = ln_es.iter().copied().enumerate().collect();
    order.sort_by(|one, other| other.1.total_cmp(&one.1));
    let ranked = (1_u64..).zip(&order);
    let enough = |rank: u64, ln_e: f64| ln_e >= log(all / (alpha.get() * count(rank)));
    let last = ranked
        .filter(|(rank, (_, ln_e))| enough(*rank, *ln_e))
        .last();
    let rejected = last.map_or(0, |(rank, _)| rank);
    let first = order.iter().zip(0..rejected);
    let mut indices: Vec<usize> = first.map(|((index, _), _)| *index).collect();
    indices.sort_unstable();
    Some(indices)
}

/// The level of experiment `number` (from 1), after `rejected` of those before it (e-LOND, Xu and Ramdas
/// 2024): `alpha 6 / (pi^2 t^2) (rejected + 1)`, at most alpha. `None` for number 0.
pub fn e_lond(alpha: Alpha, number: u64, rejected: u64) -> Option<Alpha> {
    let t = count(number);
    let part = 6.0 / (std::f64::consts::PI * std::f64::consts::PI * t * t);
    (number > 0)
        .then(|| (part * (count(rejected) + 1.0)).min(1.0))
        .and_then(|part| alpha.part(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_p_value_is_refused() {
        for bad in [-0.1, 1.1, f64::NAN] {
            assert_eq!(holm(&[0.1, bad]), None);
        }
        assert_eq!(holm(&[]), Some(vec![]));
    }

    #[test]
    fn adjusted_values_are_no_smaller_and_keep_their_order() {
        let adjusted = holm(&[0.04, 0.01, 0.03]).unwrap();
        for (got, want) in adjusted.iter().zip([0.06, 0.03, 0.06]) {
            assert!((got - want).abs() < 1e-12, "{adjusted:?}");
        }
    }

    #[test]
    fn evidence_that_is_no_number_rejects_nothing() {
        let alpha = Alpha::new(0.05).unwrap();
        assert_eq!(e_bh(&[9.0, f64::NAN], alpha), None);
        assert_eq!(e_bh(&[], alpha), Some(vec![]));
        assert_eq!(
            e_bh(&[f64::INFINITY, f64::NEG_INFINITY], alpha),
            Some(vec![0])
        );
        // One of two needs ln(2/0.05) = 3.69; both together ln(1/0.05) = 3.00 each.
        assert_eq!(e_bh(&[3.5, 0.0], alpha), Some(vec![]));
        assert_eq!(e_bh(&[3.5, 3.1], alpha), Some(vec![0, 1]));
    }

    #[test]
    fn the_levels_of_experiments_sum_to_alpha_while_none_is_rejected() {
        let alpha = Alpha::new(0.05).unwrap();
        let sum: f64 = (1..10_000)
            .map(|t| e_lond(alpha, t, 0).unwrap().get())
            .sum();
        assert!(sum < 0.05 && sum > 0.049, "{sum}");
        assert_eq!(e_lond(alpha, 0, 0), None);
        assert_eq!(e_lond(alpha, 1, 1_000_000).unwrap(), alpha);
    }
}
