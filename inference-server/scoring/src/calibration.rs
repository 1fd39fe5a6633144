//! From a raw score to a confidence: `p = sigmoid(scale * (score - shift))`, and the scale and shift
//! that fit scored pairs.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::evaluation::{NotFinite, ScoredPair, ratio, require_finite, sigmoid};

/// Scale and shift of a sigmoid over raw scores. The scale is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Values")]
pub struct Calibration {
    scale: f64,
    shift: f64,
}

/// What a file of `evaluate --calibrate` holds.
#[derive(Deserialize)]
struct Values {
    scale: f64,
    shift: f64,
}

impl TryFrom<Values> for Calibration {
    type Error = &'static str;

    fn try_from(values: Values) -> Result<Self, Self::Error> {
        Self::new(values.scale, values.shift).ok_or("scale must be above 0, and both be finite")
    }
}

impl Calibration {
    /// `None` unless the scale is above 0 and both are finite.
    pub fn new(scale: f64, shift: f64) -> Option<Self> {
        (scale > 0.0 && scale.is_finite() && shift.is_finite()).then_some(Self { scale, shift })
    }

    /// How steep the sigmoid is.
    pub const fn scale(&self) -> f64 {
        self.scale
    }

    /// The score of a coin toss.
    pub const fn shift(&self) -> f64 {
        self.shift
    }

    /// The probability that a text of this score is on the good side.
    pub fn probability(&self, score: f32) -> f64 {
        1.0 / (1.0 + (-self.scale * (f64::from(score) - self.shift)).exp())
    }

    /// The probability of the side that the score is on.
    pub fn confidence(&self, score: f32) -> f64 {
        let probability = self.probability(score);
        probability.max(1.0 - probability)
    }
}

impl FromStr for Calibration {
    type Err = String;

    /// Reads `scale=1.5,shift=-0.25`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no calibration: write scale=1.5,shift=-0.25");
        let (mut scale, mut shift) = (None, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            let value: f64 = value.trim().parse().map_err(|_| wrong())?;
            let slot = match name.trim() {
                "scale" => &mut scale,
                "shift" => &mut shift,
                _ => return Err(wrong()),
            };
            *slot = Some(value);
        }
        let (scale, shift) = (scale.ok_or_else(wrong)?, shift.ok_or_else(wrong)?);
        Self::new(scale, shift).ok_or_else(wrong)
    }
}

/// Weight of the prior that keeps the scale of separable data finite: as much as about one pair.
const PRIOR: f64 = 1.0;
/// More steps than Newton's method ever takes on a concave function of one variable.
const NEWTON_STEPS: usize = 100;

/// Why there is no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// There is nothing to learn from.
    #[error("all pairs tie, or there are none: calibrate with pairs that the model tells apart")]
    NoMargins,
    /// The best scale is not above 0.
    #[error("the model prefers the rejected answers: it cannot be calibrated on these pairs")]
    Reversed,
    /// A score is no number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
}

/// The calibration under which these pairs are most probable: `scale` maximises the regularised
/// likelihood of the preferences, `shift` is the median of all scores.
///
/// # Errors
/// See [`FitError`].
pub fn fit(pairs: &[ScoredPair]) -> Result<Calibration, FitError> {
    require_finite(pairs)?;
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
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluation::tests::pair;

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
    pub(crate) fn synthetic(scale: f64, shift: f64, count: usize) -> Vec<ScoredPair> {
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
    fn a_score_at_the_shift_is_a_coin_toss() {
        let calibration: Calibration = "scale=2,shift=-0.5".parse().unwrap();
        assert!((calibration.probability(-0.5) - 0.5).abs() < 1e-12);
        assert!((calibration.probability(0.5) - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-12);
        assert!((calibration.confidence(-1.5) - calibration.confidence(0.5)).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_calibration_is_refused() {
        for text in [
            "",
            "scale=1",
            "shift=1",
            "scale=0,shift=0",
            "scale=-1,shift=0",
            "scale=NaN,shift=0",
            "scale=inf,shift=0",
            "scale:1,shift:0",
        ] {
            assert!(
                text.parse::<Calibration>()
                    .unwrap_err()
                    .contains("scale=1.5"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_holds_the_same_numbers() {
        let inline: Calibration = "scale=2,shift=-0.5".parse().unwrap();
        let text = serde_json::to_string(&inline).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), inline);
        for text in [
            "{}",
            r#"{"scale":0,"shift":0}"#,
            r#"{"scale":"1","shift":0}"#,
        ] {
            assert!(serde_json::from_str::<Calibration>(text).is_err(), "{text}");
        }
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
        let no_number = FitError::NotFinite(NotFinite { pair: 0 });
        assert_eq!(fit(&[pair(f32::INFINITY, 0.0)]), Err(no_number));
    }

    proptest! {
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
