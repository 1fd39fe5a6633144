//! How two models differ on the same pairs: pure functions of their scores.

use inference_scoring::evaluation::ScoredPair;
use serde::Serialize;

/// The standard normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// How one model differs from the one that it is held against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// Its accuracy less the other's, by the weights of the pairs as both are.
    pub(super) accuracy_difference: f64,
    /// The 95 % interval of the difference: normal, over the differences of pairs.
    pub(super) interval: [f64; 2],
    /// Spearman's rank correlation of the scores of all answers; none where one side is constant.
    pub(super) rank_correlation: Option<f64>,
    /// Pairs that the two order the other way round.
    pub(super) preference_flips: usize,
    /// Mean of its scores less the other's.
    pub(super) score_shift: f64,
}

/// How `own` differs from `other`, which scored the same pairs.
pub(super) fn of(own: &[ScoredPair], other: &[ScoredPair]) -> Comparison {
    let differences: Vec<(f64, f64)> = own
        .iter()
        .zip(other)
        .map(|(a, b)| (win(a) - win(b), a.weight))
        .collect();
    let (difference, half) = weighted(&differences);
    let flips = own
        .iter()
        .zip(other)
        .filter(|(a, b)| (win(a) - win(b)).abs() > 0.75);
    let (own_scores, other_scores) = (answers(own), answers(other));
    let shifts: Vec<f64> = own_scores
        .iter()
        .zip(&other_scores)
        .map(|(a, b)| a - b)
        .collect();
    Comparison {
        accuracy_difference: difference,
        interval: [difference - half, difference + half],
        rank_correlation: correlation(&ranks(&own_scores), &ranks(&other_scores)),
        preference_flips: flips.count(),
        score_shift: mean(&shifts),
    }
}

fn win(pair: &ScoredPair) -> f64 {
    if pair.chosen > pair.rejected {
        1.0
    } else if pair.chosen < pair.rejected {
        0.0
    } else {
        0.5
    }
}

/// The scores of all answers.
pub(super) fn answers(pairs: &[ScoredPair]) -> Vec<f64> {
    pairs
        .iter()
        .flat_map(|pair| [f64::from(pair.chosen), f64::from(pair.rejected)])
        .collect()
}

/// The mean of values with weights, and half the width of its interval: over as many values as the
/// weights leave, as in the interval of an accuracy.
fn weighted(values: &[(f64, f64)]) -> (f64, f64) {
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        values
            .iter()
            .map(|(value, weight)| of(*value, *weight))
            .sum()
    };
    let all = sum(&|_, weight| weight);
    if all <= 0.0 {
        return (0.0, 0.0);
    }
    let n = all * all / sum(&|_, weight| weight * weight);
    let mean = sum(&|value, weight| weight * value) / all;
    let variance = sum(&|value, weight| weight * (value - mean).powi(2)) / all;
    let deviation = (variance * n / (n - 1.0).max(1.0)).sqrt();
    (mean, Z * deviation / n.sqrt())
}

/// Their mean; 0 of none.
pub(super) fn mean(values: &[f64]) -> f64 {
    let ones: Vec<(f64, f64)> = values.iter().map(|value| (*value, 1.0)).collect();
    weighted(&ones).0
}

/// Ranks from 1, ties with the mean of theirs.
#[expect(clippy::cast_precision_loss, reason = "ranks are far below 2^52")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    for tie in order.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
        let rank = begin as f64 + f64::midpoint(tie.len() as f64, 1.0);
        for (place, _) in tie {
            if let Some(slot) = ranks.get_mut(*place) {
                *slot = rank;
            }
        }
        begin += tie.len();
    }
    ranks
}

/// Pearson's correlation.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - mean_a) * (y - mean_b);
        aa += (x - mean_a).powi(2);
        bb += (y - mean_b).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(scores: &[(f32, f32)]) -> Vec<ScoredPair> {
        let pair = |&(chosen, rejected): &(f32, f32)| ScoredPair {
            chosen,
            rejected,
            weight: 1.0,
            category: None,
        };
        scores.iter().map(pair).collect()
    }

    #[test]
    fn a_model_that_is_only_shifted_ranks_the_same() {
        let one = pairs(&[(1.0, 0.0), (2.0, -1.0), (0.5, 0.75)]);
        let shifted = pairs(&[(11.0, 10.0), (12.0, 9.0), (10.5, 10.75)]);
        let found = of(&shifted, &one);
        assert_eq!(found.rank_correlation, Some(1.0));
        assert_eq!(found.preference_flips, 0);
        assert!((found.score_shift - 10.0).abs() < 1e-12);
        assert!(found.accuracy_difference.abs() < 1e-12);
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn a_difference_comes_with_an_interval() {
        // scipy.stats.norm over d = [1, 0, 0, -1, 1, 1]: mean 1/3, sd 0.81650
        let own = pairs(&[
            (1.0, 0.0),
            (1.0, 0.0),
            (0.0, 1.0),
            (0.0, 1.0),
            (1.0, 0.0),
            (1.0, 0.0),
        ]);
        let other = pairs(&[
            (0.0, 1.0),
            (1.0, 0.0),
            (0.0, 1.0),
            (1.0, 0.0),
            (0.0, 1.0),
            (0.0, 1.0),
        ]);
        let found = of(&own, &other);
        assert!((found.accuracy_difference - 1.0 / 3.0).abs() < 1e-12);
        assert!((found.interval[1] - (1.0 / 3.0 + Z * 0.816_496_58 / 6.0_f64.sqrt())).abs() < 1e-6);
        assert_eq!(found.preference_flips, 4);
    }

    #[test]
    fn a_difference_counts_pairs_by_their_weights() {
        let weigh = |mut pairs: Vec<ScoredPair>, weights: &[f64]| {
            for (pair, weight) in pairs.iter_mut().zip(weights) {
                pair.weight = *weight;
            }
            pairs
        };
        let weights = [3.0, 1.0];
        let own = weigh(pairs(&[(1.0, 0.0), (0.0, 1.0)]), &weights);
        let other = weigh(pairs(&[(0.0, 1.0), (0.0, 1.0)]), &weights);
        let found = of(&own, &other);
        assert!((found.accuracy_difference - 0.75).abs() < 1e-12);
        // Of n = 16/10 values: sqrt(0.1875 * 1.6 / 1) / sqrt(1.6)
        let half = Z * 0.1875_f64.sqrt();
        assert!(
            (found.interval[1] - (0.75 + half)).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn a_constant_model_has_no_correlation() {
        let constant = pairs(&[(1.0, 1.0), (1.0, 1.0)]);
        assert_eq!(
            of(&constant, &pairs(&[(1.0, 0.0), (2.0, 3.0)])).rank_correlation,
            None
        );
    }
}
