//! exp, erf, tanh, and the activation functions that are made of them.
//!
//! Owns the formulas and their errors, which are tested over the whole range against f64. Invariant:
//! each lane is computed by itself, so that a number's place in a vector does not matter. NaN stays
//! NaN.

use crate::isa::Kernels;
use crate::simd::{LANES, Op, Simd, load_part, store_part};

/// Largest relative error of [`exp`], in units of 2^-23, where the result is not subnormal.
pub const EXP_ERROR: f64 = 2.0;
/// Largest absolute error of [`erf`].
pub const ERF_ERROR: f64 = 5e-7;
/// Largest absolute error of [`tanh`].
pub const TANH_ERROR: f64 = 5e-7;

/// Activation functions, as models name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x.
    #[default]
    Identity,
    /// x Φ(x), with the error function.
    Gelu,
    /// The same, approximated by tanh.
    GeluTanh,
    /// max(0, x).
    Relu,
    /// x sigmoid(x).
    Silu,
    /// tanh(x).
    Tanh,
}

impl Activation {
    /// Of each lane.
    #[inline(always)]
    pub(crate) fn of<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Identity => x,
            Self::Gelu => {
                let half = s.mul(x, s.splat(0.5));
                let erf = v_erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
                s.mul_add(half, erf, half)
            }
            Self::GeluTanh => {
                let half = s.mul(x, s.splat(0.5));
                let cubic = s.mul(s.mul(x, x), s.splat(0.044_715));
                let inner = s.mul(x, s.splat(0.797_884_6));
                let tanh = v_tanh(s, s.mul_add(inner, cubic, inner));
                s.mul_add(half, tanh, half)
            }
            // The second of `max` is what comes out where either is NaN.
            Self::Relu => s.max(s.splat(0.0), x),
            Self::Silu => {
                let down = v_exp(s, s.sub(s.splat(0.0), x));
                s.div(x, s.add(down, s.splat(1.0)))
            }
            Self::Tanh => v_tanh(s, x),
        }
    }
}

/// `((c0 x + c1) x + c2) ..`.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = s.splat(0.0);
    for (i, c) in coefficients.into_iter().enumerate() {
        let c = s.splat(c);
        sum = if i == 0 { c } else { s.mul_add(sum, x, c) };
    }
    sum
}

/// Between both limits; NaN stays.
#[inline(always)]
fn clamp<S: Simd>(s: S, x: S::F, low: f32, high: f32) -> S::F {
    s.max(s.splat(low), s.min(s.splat(high), x))
}

/// exp: 2^n times a polynomial of what is left of x after n times the logarithm of 2 (Cephes, `expf`).
#[inline(always)]
pub(crate) fn v_exp<S: Simd>(s: S, x: S::F) -> S::F {
    // Beyond these it is 0 and infinity.
    let x = clamp(s, x, -104.0, 89.0);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-0.693_359_4), x);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    let tail = polynomial(
        s,
        r,
        [
            1.987_569_1e-4,
            1.398_2e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            0.166_666_66,
            0.5,
        ],
    );
    let power = s.add(s.mul_add(tail, s.mul(r, r), r), s.splat(1.0));
    // In two steps, since 2^n itself may be beyond f32 where the result is not.
    let first = s.round(s.mul(n, s.splat(0.5)));
    let second = s.sub(n, first);
    s.mul(s.mul(power, s.exp2(first)), s.exp2(second))
}

/// erf: x times a rational function of its square, up to 4, where it is 1 (Eigen, `generic_fast_erf`).
#[inline(always)]
pub(crate) fn v_erf<S: Simd>(s: S, x: S::F) -> S::F {
    let x = clamp(s, x, -4.0, 4.0);
    let square = s.mul(x, x);
    let above = polynomial(
        s,
        square,
        [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_5e-5,
            -7.349_906e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let below = polynomial(
        s,
        square,
        [
            -1.456_607_2e-5,
            -2.133_740_5e-4,
            -1.682_827e-3,
            -7.373_329e-3,
            -1.426_473_9e-2,
        ],
    );
    clamp(s, s.div(s.mul(x, above), below), -1.0, 1.0)
}

/// tanh: x times a rational function of its square, up to 7.905, where it is 1 (Eigen, `ptanh_float`).
#[inline(always)]
pub(crate) fn v_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let x = clamp(s, x, -7.905_311, 7.905_311);
    let square = s.mul(x, x);
    let above = polynomial(
        s,
        square,
        [
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297e-8,
            1.485_722_4e-5,
            6.372_619_3e-4,
            4.893_524_6e-3,
        ],
    );
    let below = polynomial(
        s,
        square,
        [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3],
    );
    clamp(s, s.div(s.mul(x, above), below), -1.0, 1.0)
}

/// A function of one number.
#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Erf,
    Of(Activation),
}

struct Each<'a>(Function, &'a mut [f32]);

impl Op for Each<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(function, values) = self;
        for part in values.chunks_mut(LANES) {
            let x = load_part(s, part, 0.0);
            let y = match function {
                Function::Exp => v_exp(s, x),
                Function::Erf => v_erf(s, x),
                Function::Of(activation) => activation.of(s, x),
            };
            store_part(s, y, part);
        }
    }
}

impl Kernels {
    /// exp of each number, with a relative error below [`EXP_ERROR`] units of 2^-23; subnormal results
    /// to half of their last bit and that; infinity above 88.73, 0 below -103.98.
    pub fn exp(self, values: &mut [f32]) {
        self.run(Each(Function::Exp, values));
    }

    /// erf of each number, with an absolute error below [`ERF_ERROR`].
    pub fn erf(self, values: &mut [f32]) {
        self.run(Each(Function::Erf, values));
    }

    /// tanh of each number, with an absolute error below [`TANH_ERROR`].
    pub fn tanh(self, values: &mut [f32]) {
        self.activate(Activation::Tanh, values);
    }

    /// `activation` of each number.
    pub fn activate(self, activation: Activation, values: &mut [f32]) {
        self.run(Each(Function::Of(activation), values));
    }
}
