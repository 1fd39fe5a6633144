//! Numbers in 8 bits: activations with a scale for each row, weights with one for each channel.
//!
//! Owns how they are rounded. Invariant: a row's numbers depend on that row alone, and are the same on
//! every instruction set. A row with NaN or infinity gets the scale NaN, so that all that comes out of
//! it is NaN.

use std::sync::Mutex;

use crate::isa::Kernels;
use crate::pool::{Pool, claim, spread};
use crate::simd::{LANES, Op, Simd, nearest};

/// Rows that one task rounds.
const ROWS: usize = 16;

/// Rows in 8 bits (held in 16, two and two as they are multiplied), kept from one layer to the next so
/// that their memory is used again.
#[derive(Debug, Default)]
pub struct Quantised {
    pub(crate) pairs: Vec<[i16; 2]>,
    pub(crate) scales: Vec<f32>,
}

impl Quantised {
    /// Rounds all rows of `x`, of `inputs` numbers each.
    pub(crate) fn fill(&mut self, kernels: Kernels, pool: &dyn Pool, x: &[f32], inputs: usize) {
        let (rows, steps) = (x.len() / inputs, inputs.div_ceil(2));
        self.pairs.resize(rows * steps, [0; 2]);
        self.scales.resize(rows, 0.0);
        let parts = (x.chunks(ROWS * inputs))
            .zip(self.pairs.chunks_mut(ROWS * steps))
            .zip(self.scales.chunks_mut(ROWS));
        let parts = Mutex::new(parts);
        spread(pool, || {
            while let Some(((x, pairs), scales)) = claim(&parts) {
                kernels.run(Round {
                    x,
                    inputs,
                    pairs,
                    scales,
                });
            }
        });
    }
}

struct Round<'a> {
    x: &'a [f32],
    inputs: usize,
    pairs: &'a mut [[i16; 2]],
    scales: &'a mut [f32],
}

impl Op for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.x.chunks_exact(self.inputs);
        let pairs = self.pairs.chunks_exact_mut(self.inputs.div_ceil(2));
        for ((row, pairs), scale) in rows.zip(pairs).zip(self.scales) {
            *scale = round(s, row, pairs.as_flattened_mut());
        }
    }
}

/// The scale of `row`, whose rounded numbers go to `to`; what is beyond the row there becomes 0.
#[inline(always)]
fn round<S: Simd>(s: S, row: &[f32], to: &mut [i16]) -> f32 {
    let zero = s.splat(0.0);
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    for (last, x) in last.iter_mut().zip(rest) {
        *last = *x;
    }
    let (mut largest, mut poison) = (zero, zero);
    for x in whole.iter().chain([&last]) {
        let x = s.load(x);
        largest = s.max(s.max(x, s.sub(zero, x)), largest);
        // 0 times a number is 0, but for NaN and infinity.
        poison = s.mul_add(x, zero, poison);
    }
    if s.sum(poison) != 0.0 {
        to.fill(0);
        return f32::NAN;
    }
    let (scale, inverse) = scale_of(s.largest(largest));
    let inverse = s.splat(inverse);
    let (to, to_rest) = to.split_at_mut(to.len().min(whole.len() * LANES));
    for (x, to) in whole.iter().zip(to.as_chunks_mut().0) {
        s.to_i16(s.mul(s.load(x), inverse), to);
    }
    let mut rounded = [0; LANES];
    s.to_i16(s.mul(s.load(&last), inverse), &mut rounded);
    for (to, rounded) in to_rest.iter_mut().zip(rounded) {
        *to = rounded;
    }
    scale
}

/// The scale of a channel, whose rounded numbers go into lane `lane` of `panel`.
pub(crate) fn quantise_channel(row: &[f32], lane: usize, panel: &mut [[[i8; 2]; LANES]]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let largest = row.iter().fold(0f32, |largest, x| larger(x.abs(), largest));
    let (scale, inverse) = scale_of(largest);
    for (pair, step) in row.chunks(2).zip(panel) {
        for (to, number) in step.get_mut(lane).into_iter().flatten().zip(pair) {
            #[expect(clippy::cast_possible_truncation, reason = "within 127 by the scale")]
            let rounded = nearest(number * inverse) as i8;
            *to = rounded;
        }
    }
    scale
}

/// What 1 stands for in 8 bits where the largest number is `largest`, and its inverse. Numbers below
/// 2^-100 are 0: the inverse of their scale is beyond f32.
#[inline(always)]
fn scale_of(largest: f32) -> (f32, f32) {
    const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Alone;

    fn quantised(kernels: Kernels, x: &[f32], inputs: usize) -> Quantised {
        let mut quantised = Quantised::default();
        quantised.fill(kernels, &Alone, x, inputs);
        quantised
    }

    #[test]
    fn rows_are_rounded_alike_on_all_instruction_sets() {
        for inputs in [1, 2, 15, 16, 17, 31, 33, 100] {
            let x: Vec<f32> = (0..inputs * 20).map(|i| (i as f32 * 0.7).sin()).collect();
            let expected = quantised(Kernels::of(crate::Isa::Portable).unwrap(), &x, inputs);
            for kernels in Kernels::all() {
                let found = quantised(kernels, &x, inputs);
                assert_eq!(found.pairs, expected.pairs, "{:?} {inputs}", kernels.isa());
                assert_eq!(found.scales, expected.scales);
            }
            let first = expected.pairs.as_flattened();
            let largest = first.iter().map(|x| x.abs()).max();
            assert_eq!(largest, Some(127));
        }
    }

    #[test]
    fn a_row_with_nan_or_infinity_has_no_scale_and_harms_no_other() {
        for kernels in Kernels::all() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, 16, 19] {
                    let mut x = [1.0; 40];
                    x[place] = bad;
                    let found = quantised(kernels, &x, 20);
                    assert!(found.scales[0].is_nan());
                    assert_eq!(found.scales[1], 1.0 / 127.0);
                }
            }
        }
    }

    #[test]
    fn a_channel_keeps_its_largest_weight_and_its_signs() {
        let mut panel = [[[0i8; 2]; LANES]; 2];
        let scale = quantise_channel(&[0.5, -1.0, 0.0], 3, &mut panel);
        assert_eq!((panel[0][3], panel[1][3]), ([64, -127], [0, 0]));
        assert!((scale - 1.0 / 127.0).abs() < 1e-9);
        assert_eq!(quantise_channel(&[1e-40, 0.0], 0, &mut panel), 0.0);
    }
}
