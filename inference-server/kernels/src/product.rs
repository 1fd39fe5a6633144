//! How one step of a sum is made in each format.
//!
//! Owns the arithmetic of a step. Must not know of loops, memory layout beyond a step, or epilogues.
//! Invariant: a sum is one chain, `sum = x w + sum`, input after input.

use crate::simd::{LANES, Octet, Octets, Simd};

/// Products of activations and weights of one format.
pub(crate) trait Product<S: Simd> {
    /// What a row has for each step.
    type Activation;
    /// What a panel has for each step.
    type Weight;
    /// Sums in memory.
    type Stored: Copy;
    /// Sums in registers.
    type Sum: Copy;
    /// Weights in registers.
    type Wide: Copy;
    /// Activations in registers.
    type Splat: Copy;

    /// Rows of the largest tile whose sums stay in 16 registers: a product that is not fused with its
    /// addition needs some for itself.
    const ROWS: usize;
    /// Panels of the largest tile, likewise.
    const PANELS: usize;
    /// Sums of nothing.
    const NOTHING: Self::Stored;
    /// Weights of nothing.
    const EMPTY: Self::Weight;

    /// Sums from memory.
    fn load(s: S, from: &Self::Stored) -> Self::Sum;
    /// Sums to memory.
    fn store(s: S, sum: Self::Sum, to: &mut Self::Stored);
    /// Weights from memory.
    fn widen(s: S, weight: &Self::Weight) -> Self::Wide;
    /// An activation in all lanes.
    fn splat(s: S, activation: &Self::Activation) -> Self::Splat;
    /// `sum = x w + sum`.
    fn step(s: S, x: Self::Splat, w: Self::Wide, sum: Self::Sum) -> Self::Sum;
    /// What sums stand for, where a row has the scale `row` and channels have `columns`.
    fn finish(s: S, sums: &Self::Stored, row: f32, columns: &[f32; LANES]) -> S::F;
}

/// f32 with f32.
pub(crate) struct F32;

/// f32 with bf16: the same as f32 with these weights in f32, to the bit.
pub(crate) struct Bf16;

/// 8 bits with 8 bits, summed in 16 bits by fours, and in 32.
pub(crate) struct Int8;

macro_rules! floats {
    ($format:ident, $weight:ty, $zero:literal, $load:ident) => {
        impl<S: Simd> Product<S> for $format {
            type Activation = f32;
            type Weight = $weight;
            type Stored = [f32; LANES];
            type Sum = S::F;
            type Wide = S::F;
            type Splat = S::F;

            const ROWS: usize = 6;
            const PANELS: usize = 4;
            const NOTHING: Self::Stored = [0.0; LANES];
            const EMPTY: $weight = [$zero; LANES];

            #[inline(always)]
            fn load(s: S, from: &Self::Stored) -> Self::Sum {
                s.load(from)
            }

            #[inline(always)]
            fn store(s: S, sum: Self::Sum, to: &mut Self::Stored) {
                s.store(sum, to);
            }

            #[inline(always)]
            fn widen(s: S, weight: &Self::Weight) -> Self::Wide {
                s.$load(weight)
            }

            #[inline(always)]
            fn splat(s: S, activation: &f32) -> Self::Splat {
                s.splat(*activation)
            }

            #[inline(always)]
            fn step(s: S, x: Self::Splat, w: Self::Wide, sum: Self::Sum) -> Self::Sum {
                s.mul_add(x, w, sum)
            }

            #[inline(always)]
            fn finish(s: S, sums: &Self::Stored, _: f32, _: &[f32; LANES]) -> S::F {
                s.load(sums)
            }
        }
    };
}

floats!(F32, [f32; LANES], 0.0, load);
floats!(Bf16, [u16; LANES], 0, bf16);

impl<S: Simd> Product<S> for Int8 {
    type Activation = Octet;
    type Weight = Octets;
    type Stored = [i32; LANES];
    type Sum = S::I;
    type Wide = S::Octets;
    type Splat = S::Octet;

    const ROWS: usize = 4;
    const PANELS: usize = 2;
    const NOTHING: Self::Stored = [0; LANES];
    const EMPTY: Octets = [[[0; 4]; LANES]; 2];

    #[inline(always)]
    fn load(s: S, from: &Self::Stored) -> Self::Sum {
        s.load_i32(from)
    }

    #[inline(always)]
    fn store(s: S, sum: Self::Sum, to: &mut Self::Stored) {
        s.store_i32(sum, to);
    }

    #[inline(always)]
    fn widen(s: S, weight: &Self::Weight) -> Self::Wide {
        s.load_octets(weight)
    }

    #[inline(always)]
    fn splat(s: S, activation: &Octet) -> Self::Splat {
        s.splat_octet(*activation)
    }

    #[inline(always)]
    fn step(s: S, x: Self::Splat, w: Self::Wide, sum: Self::Sum) -> Self::Sum {
        s.dot(x, w, sum)
    }

    #[inline(always)]
    fn finish(s: S, sums: &Self::Stored, row: f32, columns: &[f32; LANES]) -> S::F {
        let scale = s.mul(s.splat(row), s.load(columns));
        s.mul(s.to_f32(s.load_i32(sums)), scale)
    }
}
