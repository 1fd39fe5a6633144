//! Numbers in 8 bits: activations with a scale for each row, weights with one for each channel.
//!
//! Owns how they are rounded. Invariant: a row's numbers depend on that row alone, and are the same on
//! every instruction set. A row with NaN or infinity gets the scale NaN, so that all that comes out of
//! it is NaN.

use std::sync::Mutex;

use crate::isa::Kernels;
use crate::pool::{Pool, claim, spread};
use crate::simd::{LANES, Octet, Octets, Op, Simd, nearest};

/// Rows that one task rounds.
const ROWS: usize = 16;

/// Inputs of a step.
pub(crate) const INPUTS: usize = 8;

/// What stands for 0 in an activation.
const ZERO: u8 = 128;

/// Rows in 8 bits, kept from one layer to the next so that their memory is used again. 128 is added to
/// each number, because processors multiply bytes without a sign with bytes that have one; layers take
/// what that adds to a sum from its beginning.
#[derive(Debug, Default)]
pub struct Quantised {
    pub(crate) octets: Vec<Octet>,
    pub(crate) scales: Vec<f32>,
}

impl Quantised {
    /// Rounds all rows of `x`, of `inputs` numbers each.
    pub(crate) fn fill(&mut self, kernels: Kernels, pool: &dyn Pool, x: &[f32], inputs: usize) {
        let (rows, steps) = (x.len() / inputs, inputs.div_ceil(INPUTS));
        self.octets.resize(rows * steps, Octet::default());
        self.scales.resize(rows, 0.0);
        let parts = (x.chunks(ROWS * inputs))
            .zip(self.octets.chunks_mut(ROWS * steps))
            .zip(self.scales.chunks_mut(ROWS));
        let parts = Mutex::new(parts);
        spread(pool, || {
            while let Some(((x, octets), scales)) = claim(&parts) {
                kernels.run(Round {
                    x,
                    inputs,
                    octets,
                    scales,
                });
            }
        });
    }
}

struct Round<'a> {
    x: &'a [f32],
    inputs: usize,
    octets: &'a mut [Octet],
    scales: &'a mut [f32],
}

impl Op for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.x.chunks_exact(self.inputs);
        let octets = self.octets.chunks_exact_mut(self.inputs.div_ceil(INPUTS));
        for ((row, octets), scale) in rows.zip(octets).zip(self.scales) {
            *scale = round(s, row, octets.as_flattened_mut().as_flattened_mut());
        }
    }
}

/// The scale of `row`, whose rounded numbers go to `to`; what is beyond the row there stands for 0.
#[inline(always)]
fn round<S: Simd>(s: S, row: &[f32], to: &mut [u8]) -> f32 {
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
        to.fill(ZERO);
        return f32::NAN;
    }
    let (scale, inverse) = scale_of(s.largest(largest), 127.0);
    let inverse = s.splat(inverse);
    let (to, to_rest) = to.split_at_mut(to.len().min(whole.len() * LANES));
    for (x, to) in whole.iter().zip(to.as_chunks_mut().0) {
        s.to_u8(s.mul(s.load(x), inverse), to);
    }
    let mut rounded = [0; LANES];
    s.to_u8(s.mul(s.load(&last), inverse), &mut rounded);
    for (to, rounded) in to_rest.iter_mut().zip(rounded) {
        *to = rounded;
    }
    scale
}

/// What is done to a channel: its scale, and what its sums begin with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Channel {
    pub(crate) scale: f32,
    /// -128 times the sum of its numbers, since 128 is added to each activation.
    pub(crate) start: i32,
}

/// Rounds a channel into lane `lane` of `panel`. Four of its numbers are at most 128 together wherever
/// products are summed in 16 bits, for 128 times 255 fits these. Of weights that look random that costs less than
/// a bit: one of 768 is as large already as four of them together mostly are.
pub(crate) fn quantise_channel(row: &[f32], lane: usize, panel: &mut [Octets]) -> Channel {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let largest = row.chunks(INPUTS).map(|octet| {
        let of = |places: [usize; 4]| -> f32 {
            let numbers = places.iter().filter_map(|place| octet.get(*place));
            // A quarter of each: four of the largest are more than a number may be.
            numbers.map(|x| x.abs() / 4.0).sum()
        };
        larger(of([0, 1, 4, 5]), of([2, 3, 6, 7]))
    });
    let largest = largest.fold(0f32, |largest, x| larger(x, largest));
    // A quarter of 126, which is 2 less than 128: each of four may be rounded up by a half.
    let (scale, inverse) = scale_of(largest, 31.5);
    let mut sum = 0;
    for (octet, step) in row.chunks(INPUTS).zip(panel) {
        for (quad, columns) in octet.chunks(4).zip(step) {
            for (to, number) in columns.get_mut(lane).into_iter().flatten().zip(quad) {
                #[expect(clippy::cast_possible_truncation, reason = "within 127 by the scale")]
                let rounded = nearest(number * inverse) as i8;
                *to = rounded;
                sum += i32::from(rounded);
            }
        }
    }
    Channel {
        scale,
        start: -i32::from(ZERO) * sum,
    }
}

/// What 1 stands for in 8 bits where `largest` becomes `most`, and its inverse. Numbers below
/// 2^-100 are 0: the inverse of their scale is beyond f32.
#[inline(always)]
fn scale_of(largest: f32, most: f32) -> (f32, f32) {
    const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);
    if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / most, most / largest)
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
                assert_eq!(
                    found.octets,
                    expected.octets,
                    "{:?} {inputs}",
                    kernels.isa()
                );
                assert_eq!(found.scales, expected.scales);
            }
            let bytes = expected.octets.as_flattened().as_flattened();
            let largest = bytes.iter().map(|x| x.abs_diff(ZERO)).max();
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
        let mut panel = [Octets::default()];
        let channel = quantise_channel(&[0.0, 0.0, 0.5, 0.0, -1.0, 0.0], 3, &mut panel);
        let [[first, second]] = panel.map(|octets| octets.map(|columns| columns[3]));
        assert_eq!((first, second), ([0, 0, 63, 0], [-126, 0, 0, 0]));
        assert!((channel.scale - 1.0 / 126.0).abs() < 1e-9);
        assert_eq!(channel.start, 128 * 63);
        assert_eq!(quantise_channel(&[1e-40, 0.0], 0, &mut panel).scale, 0.0);
    }

    #[test]
    fn four_numbers_of_a_channel_times_255_fit_16_bits_wherever_they_meet() {
        for seed in 1..200_u32 {
            let row: Vec<f32> = (0..40)
                .map(|i| ((seed * 7919 + i * 104_729) % 1009) as f32 / 504.0 - 1.0)
                .collect();
            let mut panel = [Octets::default(); 5];
            quantise_channel(&row, 0, &mut panel);
            for [first, second] in panel {
                let byte = |i: usize| i32::from(first[0][i].abs()) + i32::from(second[0][i].abs());
                assert!(255 * (byte(0) + byte(1)) <= i32::from(i16::MAX));
                assert!(255 * (byte(2) + byte(3)) <= i32::from(i16::MAX));
            }
        }
    }
}
