//! Rotary positions (Su et al. 2021): pairs of numbers are turned by angles that grow with the
//! position.
//!
//! Owns which sequence is turned by which frequencies. Must not know how these are scaled. Invariant: angles
//! are computed in f32, as in transformers, and those of a sequence depend on its own length alone.

use std::sync::Mutex;

use candle_core::{Result, Tensor};

use super::pass::{Pass, matrix, numbers};
use super::scaling::Scaling;

/// Rows that one task turns.
const ROWS: usize = 16;

/// Frequencies of the pairs.
#[derive(Debug)]
pub struct Rotary {
    usual: Vec<f32>,
    /// Those of sequences of more tokens than that, where they have others.
    long: Option<(usize, Vec<f32>)>,
    /// What cosines and sines are multiplied by.
    attention: f32,
}

impl Rotary {
    /// Turns the first `width` numbers of a head.
    pub fn new(width: usize, theta: f32, scaling: &Scaling) -> Self {
        Self {
            usual: scaling.frequencies(width, theta),
            long: scaling.long_frequencies(width, theta),
            attention: scaling.attention(),
        }
    }

    /// Angles of the positions of the tokens of a batch.
    pub fn at(&self, pass: &Pass<'_>) -> Angles {
        let lengths = pass.batch().ranges().map(|range| range.len());
        let is_long = |length: usize| match &self.long {
            None => false,
            Some((beyond, _)) => length > *beyond,
        };
        let longest = |long: bool| {
            let lengths = lengths.clone().filter(|length| is_long(*length) == long);
            lengths.max().unwrap_or_default()
        };
        let usual = longest(false);
        let mut turns = self.table(&self.usual, usual);
        if let Some((_, frequencies)) = &self.long {
            turns.extend(self.table(frequencies, longest(true)));
        }
        // Behind the rows of the usual frequencies are those of the others.
        let rows = lengths.flat_map(|length| {
            let first = if is_long(length) { usual } else { 0 };
            first..first + length
        });
        Angles {
            pairs: self.usual.len(),
            rows: rows.collect(),
            turns,
        }
    }

    /// Cosine and sine of each pair, of so many positions.
    fn table(&self, frequencies: &[f32], positions: usize) -> Vec<(f32, f32)> {
        #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^23")]
        let angles = (0..positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let turn = |angle: f32| (angle.cos() * self.attention, angle.sin() * self.attention);
        angles.map(turn).collect()
    }
}

/// Angles of the positions of a batch.
#[derive(Debug)]
pub struct Angles {
    /// Pairs of a head that are turned.
    pairs: usize,
    /// Cosine and sine of each pair, row after row.
    turns: Vec<(f32, f32)>,
    /// The row of each token.
    rows: Vec<usize>,
}

impl Angles {
    /// Turns each head of `[n, heads * width]`: number `i` of its first half with number `i` of its
    /// second. What is beyond the turned width stays.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn turn(&self, pass: &Pass<'_>, x: &Tensor, width: usize) -> Result<Tensor> {
        let (tokens, row) = x.dims2()?;
        if tokens != self.rows.len() || 2 * self.pairs > width || row % width.max(1) != 0 {
            candle_core::bail!("rotary positions do not fit {tokens} rows of {row} numbers")
        }
        let mut out = vec![0.0; tokens * row];
        numbers(x, |x| {
            let parts = x.chunks(ROWS * row).zip(out.chunks_mut(ROWS * row));
            let parts = Mutex::new(parts.zip(self.rows.chunks(ROWS)));
            pass.spread(4 * x.len(), &parts, |((x, out), places)| {
                let rows = x.chunks_exact(row).zip(out.chunks_exact_mut(row));
                for ((x, out), place) in rows.zip(places) {
                    let turns = self.turns(*place);
                    let heads = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
                    heads.for_each(|(x, out)| turn(turns, x, out));
                }
            });
            Ok(())
        })?;
        matrix(out, tokens, row)
    }

    fn turns(&self, row: usize) -> &[(f32, f32)] {
        let start = row * self.pairs;
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
    use crate::layers::LongRope;
    use crate::packed::Packed;
    use crate::threads::Threads;

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
        let angles = Rotary::new(4, 10_000.0, &Scaling::None).at(&pass);
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

    #[test]
    fn long_sequences_have_frequencies_of_their_own_whatever_is_beside_them() {
        let scaling = Scaling::Long(LongRope {
            short: vec![1.0, 1.0],
            long: vec![2.0, 4.0],
            beyond: 2,
            attention: 1.5,
        });
        let rotary = Rotary::new(4, 10_000.0, &scaling);
        let threads = Threads::new(1).unwrap();
        let of = |lengths: &[usize]| {
            let mut batch = Packed::default();
            for length in lengths {
                batch.push(&vec![1; *length], &[]);
            }
            let pass = Pass::new(&batch, Kernels::best(), &threads);
            let angles = rotary.at(&pass);
            let turns = angles.rows.iter().map(|row| angles.turns(*row).to_vec());
            turns.collect::<Vec<_>>()
        };
        let (short, long) = (of(&[2]), of(&[3]));
        assert_eq!(of(&[2, 3, 2]), [&short[..], &long, &short].concat());
        assert_ne!(short[1], long[1]);
        assert_eq!(short[1][0], (1.5 * 1f32.cos(), 1.5 * 1f32.sin()));
        assert_eq!(long[1][0], (1.5 * 0.5f32.cos(), 1.5 * 0.5f32.sin()));
    }
}
