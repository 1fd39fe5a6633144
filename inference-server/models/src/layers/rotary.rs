//! Rotary positions (Su et al. 2021): pairs of numbers are turned by angles that grow with the
//! position.
//!
//! Owns the frequencies, plain or scaled for longer texts. Invariant: they are computed in f32, in
//! the order of transformers, because an angle of position 10,000 shows every bit of a frequency.

use std::f32::consts::PI;
use std::sync::Mutex;

use candle_core::{Result, Tensor};

use super::pass::{Pass, matrix, numbers};

/// Rows that one task turns.
const ROWS: usize = 16;

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

    /// Angles of the positions of the tokens of a batch.
    pub fn at(&self, pass: &Pass<'_>) -> Angles {
        let longest = pass.batch().ranges().map(|range| range.len()).max();
        #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^23")]
        let turns = (0..longest.unwrap_or_default())
            .flat_map(|position| self.0.iter().map(move |f| position as f32 * f))
            .map(|angle| (angle.cos(), angle.sin()))
            .collect();
        Angles {
            pairs: self.0.len(),
            turns,
            positions: pass.positions(),
        }
    }
}

/// Angles of the positions of a batch.
#[derive(Debug)]
pub struct Angles {
    /// Pairs of a head that are turned.
    pairs: usize,
    /// Cosine and sine of each pair, position after position.
    turns: Vec<(f32, f32)>,
    /// The position of each token.
    positions: Vec<u32>,
}

impl Angles {
    /// Turns each head of `[n, heads * width]`: number `i` of its first half with number `i` of its
    /// second. What is beyond the turned width stays.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn turn(&self, pass: &Pass<'_>, x: &Tensor, width: usize) -> Result<Tensor> {
        let (tokens, row) = x.dims2()?;
        if tokens != self.positions.len() || 2 * self.pairs > width || row % width.max(1) != 0 {
            candle_core::bail!("rotary positions do not fit {tokens} rows of {row} numbers")
        }
        let mut out = vec![0.0; tokens * row];
        numbers(x, |x| {
            let parts = x.chunks(ROWS * row).zip(out.chunks_mut(ROWS * row));
            let parts = Mutex::new(parts.zip(self.positions.chunks(ROWS)));
            pass.spread(4 * x.len(), &parts, |((x, out), positions)| {
                let rows = x.chunks_exact(row).zip(out.chunks_exact_mut(row));
                for ((x, out), position) in rows.zip(positions) {
                    let turns = self.turns(*position);
                    let heads = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
                    heads.for_each(|(x, out)| turn(turns, x, out));
                }
            });
            Ok(())
        })?;
        matrix(out, tokens, row)
    }

    fn turns(&self, position: u32) -> &[(f32, f32)] {
        let start = position as usize * self.pairs;
        let turns = self.turns.get(start..start + self.pairs);
        turns.unwrap_or_default()
    }
}

/// One head.
fn turn(turns: &[(f32, f32)], x: &[f32], out: &mut [f32]) {
    out.copy_from_slice(x);
    let (first, rest) = x.split_at(turns.len());
    let (out_first, out_rest) = out.split_at_mut(turns.len());
    let pairs = first.iter().zip(rest);
    let outs = out_first.iter_mut().zip(out_rest);
    for ((pair, out), (cos, sin)) in pairs.zip(outs).zip(turns) {
        *out.0 = pair.0 * cos - pair.1 * sin;
        *out.1 = pair.1 * cos + pair.0 * sin;
    }
}

#[cfg(test)]
mod tests {
    use kernels::Kernels;

    use super::*;
    use crate::packed::Packed;
    use crate::threads::Threads;

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
    fn each_sequence_is_turned_from_its_own_beginning_on() {
        let mut batch = Packed::default();
        batch.push(&[1, 2], &[]);
        batch.push(&[3], &[]);
        batch.push(&[4, 5, 6], &[]);
        let threads = Threads::new(1).unwrap();
        let pass = Pass::new(&batch, Kernels::best(), &threads);
        // One number of each head is beyond the turned ones.
        let x: Vec<f32> = (0..60u8).map(|i| f32::from(i % 10) + 1.0).collect();
        let x = matrix(x, 6, 10).unwrap();
        let angles = Rotary::new(4, 10_000.0, Scaling::None).at(&pass);
        let turned = angles.turn(&pass, &x, 5).unwrap();
        let turned = turned.to_vec2::<f32>().unwrap();
        let plain = x.to_vec2::<f32>().unwrap();
        for first in [0, 2, 3] {
            assert_eq!(turned[first], plain[first]);
        }
        assert_eq!(turned[1], turned[4]);
        assert_ne!(turned[4], turned[5]);
        let (sin, cos) = 1f32.sin_cos();
        // 1 and 3 are a pair, and so are 2 and 4; 5 is beyond them.
        assert_eq!(turned[1][..1], [cos - 3.0 * sin]);
        assert_eq!(turned[1][2..3], [3.0 * cos + sin]);
        assert_eq!(turned[1][4..5], [5.0]);
    }
}
