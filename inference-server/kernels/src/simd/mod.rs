//! Vectors of 16 numbers, whatever the width of the machine's own.
//!
//! Owns what an instruction set has to offer ([`Simd`]), and its entry points. Must not know what is
//! computed with it. Invariant: each operation means the same on every set, to the bit, but for
//! [`Simd::mul_add`], which rounds once where the set fuses and twice where it does not.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod part;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use part::{load_part, store_part};
pub(crate) use portable::{Portable, nearest};

/// Numbers of a vector. Wider machines hold one in a register, others in several: a sum over lanes is
/// then the same everywhere.
pub(crate) const LANES: usize = 16;

/// 8 inputs of 16 columns: the first four of each column, then the others of each.
pub(crate) type Octets = [[[i8; 4]; LANES]; 2];

/// 8 inputs of a row, with 128 added to each.
pub(crate) type Octet = [[u8; 4]; 2];

/// A computation over any instruction set. All that it calls has to be `#[inline(always)]`: what is not
/// inlined is compiled without the set.
pub(crate) trait Op {
    /// What comes out.
    type Output;

    /// Computes.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations of an instruction set. A value is the proof that the machine has it.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Rows of the largest tile whose sums stay in registers.
    const ROWS: usize;
    /// Panels of that tile: 1 or 4.
    const PANELS: usize;

    /// 16 numbers of f32.
    type F: Copy;
    /// 16 numbers of i32.
    type I: Copy;
    /// 8 inputs of 16 columns of i8.
    type Octets: Copy;
    /// 8 inputs of a row, the same for all columns.
    type Octet: Copy;

    /// Asks for memory that will be read soon; whether there is any at `at` does not matter.
    fn prefetch<T>(self, at: *const T);
    /// The same for memory that will be read later: not into the first-level cache.
    fn prefetch_far<T>(self, at: *const T);
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// From memory.
    fn load(self, from: &[f32; LANES]) -> Self::F;
    /// To memory.
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a b + c`.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The nearest integer, the even one of two; for numbers within 2^22.
    fn round(self, x: Self::F) -> Self::F;
    /// 2 to the power of integers from -126 to 127.
    fn exp2(self, n: Self::F) -> Self::F;
    /// The sum over lanes: i with i + 8, then i + 4, i + 2, i + 1.
    fn sum(self, x: Self::F) -> f32;
    /// The largest over lanes, in the same order.
    fn largest(self, x: Self::F) -> f32;

    /// The order in which this set wants 16 columns of bf16 in memory.
    fn arrange(columns: [u16; LANES]) -> [u16; LANES];
    /// bf16, arranged, to f32.
    fn bf16(self, from: &[u16; LANES]) -> Self::F;

    /// From memory.
    fn load_i32(self, from: &[i32; LANES]) -> Self::I;
    /// To memory.
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]);
    /// The nearest f32.
    fn to_f32(self, x: Self::I) -> Self::F;
    /// 128 and the nearest integers, the even one of two; for numbers within 127.
    fn to_u8(self, x: Self::F, to: &mut [u8; LANES]);
    /// From memory.
    fn load_octets(self, from: &Octets) -> Self::Octets;
    /// The same inputs for all columns.
    fn splat_octet(self, x: Octet) -> Self::Octet;
    /// `c` and the sum of the 8 products. Those of the inputs 0, 1, 4 and 5 have to fit 16 bits together, and
    /// those of the others.
    fn dot(self, x: Self::Octet, w: Self::Octets, c: Self::I) -> Self::I;
}
