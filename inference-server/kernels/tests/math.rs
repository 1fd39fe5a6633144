//! exp, erf, tanh, norms and softmax, against f64.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "rounding is what is tested, small numbers are cut, and what tests are made of may panic"
)]

mod common;

use common::{bits, numbers};
use kernels::{Activation, Alone, ERF_ERROR, EXP_ERROR, KernelError, Kernels, Norm, TANH_ERROR};
use proptest::prelude::*;

/// Numbers of both signs over the whole range of f32, about 6 million of them: each 719th.
fn whole_range() -> Vec<f32> {
    (0..=u32::MAX)
        .step_by(719)
        .map(f32::from_bits)
        .filter(|x| x.is_finite())
        .collect()
}

#[test]
fn exp_is_within_its_error_over_the_whole_range() {
    let x = whole_range();
    for kernels in Kernels::all() {
        let mut y = x.clone();
        kernels.exp(&mut y);
        for (x, y) in x.iter().zip(y) {
            let expected = f64::from(*x).exp();
            let error = (f64::from(y) - expected).abs();
            if expected as f32 == f32::INFINITY {
                assert!(y > 3.4e38, "{x} {y}");
            } else if expected >= f64::from(f32::MIN_POSITIVE) {
                let limit = EXP_ERROR * f64::from(f32::EPSILON) * expected;
                assert!(error <= limit, "{x} {y} {}", error / expected * 8_388_608.0);
            } else {
                assert!(error <= 1e-44, "{x} {y} {expected}");
            }
        }
    }
}

#[test]
fn erf_and_tanh_are_within_their_errors_over_the_whole_range() {
    let x = whole_range();
    for kernels in Kernels::all() {
        for (name, limit, reference) in [
            ("erf", ERF_ERROR, libm::erf as fn(f64) -> f64),
            ("tanh", TANH_ERROR, libm::tanh),
        ] {
            let mut y = x.clone();
            match name {
                "erf" => kernels.erf(&mut y),
                _ => kernels.tanh(&mut y),
            }
            let mut largest = 0.0;
            for (x, y) in x.iter().zip(y) {
                let error = (f64::from(y) - reference(f64::from(*x))).abs();
                largest = error.max(largest);
                assert!(error <= limit, "{} {name}({x}) {y}: {error}", kernels.isa());
                assert!(y.abs() <= 1.0);
            }
            println!("{} {name}: {largest:e}", kernels.isa());
        }
    }
}

