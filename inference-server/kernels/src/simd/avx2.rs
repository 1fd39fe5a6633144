//! AVX2 and FMA: a vector of 16 is two registers.
//!
//! Invariant: an [`Avx2`] exists only where the machine was found to have both, which is what makes
//! each intrinsic here sound.

use std::arch::x86_64::{
    __m256, __m256i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _MM_HINT_T1,
    _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps, _mm_movehl_ps,
    _mm_packus_epi16, _mm_prefetch, _mm_storeu_si128, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_castps256_ps128, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps,
    _mm256_mul_ps, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_round_ps,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_storeu_si256, _mm256_sub_ps,
};

use super::{LANES, Octet, Octets, Op, Simd};

/// The proof that this machine has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The proof, where it holds.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Runs `op`, compiled for it.
    pub(crate) fn run<O: Op>(self, op: O) -> O::Output {
        // SAFETY: `self` proves that the machine has both features.
        unsafe { compiled(self, op) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn compiled<O: Op>(simd: Avx2, op: O) -> O::Output {
    op.run(simd)
}

/// An intrinsic on both halves.
macro_rules! both {
    ($intrinsic:ident, $($x:ident),+) => {
        // SAFETY: it touches registers alone, and `self` proves that the machine has it.
        unsafe { [$intrinsic($($x[0]),+), $intrinsic($($x[1]),+)] }
    };
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

impl Simd for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;

    type F = [__m256; 2];
    type I = [__m256i; 2];
    type Octets = [[__m256i; 2]; 2];
    type Octet = [__m256i; 2];

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
        // SAFETY: as in `both`.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        let from = from.as_ptr();
        // SAFETY: `from` is 16 numbers, each load takes 8 of them, from any alignment.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: `to` is 16 numbers, each store writes 8 of them, at any alignment.
        unsafe {
            _mm256_storeu_ps(to, x[0]);
            _mm256_storeu_ps(to.add(8), x[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        // SAFETY: as in `both`.
        unsafe {
            [
                _mm256_round_ps::<NEAREST>(x[0]),
                _mm256_round_ps::<NEAREST>(x[1]),
            ]
        }
    }

    #[inline(always)]
    fn exp2(self, n: Self::F) -> Self::F {
        let n = both!(_mm256_cvtps_epi32, n);
        // SAFETY: as in `both`.
        let bias = unsafe { [_mm256_set1_epi32(127); 2] };
        let n = both!(_mm256_add_epi32, n, bias);
        // SAFETY: as in `both`.
        unsafe {
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n[0])),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n[1])),
            ]
        }
    }

    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        // SAFETY: as in `both`.
        unsafe {
            let x = _mm256_add_ps(x[0], x[1]);
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn largest(self, x: Self::F) -> f32 {
        // SAFETY: as in `both`.
        unsafe {
            let x = _mm256_max_ps(x[0], x[1]);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    /// Column `i` beside column `i + 8`: one shift and one mask then give both halves in order.
    fn arrange(columns: [u16; LANES]) -> [u16; LANES] {
        let mut arranged = [0; LANES];
        let (low, high) = columns.split_at(LANES / 2);
        for (pair, (low, high)) in arranged.chunks_exact_mut(2).zip(low.iter().zip(high)) {
            pair.copy_from_slice(&[*low, *high]);
        }
        arranged
    }

    #[inline(always)]
    fn bf16(self, from: &[u16; LANES]) -> Self::F {
        // SAFETY: the load takes the 32 bytes of `from`, from any alignment; the rest as in `both`.
        unsafe {
            let pairs = _mm256_loadu_si256(from.as_ptr().cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)),
                _mm256_castsi256_ps(_mm256_and_si256(pairs, upper)),
            ]
        }
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        let from = from.as_ptr();
        // SAFETY: `from` is 16 numbers, each load takes 8 of them, from any alignment.
        unsafe {
            [
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(8).cast()),
            ]
        }
    }

    #[inline(always)]
    fn store_i32(self, x: Self::I, to: &mut [i32; LANES]) {
        let to = to.as_mut_ptr();
        // SAFETY: `to` is 16 numbers, each store writes 8 of them, at any alignment.
        unsafe {
            _mm256_storeu_si256(to.cast(), x[0]);
            _mm256_storeu_si256(to.add(8).cast(), x[1]);
        }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        both!(_mm256_cvtepi32_ps, x)
    }

    #[inline(always)]
    fn to_u8(self, x: Self::F, to: &mut [u8; LANES]) {
        let x = both!(_mm256_cvtps_epi32, x);
        // SAFETY: the store writes the 16 bytes of `to`, at any alignment; the rest as in `both`.
        unsafe {
            // Packing works within 128 bits: the quarters come out as 0, 2, 1, 3.
            let packed = _mm256_packs_epi32(x[0], x[1]);
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            let moved = _mm256_add_epi16(ordered, _mm256_set1_epi16(128));
            let (low, high) = (
                _mm256_castsi256_si128(moved),
                _mm256_extracti128_si256::<1>(moved),
            );
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm_packus_epi16(low, high));
        }
    }

    #[inline(always)]
    fn load_octets(self, from: &Octets) -> Self::Octets {
        let from: *const __m256i = from.as_ptr().cast();
        // SAFETY: `from` is 128 bytes, each load takes 32 of them, from any alignment.
        unsafe {
            [
                [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))],
                [
                    _mm256_loadu_si256(from.add(2)),
                    _mm256_loadu_si256(from.add(3)),
                ],
            ]
        }
    }

    #[inline(always)]
    fn splat_octet(self, x: Octet) -> Self::Octet {
        let (first, second) = (i32::from_le_bytes(x[0]), i32::from_le_bytes(x[1]));
        // SAFETY: as in `both`.
        unsafe { [_mm256_set1_epi32(first), _mm256_set1_epi32(second)] }
    }

    #[inline(always)]
    fn dot(self, x: Self::Octet, w: Self::Octets, c: Self::I) -> Self::I {
        let [first, second] = w;
        let (x0, x1) = ([x[0]; 2], [x[1]; 2]);
        // SAFETY: as in `both`.
        let ones = unsafe { [_mm256_set1_epi16(1); 2] };
        let first = both!(_mm256_maddubs_epi16, x0, first);
        let second = both!(_mm256_maddubs_epi16, x1, second);
        let pairs = both!(_mm256_add_epi16, first, second);
        let quads = both!(_mm256_madd_epi16, pairs, ones);
        both!(_mm256_add_epi32, c, quads)
    }
}
