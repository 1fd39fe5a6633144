//! What several tests need: weights from a seed, layers of them, sums in f64.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "each test uses a part, and may panic"
)]

use kernels::{Alone, Format, Isa, Kernels, Matrix, Packed, Pool, Quantised, Then};
use proptest::prelude::*;

/// Calls on three threads at once.
pub(crate) struct Three;

impl Pool for Three {
    fn on_all(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(work);
            }
        });
    }
}

/// Numbers between -1 and 1 that a seed gives.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Checks numbers of `kernels` against those in f64.
pub(crate) fn near(kernels: Kernels, found: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let error = (f64::from(*found) - expected).abs();
        prop_assert!(error < 2e-5, "{} {} {}", kernels.isa(), found, expected);
    }
    Ok(())
}

/// As a checkpoint has them.
pub(crate) fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Packs `[outputs, inputs]`.
pub(crate) fn pack(
    kernels: Kernels,
    format: Format,
    (weight, bias): (&[f32], Option<&[f32]>),
    (outputs, inputs): (usize, usize),
) -> Packed {
    let bytes = bytes(weight);
    let matrix = Matrix::f32(&bytes, outputs, inputs).unwrap();
    Packed::new(kernels, &Alone, format, matrix, bias).unwrap()
}

/// Computes a layer on this thread.
pub(crate) fn forward(layer: &Packed, x: &[f32], then: Then<'_>) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / layer.inputs() * layer.outputs()];
    let mut room = Quantised::default();
    layer.forward(&Alone, x, then, &mut out, &mut room).unwrap();
    out
}

/// The bits, so that NaN equals itself.
pub(crate) fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// The portable path.
pub(crate) fn portable() -> Kernels {
    Kernels::of(Isa::Portable).unwrap()
}

/// The nearest bfloat16. Adding 2^16 times as much and taking it away rounds to 8 bits of mantissa, ties to even.
pub(crate) fn nearest_bf16(x: f32) -> f32 {
    let scaled = f64::from(x) * (f64::from(1u32 << 16) * f64::from(1u32 << 29) + 1.0);
    (scaled - (scaled - f64::from(x))) as f32
}