#[test]
fn small_numbers_keep_their_relative_precision() {
    for kernels in Kernels::all() {
        for x in [1e-3f32, 1e-10, 1e-30] {
            let (mut tanh, mut erf) = ([x], [x]);
            kernels.tanh(&mut tanh);
            kernels.erf(&mut erf);
            assert!((f64::from(tanh[0]) / libm::tanh(f64::from(x)) - 1.0).abs() < 1e-6);
            assert!((f64::from(erf[0]) / libm::erf(f64::from(x)) - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn nan_stays_and_infinities_go_to_the_limits() {
    for kernels in Kernels::all() {
        let of = |function: fn(Kernels, &mut [f32])| {
            let mut x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            function(kernels, &mut x);
            assert!(x[0].is_nan());
            [x[1], x[2]]
        };
        assert_eq!(of(Kernels::exp), [f32::INFINITY, 0.0]);
        for function in [Kernels::erf, Kernels::tanh] {
            let limits = of(function);
            assert!((limits[0] - 1.0).abs() < 1e-6 && (limits[1] + 1.0).abs() < 1e-6);
        }
        for activation in [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Silu,
        ] {
            let mut x = [f32::NAN, f32::INFINITY, 1.0, -1.0, 50.0, -50.0];
            kernels.activate(activation, &mut x);
            assert!(x[0].is_nan() && x[1] == f32::INFINITY, "{activation:?}");
            assert!(
                (x[4] - 50.0).abs() < 1e-4 && x[5].abs() < 1e-5,
                "{activation:?}"
            );
        }
    }
}

/// The numbers of a row, centred or not, over the root of their mean square, in f64.
fn normalised(row: &[f32], centred: bool, eps: f64) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = if centred {
        row.iter().map(|x| f64::from(*x)).sum::<f64>() / n
    } else {
        0.0
    };
    let square: f64 = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    let root = (square / n + eps).sqrt();
    row.iter().map(|x| (f64::from(*x) - mean) / root).collect()
}

proptest! {
    #[test]
    fn norms_are_what_f64_says_and_a_row_is_its_own(rows in 0usize..40, width in 1usize..70, seed in any::<u64>()) {
        let x = numbers(rows * width, seed);
        let (weight, bias) = (numbers(width, seed ^ 1), numbers(width, seed ^ 2));
        for kernels in Kernels::all() {
            for (norm, centred, bias) in [
                (Norm::Layer { weight: &weight, bias: Some(&bias), eps: 1e-3 }, true, Some(&bias)),
                (Norm::Layer { weight: &weight, bias: None, eps: 1e-3 }, true, None),
                (Norm::Rms { weight: &weight, eps: 1e-3 }, false, None),
            ] {
                let mut out = vec![f32::NAN; x.len()];
                kernels.norm(&Alone, norm, &x, &mut out).unwrap();
                for (row, found) in x.chunks(width).zip(out.chunks(width)) {
                    let expected = normalised(row, centred, 1e-3);
                    for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
                        let bias = bias.map_or(0.0, |bias| f64::from(bias[i]));
                        let expected = expected * f64::from(weight[i]) + bias;
                        prop_assert!((expected - f64::from(*found)).abs() < 1e-5);
                    }
                    let mut alone = vec![0.0; width];
                    kernels.norm(&Alone, norm, row, &mut alone).unwrap();
                    prop_assert_eq!(bits(&alone), bits(found));
                }
            }
        }
    }

    #[test]
    fn softmax_is_what_f64_says(width in 1usize..100, scale in 0.1f32..50.0, seed in any::<u64>()) {
        let x = numbers(width, seed);
        let powers: Vec<f64> = x.iter().map(|x| (f64::from(*x) * f64::from(scale)).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for kernels in Kernels::all() {
            let mut found = x.clone();
            kernels.softmax(&mut found, scale);
            for (found, power) in found.iter().zip(&powers) {
                prop_assert!((f64::from(*found) - power / sum).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn softmax_gives_what_is_masked_nothing_and_keeps_nan() {
    for kernels in Kernels::all() {
        let mut row = vec![f32::NEG_INFINITY; 20];
        row[17] = 3e38;
        kernels.softmax(&mut row, 1.0);
        assert_eq!((row[17], row[0]), (1.0, 0.0));
        for bad in [
            [f32::NAN, 1.0],
            [f32::NEG_INFINITY; 2],
            [f32::INFINITY, 0.0],
        ] {
            let mut row = bad;
            kernels.softmax(&mut row, 1.0);
            assert!(row[0].is_nan(), "{bad:?} {row:?}");
        }
        kernels.softmax(&mut [], 1.0);
    }
}

#[test]
fn norms_of_the_wrong_shape_are_refused() {
    let kernels = Kernels::best();
    let norm = |weight| Norm::Rms { weight, eps: 1e-5 };
    let run = |norm, x: &[f32], out: &mut [f32]| kernels.norm(&Alone, norm, x, out);
    assert!(matches!(
        run(norm(&[]), &[], &mut []),
        Err(KernelError::Shape(_))
    ));
    assert!(run(norm(&[1.0; 3]), &[1.0; 4], &mut [0.0; 4]).is_err());
    assert!(run(norm(&[1.0; 2]), &[1.0; 4], &mut [0.0; 3]).is_err());
    let torn = Norm::Layer {
        weight: &[1.0; 2],
        bias: Some(&[1.0]),
        eps: 1e-5,
    };
    assert!(run(torn, &[1.0; 4], &mut [0.0; 4]).is_err());
}
