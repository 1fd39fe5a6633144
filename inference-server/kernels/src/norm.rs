//! Normalisations and softmax, over the last dimension.
//!
//! Owns sums over a row: 16 partial sums, number `i` of a row in sum `i mod 16`, added to each other as
//! [`Simd::sum`] says, whatever the instruction set. Invariant: a row is computed by itself.

use std::sync::Mutex;

use crate::error::KernelError;
use crate::isa::Kernels;
use crate::math::v_exp;
use crate::pool::{Pool, claim, spread};
use crate::simd::{LANES, Op, Simd, load_part, store_part};

/// Rows that one task takes.
const ROWS: usize = 16;

/// How a row is normalised.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// `(x - mean) / sqrt(variance + eps) * weight + bias` (Ba et al. 2016); the variance is that of
    /// the row, divided by its length.
    Layer {
        /// One number a column.
        weight: &'a [f32],
        /// One number a column.
        bias: Option<&'a [f32]>,
        /// Keeps rows of equal numbers from a division by 0.
        eps: f32,
    },
    /// `x / sqrt(mean of squares + eps) * weight` (Zhang and Sennrich 2019). Where a checkpoint keeps
    /// what is added to 1, it has been added.
    Rms {
        /// One number a column.
        weight: &'a [f32],
        /// Keeps rows of zeros from a division by 0.
        eps: f32,
    },
}

impl Kernels {
    /// Normalises each row of `x`, `[rows, width]`, into `out`; the width is that of the weight.
    ///
    /// # Errors
    /// When the weight is empty, the bias is not of its length, `x` is not whole rows, or `out` is not
    /// of their number.
    pub fn norm(
        self,
        pool: &dyn Pool,
        norm: Norm<'_>,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let width = match norm {
            Norm::Layer { weight, bias, .. } => {
                let length = bias.map_or(weight.len(), <[f32]>::len);
                KernelError::length("bias of a norm", weight.len(), length)?;
                weight.len()
            }
            Norm::Rms { weight, .. } => weight.len(),
        };
        if width == 0 {
            return Err(KernelError::Shape("a norm has no weights".to_owned()));
        }
        KernelError::length("rows to normalise", x.len() / width * width, x.len())?;
        KernelError::length("normalised rows", x.len(), out.len())?;
        let parts = x.chunks(ROWS * width).zip(out.chunks_mut(ROWS * width));
        let parts = Mutex::new(parts);
        spread(pool, || {
            while let Some((x, out)) = claim(&parts) {
                self.run(Normalise {
                    norm,
                    width,
                    x,
                    out,
                });
            }
        });
        Ok(())
    }

    /// `row = softmax(scale * row)`; nothing for an empty one. NaN where a number is NaN, or none is
    /// above minus infinity.
    pub fn softmax(self, row: &mut [f32], scale: f32) {
        self.run(Softmax(row, scale));
    }
}

struct Normalise<'a> {
    norm: Norm<'a>,
    width: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Op for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.x.chunks(self.width);
        for (x, out) in rows.zip(self.out.chunks_mut(self.width)) {
            match self.norm {
                Norm::Layer { weight, bias, eps } => {
                    let mean = total(s, x) / count(x);
                    let centre = s.splat(mean);
                    let factor = inverse_root(squares(s, x, mean) / count(x), eps);
                    scale(s, (x, centre), s.splat(factor), weight, bias, out);
                }
                Norm::Rms { weight, eps } => {
                    let factor = inverse_root(squares(s, x, 0.0) / count(x), eps);
                    scale(s, (x, s.splat(0.0)), s.splat(factor), weight, None, out);
                }
            }
        }
    }
}

#[inline(always)]
fn count(x: &[f32]) -> f32 {
    x.len() as f32
}

#[inline(always)]
fn inverse_root(mean: f32, eps: f32) -> f32 {
    1.0 / (mean + eps).sqrt()
}

#[inline(always)]
fn total<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut sums = s.splat(0.0);
    for x in x.chunks(LANES) {
        sums = s.add(sums, load_part(s, x, 0.0));
    }
    s.sum(sums)
}

/// The sum of squares of what `x` is above `centre`.
#[inline(always)]
fn squares<S: Simd>(s: S, x: &[f32], centre: f32) -> f32 {
    let mut sums = s.splat(0.0);
    for x in x.chunks(LANES) {
        let x = s.sub(load_part(s, x, centre), s.splat(centre));
        sums = s.mul_add(x, x, sums);
    }
    s.sum(sums)
}

/// `(x - centre) * factor * weight + bias`.
#[inline(always)]
fn scale<S: Simd>(
    s: S,
    (x, centre): (&[f32], S::F),
    factor: S::F,
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let mut bias = bias.map(|bias| bias.chunks(LANES));
    let parts = x.chunks(LANES).zip(weight.chunks(LANES));
    for ((x, weight), out) in parts.zip(out.chunks_mut(LANES)) {
        let x = s.mul(s.sub(load_part(s, x, 0.0), centre), factor);
        let weight = load_part(s, weight, 0.0);
        let y = match bias.as_mut().and_then(Iterator::next) {
            Some(bias) => s.mul_add(x, weight, load_part(s, bias, 0.0)),
            None => s.mul(x, weight),
        };
        store_part(s, y, out);
    }
}

struct Softmax<'a>(&'a mut [f32], f32);

impl Op for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(row, scale) = self;
        let scale = s.splat(scale);
        let mut largest = s.splat(f32::NEG_INFINITY);
        for x in row.chunks(LANES) {
            let x = s.mul(load_part(s, x, f32::NEG_INFINITY), scale);
            largest = s.max(x, largest);
        }
        let largest = s.splat(s.largest(largest));
        let mut sums = s.splat(0.0);
        for part in row.chunks_mut(LANES) {
            let x = s.mul(load_part(s, part, f32::NEG_INFINITY), scale);
            let power = v_exp(s, s.sub(x, largest));
            sums = s.add(sums, power);
            store_part(s, power, part);
        }
        let sum = s.splat(s.sum(sums));
        for part in row.chunks_mut(LANES) {
            let share = s.div(load_part(s, part, 0.0), sum);
            store_part(s, share, part);
        }
    }
}
