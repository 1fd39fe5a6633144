//! Rotary positions (Su et al. 2021): pairs of numbers are turned by angles that grow with the
//! position.
//!
//! Owns the frequencies, plain or scaled for longer texts. Invariant: they are computed in f32, in
//! the order of transformers, because an angle of position 10,000 shows every bit of a frequency.

use std::f32::consts::PI;

use candle_core::{D, Device, Result, Tensor};

/// How frequencies are stretched for texts longer than those of training.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl Scaling {
    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
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

/// Frequencies of the pairs.
#[derive(Debug)]
pub struct Rotary(Vec<f32>);

impl Rotary {
    /// Turns the first `width` numbers of a head.
    pub fn new(width: usize, theta: f32, scaling: Scaling) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head is far narrower than 2^23"
        )]
        let frequency = |i: usize| 1.0 / theta.powf(i as f32 / width as f32);
        Self(
            (0..width)
                .step_by(2)
                .map(|i| scaling.apply(frequency(i)))
                .collect(),
        )
    }

    /// Angles of the positions `0..tokens`.
    ///
    /// # Errors
    /// When the tensor library refuses.
    pub fn at(&self, tokens: usize) -> Result<Angles> {
        #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^23")]
        let angles: Vec<f32> = (0..tokens)
            .flat_map(|position| self.0.iter().map(move |f| position as f32 * f))
            .collect();
        let angles = Tensor::from_vec(angles, (tokens, self.0.len()), &Device::Cpu)?;
        Ok(Angles {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }
}

/// Angles of the positions of one sequence.
#[derive(Debug)]
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// Turns `[heads, n, width]`: number `i` of a head's first half with number `i` of its second.
    /// What is beyond the turned width stays.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let half = self.cos.dim(D::Minus1)?;
        let rest = x.dim(D::Minus1)?.saturating_sub(2 * half);
        let (first, second) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned = [
            (first.broadcast_mul(&self.cos)? - second.broadcast_mul(&self.sin)?)?,
            (second.broadcast_mul(&self.cos)? + first.broadcast_mul(&self.sin)?)?,
        ];
        let [first, second] = turned;
        if rest == 0 {
            Tensor::cat(&[first, second], 2)
        } else {
            Tensor::cat(&[first, second, x.narrow(2, 2 * half, rest)?], 2)
        }
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

    #[test]
    fn the_first_position_is_not_turned() {
        let x = Tensor::randn(0f32, 1f32, (2, 1, 8), &Device::Cpu).unwrap();
        let turned = Rotary::new(4, 10_000.0, Scaling::None)
            .at(1)
            .unwrap()
            .turn(&x)
            .unwrap();
        let difference = (x - turned).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-9);
    }
}
