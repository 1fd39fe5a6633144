//! How good a model's preferences are: pure functions from the scores of pairs.
//!
//! Owns accuracy and its interval, calibration and its error. It must not know where scores come
//! from. Invariant: what is undefined is `None`, never NaN.

use std::collections::BTreeMap;

use crate::Calibration;

/// The standard normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;
/// Bins of the calibration error.
const BINS: usize = 15;
/// Weight of the prior that keeps the scale of separable data finite: as much as about one pair.
const PRIOR: f64 = 1.0;
/// More steps than Newton's method ever takes on a concave function of one variable.
const NEWTON_STEPS: usize = 100;

/// The scores of a preferred answer and of one that was not.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPair {
    /// Raw score of the preferred answer.
    pub chosen: f32,
    /// Raw score of the other.
    pub rejected: f32,
    /// How much it counts.
    pub weight: f64,
    /// What it is reported under.
    pub category: Option<String>,
}

impl ScoredPair {
    fn margin(&self) -> f64 {
        f64::from(self.chosen) - f64::from(self.rejected)
    }
}

/// How good the preferences are.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// All pairs.
    pub all: Tally,
    /// Mean squared error of the calibrated preference.
    pub brier: Option<f64>,
    /// Expected calibration error.
    pub calibration_error: Option<f64>,
    /// The pairs of each category.
    pub by_category: BTreeMap<String, Tally>,
}

/// Wins, ties and losses, and their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Pairs whose preferred answer scored higher.
    pub wins: usize,
    /// Pairs whose answers scored the same.
    pub ties: usize,
    /// Pairs whose preferred answer scored lower.
    pub losses: usize,
    won: f64,
    tied: f64,
    lost: f64,
    squares: f64,
}

impl Tally {
    fn add(&mut self, pair: &ScoredPair) {
        let margin = pair.margin();
        let (count, weight) = if margin > 0.0 {
            (&mut self.wins, &mut self.won)
        } else if margin < 0.0 {
            (&mut self.losses, &mut self.lost)
        } else {
            (&mut self.ties, &mut self.tied)
        };
        *count += 1;
        *weight += pair.weight;
        self.squares += pair.weight * pair.weight;
    }

    /// Pairs.
    pub const fn pairs(&self) -> usize {
        self.wins + self.ties + self.losses
    }

    fn total(&self) -> f64 {
        self.won + self.tied + self.lost
    }

