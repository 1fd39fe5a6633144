//! The portable path: plain Rust that compilers vectorise with what the target always has.
//!
//! Invariant: no intrinsics and no `unsafe`, so that an interpreter can run it. It multiplies and adds
//! in two roundings, since a fused one is a function call where the target has none.

use super::{LANES, Octet, Octets, Simd};

/// Plain Rust.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

/// The nearest integer, the even one of two; for numbers within 2^22. `round_ties_even` is a function call
/// where the target has no instruction for it.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> f32 {
    // 1.5 times 2^23: next to it, the last bit of a number is 1.
    const ROUNDING: f32 = 12_582_912.0;
    (x + ROUNDING) - ROUNDING
}

/// `f` of each lane.
#[inline(always)]
fn zip(mut a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = f(*a, b);
    }
    a
}

/// Folds halves upon each other until one is left.
#[inline(always)]
fn fold(mut x: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = x.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low = f(*low, *high);
        }
        half /= 2;
    }
    x[0]
}

impl Simd for Portable {
    const ROWS: usize = 2;
    const PANELS: usize = 1;

    type F = [f32; LANES];
    type I = [i32; LANES];
    type Octets = Octets;
    type Octet = Octet;

    #[inline(always)]
    fn prefetch<T>(self, _at: *const T) {}

    #[inline(always)]
    fn prefetch_far<T>(self, _at: *const T) {}

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        x.map(nearest)
    }

    #[inline(always)]
    fn exp2(self, n: Self::F) -> Self::F {
        #[expect(clippy::cast_possible_truncation, reason = "integers within i8")]
        n.map(|n| f32::from_bits(((n as i32).wrapping_add(127) << 23).cast_unsigned()))
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        fold(x, |a, b| a + b)
    }

    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        fold(x, |a, b| if a > b { a } else { b })
    }

    fn arrange(columns: [u16; LANES]) -> [u16; LANES] {
        columns
    }

    #[inline(always)]
    fn bf16(self, from: &[u16; LANES]) -> Self::F {
        from.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        *from
    }

    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    fn to_u8(self, x: Self::F, to: &mut [u8; LANES]) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "integers within 127, and 128 more"
        )]
        let rounded = self.round(x).map(|x| (x + 128.0) as u8);
        *to = rounded;
    }

    #[inline(always)]
    fn load_octets(self, from: &Octets) -> Self::Octets {
        *from
    }

    #[inline(always)]
    fn splat_octet(self, x: Octet) -> Self::Octet {
        x
    }

    #[inline(always)]
    fn dot(self, x: Self::Octet, w: Self::Octets, mut c: Self::I) -> Self::I {
        for (x, w) in x.iter().zip(&w) {
            for (w, c) in w.iter().zip(&mut c) {
                for (x, w) in x.iter().zip(w) {
                    *c = c.wrapping_add(i32::from(*x) * i32::from(*w));
                }
            }
        }
        c
    }
}
