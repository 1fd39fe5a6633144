//! How good a model's preferences are: pure functions from the scores of pairs.
//!
//! Owns accuracy and its interval, and the error of a calibration. It must not know where scores come
//! from. Invariants: what is undefined is `None`, never NaN; a score that is no number is an error, and
//! never half a win.

use std::collections::BTreeMap;

use crate::Calibration;

/// The standard normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.959_963_984_540_054;
/// Bins of the calibration error.
const BINS: usize = 15;

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
    pub(crate) fn margin(&self) -> f64 {
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

pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Wilson's 95 % interval of a share `p` of `n`.
pub fn wilson(p: f64, n: f64) -> [f64; 2] {
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// A pair has a score that is no number, so that nothing can be said of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pair {}: the model's score is not finite", pair + 1)]
pub struct NotFinite {
    /// Which one, from 0.
    pub pair: usize,
}

/// # Errors
/// When a score is no number.
pub(crate) fn require_finite(pairs: &[ScoredPair]) -> Result<(), NotFinite> {
    let finite = |pair: &ScoredPair| pair.chosen.is_finite() && pair.rejected.is_finite();
    match pairs.iter().position(|pair| !finite(pair)) {
        Some(pair) => Err(NotFinite { pair }),
        None => Ok(()),
    }
}

/// Evaluates scored pairs.
///
/// # Errors
/// When a score is no number.
pub fn evaluate(
    pairs: &[ScoredPair],
    calibration: Option<Calibration>,
) -> Result<Evaluation, NotFinite> {
    require_finite(pairs)?;
    let mut all = Tally::default();
    let mut by_category: BTreeMap<String, Tally> = BTreeMap::new();
    for pair in pairs {
        all.add(pair);
        if let Some(category) = &pair.category {
            by_category.entry(category.clone()).or_default().add(pair);
        }
    }
    Ok(Evaluation {
        all,
        brier: calibration.and_then(|c| brier(pairs, c.scale())),
        calibration_error: calibration.and_then(|c| calibration_error(pairs, c.scale())),
        by_category,
    })
}

pub(crate) fn sigmoid(x: f64) -> f64 {
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

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers of the tests are small"
)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibration::tests::synthetic;

    pub(crate) fn pair(chosen: f32, rejected: f32) -> ScoredPair {
        ScoredPair {
            chosen,
            rejected,
            weight: 1.0,
            category: None,
        }
    }

    #[test]
    fn a_calibrated_model_has_a_small_calibration_error_and_an_overconfident_one_a_large() {
        let pairs = synthetic(1.0, 0.0, 20_000);
        let error = |scale| {
            let calibration = Calibration::new(scale, 0.0).unwrap();
            evaluate(&pairs, Some(calibration))
                .unwrap()
                .calibration_error
                .unwrap()
        };
        assert!(error(1.0) < 0.02, "{}", error(1.0));
        assert!(error(10.0) > 0.15, "{}", error(10.0));
    }

    #[test]
    fn a_tie_is_half_a_win() {
        let pairs = [
            pair(1.0, 0.0),
            pair(1.0, 1.0),
            pair(0.0, 1.0),
            pair(2.0, 0.0),
        ];
        let all = evaluate(&pairs, None).unwrap().all;
        assert_eq!((all.wins, all.ties, all.losses), (2, 1, 1));
        assert_eq!(all.accuracy(), Some(0.625));
        assert_eq!(all.precision(), Some(2.0 / 3.0));
        assert_eq!(all.recall(), Some(0.5));
        assert!((all.f1().unwrap() - 4.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn a_score_that_is_no_number_is_an_error_and_never_half_a_win() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for pairs in [
                [pair(1.0, 0.0), pair(bad, 0.0)],
                [pair(1.0, 0.0), pair(0.0, bad)],
                [pair(1.0, 0.0), pair(bad, bad)],
            ] {
                let error = evaluate(&pairs, None).unwrap_err();
                assert_eq!(error, NotFinite { pair: 1 });
                assert!(error.to_string().contains("pair 2"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_undefined_is_none() {
        let none = evaluate(&[], None).unwrap();
        assert_eq!(none.all.accuracy(), None);
        assert_eq!(none.all.interval(), None);
        let ties = evaluate(&[pair(1.0, 1.0)], None).unwrap().all;
        assert_eq!((ties.precision(), ties.f1()), (None, None));
        let losses = evaluate(&[pair(0.0, 1.0)], None).unwrap();
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
            evaluate(&pairs, None).unwrap().all
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
        let found = evaluate(&[of("a", 1.0), of("b", -1.0), pair(1.0, 0.0)], None).unwrap();
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
            let found = evaluate(&pairs, Calibration::new(scale, 0.0)).unwrap();
            let accuracy = found.all.accuracy().unwrap();
            let [lower, upper] = found.all.interval().unwrap();
            prop_assert!(0.0 <= lower && lower <= accuracy + 1e-9);
            prop_assert!(accuracy - 1e-9 <= upper && upper <= 1.0);
            for share in [found.brier.unwrap(), found.calibration_error.unwrap()] {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&share));
            }
        }
    }
}