    /// Share of wins, where a tie is half of one.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.won + self.tied / 2.0, self.total())
    }

    /// Wins among wins and losses.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.won, self.won + self.lost)
    }

    /// Wins among all pairs.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.won, self.total())
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> Option<f64> {
        let (precision, recall) = (self.precision()?, self.recall()?);
        ratio(2.0 * precision * recall, precision + recall)
    }

    /// The 95 % interval of the accuracy (Wilson); weights count as the pairs that they are worth.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let effective = ratio(self.total() * self.total(), self.squares)?;
        Some(wilson(self.accuracy()?, effective))
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Wilson's 95 % interval of a share `p` of `n`.
pub fn wilson(p: f64, n: f64) -> [f64; 2] {
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Evaluates scored pairs.
pub fn evaluate(pairs: &[ScoredPair], calibration: Option<Calibration>) -> Evaluation {
    let mut all = Tally::default();
    let mut by_category: BTreeMap<String, Tally> = BTreeMap::new();
    for pair in pairs {
        all.add(pair);
        if let Some(category) = &pair.category {
            by_category.entry(category.clone()).or_default().add(pair);
        }
    }
    Evaluation {
        all,
        brier: calibration.and_then(|c| brier(pairs, c.scale())),
        calibration_error: calibration.and_then(|c| calibration_error(pairs, c.scale())),
        by_category,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Weighted mean of `(1 - sigmoid(scale * margin))^2`.
fn brier(pairs: &[ScoredPair], scale: f64) -> Option<f64> {
    let loss = |pair: &ScoredPair| pair.weight * sigmoid(-scale * pair.margin()).powi(2);
    ratio(
        pairs.iter().map(loss).sum(),
        pairs.iter().map(|pair| pair.weight).sum(),
    )
}

/// Weighted mean over equal bins of how sure the model was of its preference, of the distance
/// between how sure it was and how often it was right.
fn calibration_error(pairs: &[ScoredPair], scale: f64) -> Option<f64> {
    #[derive(Clone, Copy, Default)]
    struct Bin {
        weight: f64,
        sure: f64,
        right: f64,
    }
    let mut bins = [Bin::default(); BINS];
    for pair in pairs {
        let margin = pair.margin();
        let sure = sigmoid((scale * margin).abs());
        let right = if margin > 0.0 {
            1.0
        } else if margin < 0.0 {
            0.0
        } else {
            0.5
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of 15 bins"
        )]
        let index = ((sure * BINS as f64) as usize).min(BINS - 1);
        if let Some(bin) = bins.get_mut(index) {
            bin.weight += pair.weight;
            bin.sure += pair.weight * sure;
            bin.right += pair.weight * right;
        }
    }
    let gap: f64 = bins.iter().map(|bin| (bin.sure - bin.right).abs()).sum();
    ratio(gap, bins.iter().map(|bin| bin.weight).sum())
}

/// Why there is no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// There is nothing to learn from.
    #[error("all pairs tie, or there are none: calibrate with pairs that the model tells apart")]
    NoMargins,
    /// The best scale is not above 0.
    #[error("the model prefers the rejected answers: it cannot be calibrated on these pairs")]
    Reversed,
}

/// The calibration under which these pairs are most probable: `scale` maximises the regularised
/// likelihood of the preferences, `shift` is the median of all scores.
///
/// # Errors
/// See [`FitError`].
pub fn fit(pairs: &[ScoredPair]) -> Result<Calibration, FitError> {
    let finite = |pair: &&ScoredPair| pair.margin().is_finite();
    let pairs: Vec<_> = pairs.iter().filter(finite).collect();
    let weights: f64 = pairs.iter().map(|pair| pair.weight).sum();
    let squares: f64 = pairs
        .iter()
        .map(|pair| pair.weight * pair.margin() * pair.margin())
        .sum();
    // In units of the typical margin the prior means the same for every model.
    let unit = ratio(squares, weights)
        .map(f64::sqrt)
        .filter(|unit| *unit > 0.0)
        .ok_or(FitError::NoMargins)?;
    let terms: Vec<_> = pairs
        .iter()
        .map(|pair| (pair.weight, pair.margin() / unit))
        .collect();
    let scale = newton(&terms) / unit;
    let shift = median(pairs.iter().flat_map(|pair| [pair.chosen, pair.rejected]));
    Calibration::new(scale, shift.ok_or(FitError::NoMargins)?).ok_or(FitError::Reversed)
}

/// The maximum of `sum w log sigmoid(b u) - PRIOR / 2 b^2`, which is strictly concave in `b`.
fn newton(terms: &[(f64, f64)]) -> f64 {
    let objective = |b: f64| -> f64 {
        let likelihood: f64 = terms.iter().map(|(w, u)| -w * softplus(-b * u)).sum();
        likelihood - PRIOR / 2.0 * b * b
    };
    let mut b = 0.0;
    for _ in 0..NEWTON_STEPS {
        let (mut gradient, mut curvature) = (-PRIOR * b, PRIOR);
        for (w, u) in terms {
            let p = sigmoid(-b * u);
            gradient += w * u * p;
            curvature += w * u * u * p * (1.0 - p);
        }
        let mut step = gradient / curvature;
        // Far from the maximum a full step may overshoot.
        while objective(b + step) < objective(b) && step.abs() > f64::EPSILON {
            step /= 2.0;
        }
        b += step;
        if step.abs() <= 1e-12 * (1.0 + b.abs()) {
            break;
        }
    }
    b
}

/// `log(1 + exp(x))` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn median(scores: impl Iterator<Item = f32>) -> Option<f64> {
    let mut scores: Vec<f64> = scores.map(f64::from).collect();
    scores.sort_by(f64::total_cmp);
    let upper = *scores.get(scores.len() / 2)?;
    let lower = *scores.get((scores.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers of the tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(chosen: f32, rejected: f32) -> ScoredPair {
        ScoredPair {
            chosen,
            rejected,
            weight: 1.0,
            category: None,
        }
    }

    /// Uniform numbers in (0, 1), the same in every run.
    fn uniform(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-18
        }
    }

    /// Pairs whose better answer is preferred as often as a model of this scale says.
    fn synthetic(scale: f64, shift: f64, count: usize) -> Vec<ScoredPair> {
        let mut next = uniform(7);
        (0..count)
            .map(|_| {
                let (a, b) = (shift + 4.0 * (next() - 0.5), shift + 4.0 * (next() - 0.5));
                let preferred = next() < sigmoid(scale * (a - b));
                let (chosen, rejected) = if preferred { (a, b) } else { (b, a) };
                pair(chosen as f32, rejected as f32)
            })
            .collect()
    }

    #[test]
    fn a_known_scale_is_recovered_from_synthetic_pairs() {
        for (scale, shift) in [(0.5, -3.0), (1.0, 0.0), (3.0, 10.0)] {
            let found = fit(&synthetic(scale, shift, 20_000)).unwrap();
            assert!(
                (found.scale() / scale - 1.0).abs() < 0.05,
                "{scale}: {found:?}"
            );
            assert!((found.shift() - shift).abs() < 0.1, "{shift}: {found:?}");
        }
    }

    #[test]
    fn a_calibrated_model_has_a_small_calibration_error_and_an_overconfident_one_a_large() {
        let pairs = synthetic(1.0, 0.0, 20_000);
        let error = |scale| {
            let calibration = Calibration::new(scale, 0.0).unwrap();
            evaluate(&pairs, Some(calibration))
                .calibration_error
                .unwrap()
        };
        assert!(error(1.0) < 0.02, "{}", error(1.0));
        assert!(error(10.0) > 0.15, "{}", error(10.0));
    }

    #[test]
    fn separable_pairs_keep_a_finite_scale_whatever_their_unit() {
        for unit in [1e-6_f32, 1.0, 1e6] {
            let pairs: Vec<_> = (1..=1_000).map(|i| pair(i as f32 * unit, 0.0)).collect();
            let found = fit(&pairs).unwrap();
            let scale = found.scale() * f64::from(unit);
            assert!(scale.is_finite() && scale > 0.0 && scale < 1.0, "{found:?}");
        }
    }

    #[test]
    fn what_cannot_be_calibrated_is_said() {
        assert_eq!(fit(&[]), Err(FitError::NoMargins));
        assert_eq!(fit(&[pair(1.0, 1.0)]), Err(FitError::NoMargins));
        assert_eq!(fit(&[pair(0.0, 1.0)]), Err(FitError::Reversed));
        assert_eq!(fit(&[pair(f32::INFINITY, 0.0)]), Err(FitError::NoMargins));
    }

    #[test]
    fn a_tie_is_half_a_win() {
        let pairs = [
            pair(1.0, 0.0),
            pair(1.0, 1.0),
            pair(0.0, 1.0),
            pair(2.0, 0.0),
        ];
        let all = evaluate(&pairs, None).all;
        assert_eq!((all.wins, all.ties, all.losses), (2, 1, 1));
        assert_eq!(all.accuracy(), Some(0.625));
        assert_eq!(all.precision(), Some(2.0 / 3.0));
        assert_eq!(all.recall(), Some(0.5));
        assert!((all.f1().unwrap() - 4.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_undefined_is_none() {
        let none = evaluate(&[], None);
        assert_eq!(none.all.accuracy(), None);
        assert_eq!(none.all.interval(), None);
        let ties = evaluate(&[pair(1.0, 1.0)], None).all;
        assert_eq!((ties.precision(), ties.f1()), (None, None));
        let losses = evaluate(&[pair(0.0, 1.0)], None);
        assert_eq!(losses.all.f1(), None);
        assert_eq!((losses.brier, losses.calibration_error), (None, None));
    }

    #[test]
    fn the_interval_is_wilsons() {
        // 45 of 50, from R: prop.test(45, 50, correct = FALSE).
        let [lower, upper] = wilson(0.9, 50.0);
        assert!((lower - 0.786_4).abs() < 5e-4, "{lower}");
        assert!((upper - 0.956_5).abs() < 5e-4, "{upper}");
    }

    #[test]
    fn weights_count_as_pairs_and_widen_the_interval_where_they_differ() {
        let weighted = |weights: &[f64]| {
            let pairs: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(i, weight)| ScoredPair {
                    weight: *weight,
                    ..pair((i % 2) as f32, 0.5)
                })
                .collect();
            evaluate(&pairs, None).all
        };
        let (even, uneven) = (weighted(&[2.0; 10]), weighted(&[1.0, 1.0, 9.0, 9.0]));
        assert_eq!(even.interval(), weighted(&[1.0; 10]).interval());
        assert!(uneven.interval().unwrap()[0] < even.interval().unwrap()[0]);
        let heavy = weighted(&[1.0, 3.0]);
        assert_eq!(heavy.accuracy(), Some(0.75));
    }

    #[test]
    fn categories_are_told_apart() {
        let of = |category: &str, chosen| ScoredPair {
            category: Some(category.to_owned()),
            ..pair(chosen, 0.0)
        };
        let found = evaluate(&[of("a", 1.0), of("b", -1.0), pair(1.0, 0.0)], None);
        assert_eq!(found.by_category["a"].accuracy(), Some(1.0));
        assert_eq!(found.by_category["b"].accuracy(), Some(0.0));
        assert_eq!(found.all.pairs(), 3);
    }

    proptest! {
        #[test]
        fn every_number_is_within_its_bounds(
            scores in prop::collection::vec((-50.0_f32..50.0, -50.0_f32..50.0, 1e-9_f64..1e9), 1..50),
            scale in 1e-3_f64..1e3,
        ) {
            let pairs: Vec<_> = scores
                .into_iter()
                .map(|(chosen, rejected, weight)| ScoredPair { weight, ..pair(chosen, rejected) })
                .collect();
            let found = evaluate(&pairs, Calibration::new(scale, 0.0));
            let accuracy = found.all.accuracy().unwrap();
            let [lower, upper] = found.all.interval().unwrap();
            prop_assert!(0.0 <= lower && lower <= accuracy + 1e-9);
            prop_assert!(accuracy - 1e-9 <= upper && upper <= 1.0);
            for share in [found.brier.unwrap(), found.calibration_error.unwrap()] {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&share));
            }
        }

        #[test]
        fn the_fit_is_a_maximum(
            scores in prop::collection::vec((-5.0_f32..5.0, -5.0_f32..5.0), 2..50),
        ) {
            let terms: Vec<_> = scores.iter().map(|(a, b)| (1.0, f64::from(a - b))).collect();
            let best = newton(&terms);
            let objective = |b: f64| -> f64 {
                terms.iter().map(|(w, u)| -w * softplus(-b * u)).sum::<f64>() - PRIOR / 2.0 * b * b
            };
            for other in [best - 0.01, best + 0.01] {
                prop_assert!(objective(other) < objective(best));
            }
        }
    }
}
