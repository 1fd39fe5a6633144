//! AVX-512 F, BW, DQ and VL: a vector of 16 is one register.
//!
//! Invariant: an [`Avx512`] exists only where the machine was found to have all four, which is what
//! makes each intrinsic here sound.

use std::arch::x86_64::{
    __m512, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _MM_HINT_T1,
    _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_prefetch, _mm_storeu_si128, _mm256_add_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
    _mm256_loadu_si256, _mm256_max_ps, _mm512_add_epi16, _mm512_add_epi32, _mm512_add_ps,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtps_epi32, _mm512_cvtusepi32_epi8, _mm512_div_ps, _mm512_extractf32x8_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_roundscale_ps, _mm512_set1_epi16,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_ps,
};

use super::{LANES, Octet, Octets, Op, Simd};

/// The proof that this machine has AVX-512 F, BW, DQ and VL, and what AVX2 has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, where it holds.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }

    /// Runs `op`, compiled for it.
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        // SAFETY: `self` proves that the machine has these features.
        unsafe { compiled(self, op) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn compiled<O: Op>(simd: Avx512, op: O) -> O::Output {
    op.run(simd)
}

/// An intrinsic.
macro_rules! one {
    ($intrinsic:ident, $($x:expr),+) => {
        // SAFETY: it touches registers alone, and `self` proves that the machine has it.
        unsafe { $intrinsic($($x),+) }
    };
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

impl Simd for Avx512 {
    const ROWS: usize = 6;
    const PANELS: usize = 4;

    type F = __m512;
    type I = __m512i;
    type Octets = [__m512i; 2];
    type Octet = [__m512i; 2];

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: a hint, which reads nothing that a program could notice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch_far<T>(self, at: *const T) {
        // SAFETY: as for `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        one!(_mm512_set1_ps, x)
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        // SAFETY: the load takes the 16 numbers of `from`, from any alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the store writes the 16 numbers of `to`, at any alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_mul_ps, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_div_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        one!(_mm512_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_max_ps, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        one!(_mm512_min_ps, a, b)
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        // SAFETY: as in `one`.
        unsafe { _mm512_roundscale_ps::<NEAREST>(x) }
    }

    #[inline(always)]
    fn exp2(self, n: Self::F) -> Self::F {
        // SAFETY: as in `one`.
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
        }
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        // SAFETY: as in `one`.
        unsafe {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        // SAFETY: as in `one`.
        unsafe {
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    fn arrange(columns: [u16; LANES]) -> [u16; LANES] {
        columns
    }

    #[inline(always)]
    fn bf16(self, from: &[u16; LANES]) -> Self::F {
        // SAFETY: the load takes the 32 bytes of `from`, from any alignment; the rest as in `one`.
        unsafe {
            let columns = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(columns))
        }
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        // SAFETY: the load takes the 64 bytes of `from`, from any alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        // SAFETY: the store writes the 64 bytes of `to`, at any alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        one!(_mm512_cvtepi32_ps, x)
    }

    #[inline(always)]
    fn to_u8(self, x: Self::F, to: &mut [u8; LANES]) {
        // SAFETY: the store writes the 16 bytes of `to`, at any alignment; the rest as in `one`.
        unsafe {
            let moved = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(128));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(moved));
        }
    }

    #[inline(always)]
    fn load_octets(self, from: &Octets) -> Self::Octets {
        let from: *const __m512i = from.as_ptr().cast();
        // SAFETY: `from` is 128 bytes, each load takes 64 of them, from any alignment.
        unsafe { [_mm512_loadu_si512(from), _mm512_loadu_si512(from.add(1))] }
    }

    #[inline(always)]
    fn splat_octet(self, x: Octet) -> Self::Octet {
        let (first, second) = (i32::from_le_bytes(x[0]), i32::from_le_bytes(x[1]));
        // SAFETY: as in `one`.
        unsafe { [_mm512_set1_epi32(first), _mm512_set1_epi32(second)] }
    }

    #[inline(always)]
    fn dot(self, x: Self::Octet, w: Self::Octets, c: Self::I) -> Self::I {
        // SAFETY: as in `one`.
        unsafe {
            let pairs = _mm512_add_epi16(
                _mm512_maddubs_epi16(x[0], w[0]),
                _mm512_maddubs_epi16(x[1], w[1]),
            );
            _mm512_add_epi32(c, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}
