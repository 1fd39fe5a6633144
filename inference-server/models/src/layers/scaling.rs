//! Rotary frequencies, plain or scaled for texts longer than those of training.
//!
//! Owns the formulas of transformers `modeling_rope_utils.py`. Must not know of positions. Invariant:
//! frequencies are computed in f32, in the order of transformers, because an angle of position 10,000 shows
//! every bit of a frequency.

use std::f32::consts::PI;

/// How frequencies are stretched for texts longer than those of training.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by the same factor.
    Linear {
        /// How much slower they turn.
        factor: f32,
    },
    /// Llama 3.1: slow frequencies by the factor, fast ones not, those between in part.
    Llama3 {
        /// How much slower the slow ones turn.
        factor: f32,
        /// Turns in a text of training below which a frequency is slow.
        low: f32,
        /// Turns above which it is fast.
        high: f32,
        /// Tokens of a text of training.
        trained: f32,
    },
    /// Slow frequencies by the factor, fast ones not, those between along a line.
    Yarn(Yarn),
    /// Each by a factor of its own, and by another one in long texts.
    Long(LongRope),
}

/// `YaRN` (Peng et al. 2023).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How much slower the slow ones turn.
    pub factor: f32,
    /// Tokens of a text of training.
    pub trained: f64,
    /// Turns in a text of training above which a frequency is fast.
    pub fast: f64,
    /// Turns below which it is slow.
    pub slow: f64,
    /// Whether the line begins and ends at whole pairs.
    pub truncate: bool,
    /// What cosines and sines are multiplied by.
    pub attention: f32,
}

/// `LongRoPE` (Ding et al. 2024), as Phi 3 has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// How much slower each pair turns.
    pub short: Vec<f32>,
    /// The same in texts of more tokens than `beyond`.
    pub long: Vec<f32>,
    /// Tokens of a text of training.
    pub beyond: usize,
    /// What cosines and sines are multiplied by.
    pub attention: f32,
}

impl Scaling {
    /// What cosines and sines are multiplied by.
    pub(super) const fn attention(&self) -> f32 {
        match self {
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } => 1.0,
            Self::Yarn(yarn) => yarn.attention,
            Self::Long(long) => long.attention,
        }
    }

    /// Frequencies of the pairs of `width` numbers.
    pub(super) fn frequencies(&self, width: usize, theta: f32) -> Vec<f32> {
        let periods = periods(width, theta);
        match self {
            Self::Long(long) => by_pair(&periods, &long.short),
            Self::Yarn(yarn) => yarn.frequencies(&periods, theta),
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } => periods
                .iter()
                .map(|period| self.apply(1.0 / period))
                .collect(),
        }
    }

    /// Those of sequences of more tokens than the number beside them, where they have others.
    pub(super) fn long_frequencies(&self, width: usize, theta: f32) -> Option<(usize, Vec<f32>)> {
        match self {
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } | Self::Yarn(_) => None,
            Self::Long(long) => Some((long.beyond, by_pair(&periods(width, theta), &long.long))),
        }
    }

    /// A frequency that is scaled by itself.
    fn apply(&self, frequency: f32) -> f32 {
        match *self {
            Self::None | Self::Yarn(_) | Self::Long(_) => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low,
                high,
                trained,
            } => {
                let wavelength = 2.0 * PI / frequency;
                if wavelength > trained / low {
                    frequency / factor
                } else if wavelength < trained / high {
                    frequency
                } else {
                    let smooth = (trained / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}

/// What frequencies are one over.
fn periods(width: usize, theta: f32) -> Vec<f32> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a head is far narrower than 2^23"
    )]
    let period = |i: usize| theta.powf(i as f32 / width as f32);
    (0..width).step_by(2).map(period).collect()
}

fn by_pair(periods: &[f32], factors: &[f32]) -> Vec<f32> {
    let pairs = periods.iter().zip(factors);
    pairs
        .map(|(period, factor)| 1.0 / (factor * period))
        .collect()
}

impl Yarn {
    fn frequencies(&self, periods: &[f32], theta: f32) -> Vec<f32> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head is far narrower than 2^52"
        )]
        let width = 2.0 * periods.len() as f64;
        // The pair that turns so often in a text of training.
        let pair = |turns: f64| {
            let text = self.trained / (turns * 2.0 * std::f64::consts::PI);
            width * text.ln() / (2.0 * f64::from(theta).ln())
        };
        let (mut low, mut high) = (pair(self.fast), pair(self.slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(width - 1.0));
        if (high - low).abs() < f64::EPSILON {
            high += 0.001;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the line is computed in f32, as transformers does"
        )]
        let (low, length) = (low as f32, (high - low) as f32);
        let line = |(i, period): (usize, &f32)| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a head is far narrower than 2^23"
            )]
            let slow = ((i as f32 - low) / length).clamp(0.0, 1.0);
            let fast = 1.0 - slow;
            1.0 / (self.factor * period) * (1.0 - fast) + 1.0 / period * fast
        };
        periods.iter().enumerate().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_leaves_fast_frequencies_and_slows_the_slow_ones() {
        let scaling = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            trained: 8192.0,
        };
        assert!((scaling.apply(1.0) - 1.0).abs() < 1e-9);
        assert!((scaling.apply(1e-6) - 1e-6 / 8.0).abs() < 1e-12);
        let middle = 2.0 * PI / 4096.0;
        assert!(scaling.apply(middle) < middle && scaling.apply(middle) > middle / 8.0);
    }
}
