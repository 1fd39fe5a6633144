//! Rotary positions (Su et al. 2021): pairs of numbers are turned by angles that grow with the
//! position.
//!
//! Owns which sequence is turned by which frequencies. Must not know how these are scaled. Invariant: angles
//! are computed in f32, as in transformers, and those of a sequence depend on its own length alone.

use std::sync::Mutex;

use candle_core::{Device, Result, Tensor};

use super::pass::{Pass, matrix, numbers};
use super::scaling::Scaling;
use crate::backend::Backend;

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

    /// Whether a token is turned alike in texts of any length.
    pub const fn is_of_positions_alone(&self) -> bool {
        self.long.is_none()
    }

    /// Angles of the positions of the tokens of a batch.
    ///
    /// # Errors
    /// When they find no room on a device.
    pub fn at(&self, pass: &Pass<'_>) -> Result<Angles> {
        match pass.backend() {
            Backend::Kernels(_) => Ok(Angles::Turns(self.turns(pass))),
            Backend::Tensors(place) => self.tables(pass, &place.device).map(Angles::Tables),
        }
    }

    /// The same, made on the device: which frequencies each token has, times its position.
    fn tables(&self, pass: &Pass<'_>, device: &Device) -> Result<Tables> {
        let is_long = |length: usize| match &self.long {
            None => 0_u32,
            Some((beyond, _)) => u32::from(length > *beyond),
        };
        let pairs = self.usual.len();
        let mut frequencies = self.usual.clone();
        if let Some((_, long)) = &self.long {
            frequencies.extend(long);
        }
        let kinds = frequencies.len() / pairs.max(1);
        let frequencies = Tensor::from_vec(frequencies, (kinds, pairs), device)?;
        let lengths = pass.batch().ranges().map(|range| range.len());
        let kind: Vec<u32> = lengths
            .flat_map(|length| std::iter::repeat_n(is_long(length), length))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^23")]
        let positions: Vec<f32> = pass.positions().iter().map(|at| *at as f32).collect();
        let of_tokens = frequencies.index_select(&Tensor::new(kind, device)?, 0)?;
        let positions = Tensor::new(positions, device)?.unsqueeze(1)?;
        let angles = of_tokens.broadcast_mul(&positions)?;
        let by = f64::from(self.attention);
        Ok(Tables {
            cos: (angles.cos()? * by)?,
            sin: (angles.sin()? * by)?,
        })
    }

    fn turns(&self, pass: &Pass<'_>) -> Turns {
        let spans = pass.spans();
        let is_long = |length: usize| match &self.long {
            None => false,
            Some((beyond, _)) => length > *beyond,
        };
        let longest = |long: bool| {
            let lengths = spans.clone().map(|span| span.end);
            let lengths = lengths.filter(|length| is_long(*length) == long);
            lengths.max().unwrap_or_default()
        };
        let usual = longest(false);
        let mut turns = self.table(&self.usual, usual);
        if let Some((_, frequencies)) = &self.long {
            turns.extend(self.table(frequencies, longest(true)));
        }
        // Behind the rows of the usual frequencies are those of the others.
        let rows = spans.flat_map(|span| {
            let first = if is_long(span.end) { usual } else { 0 };
            first + span.start..first + span.end
        });
        Turns {
            pairs: self.usual.len(),
            rows: rows.collect(),
            all: turns,
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
pub enum Angles {
    /// For the kernels' backend.
    Turns(Turns),
    /// On a device.
    Tables(Tables),
}

/// Cosine and sine of each pair of each token, `[n, pairs]`.
#[derive(Debug)]
pub struct Tables {
    cos: Tensor,
    sin: Tensor,
}

/// Cosines and sines of positions, and the position of each token.
#[derive(Debug)]
pub struct Turns {
    /// Pairs of a head that are turned.
    pairs: usize,
    /// Cosine and sine of each pair, row after row.
    all: Vec<(f32, f32)>,
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
        match self {
            Self::Turns(turns) => turns.turn(pass, x, width),
            Self::Tables(tables) => tables.turn(x, width),
        }
    }
}

impl Tables {
    fn turn(&self, x: &Tensor, width: usize) -> Result<Tensor> {
        let ((tokens, row), turned) = (x.dims2()?, 2 * self.cos.dim(1)?);
        if turned > width || row % width.max(1) != 0 {
            candle_core::bail!("rotary positions do not fit {tokens} rows of {row} numbers")
        }
        let heads = x
            .contiguous()?
            .reshape((1, tokens, row / width.max(1), width))?;
        let turn = |heads: &Tensor| candle_nn::rotary_emb::rope_thd(heads, &self.cos, &self.sin);
        let out = if turned == width {
            turn(&heads)?
        } else {
            let first = turn(&heads.narrow(3, 0, turned)?.contiguous()?)?;
            let rest = heads.narrow(3, turned, width - turned)?;
            Tensor::cat(&[&first, &rest], 3)?
        };
        out.reshape((tokens, row))
    }
}

impl Turns {
    fn turn(&self, pass: &Pass<'_>, x: &Tensor, width: usize) -> Result<Tensor> {
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
                    let turns = self.of_row(*place);
                    let heads = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
                    heads.for_each(|(x, out)| turn(turns, x, out));
                }
            });
            Ok(())
        })?;
        matrix(out, tokens, row)
    }

    fn of_row(&self, row: usize) -> &[(f32, f32)] {
        let start = row * self.pairs;
        let turns = self.all.get(start..start + self.pairs);
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
    use crate::device::DeviceChoice;
    use crate::layers::LongRope;
    use crate::packed::Packed;
    use crate::threads::Threads;

    #[test]
    fn each_sequence_is_turned_from_its_own_beginning_on() {
        for device in [DeviceChoice::Cpu, DeviceChoice::Tensors] {
            turned_from_the_beginning(&device.open(None).unwrap());
        }
    }

    fn turned_from_the_beginning(backend: &Backend) {
        let mut batch = Packed::default();
        batch.push(&[1, 2], &[]);
        batch.push(&[3], &[]);
        batch.push(&[4, 5, 6], &[]);
        let threads = Threads::new(1).unwrap();
        let pass = Pass::new(&batch, backend, &threads);
        // One number of each head is beyond the turned ones.
        let x: Vec<f32> = (0..60u8).map(|i| f32::from(i % 10) + 1.0).collect();
        let x = matrix(x, 6, 10).unwrap();
        let angles = Rotary::new(4, 10_000.0, &Scaling::None).at(&pass).unwrap();
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
        assert!((turned[1][0] - (cos - 3.0 * sin)).abs() < 1e-6);
        assert!((turned[1][2] - (3.0 * cos + sin)).abs() < 1e-6);
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
        let (kernels, tensors) = (
            Backend::Kernels(Kernels::best()),
            DeviceChoice::Tensors.open(None).unwrap(),
        );
        let of = |lengths: &[usize]| {
            let mut batch = Packed::default();
            for length in lengths {
                batch.push(&vec![1; *length], &[]);
            }
            let turns = rotary.turns(&Pass::new(&batch, &kernels, &threads));
            let rows = turns.rows.iter().map(|row| turns.of_row(*row).to_vec());
            let rows = rows.collect::<Vec<_>>();
            // What is made on a device is the same.
            let pass = Pass::new(&batch, &tensors, &threads);
            let tables = rotary.tables(&pass, &Device::Cpu).unwrap();
            let (cos, sin) = (tables.cos.to_vec2().unwrap(), tables.sin.to_vec2().unwrap());
            for (row, (cos, sin)) in rows.iter().zip(cos.iter().zip(&sin)) {
                let pairs: Vec<(f32, f32)> = cos.iter().copied().zip(sin.iter().copied()).collect();
                assert_eq!(*row, pairs);
            }
            rows
        };
        let (short, long) = (of(&[2]), of(&[3]));
        assert_eq!(of(&[2, 3, 2]), [&short[..], &long, &short].concat());
        assert_ne!(short[1], long[1]);
        assert_eq!(short[1][0], (1.5 * 1f32.cos(), 1.5 * 1f32.sin()));
        assert_eq!(long[1][0], (1.5 * 0.5f32.cos(), 1.5 * 0.5f32.sin()));
    }
}
