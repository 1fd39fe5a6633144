//! From a raw score to a confidence: `p = sigmoid(scale * (score - shift))`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
