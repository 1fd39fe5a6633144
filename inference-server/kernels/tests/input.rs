//! Linear layers: what they are given that is no number, or does not fit.
#![allow(clippy::unwrap_used, reason = "what tests are made of may panic")]

mod common;

use common::{Three, bits, bytes, forward, nearest_bf16, numbers, pack, portable};
use kernels::{Alone, Format, KernelError, Kernels, Matrix, Packed, Quantised, Residual, Then};

#[test]
fn nan_and_infinity_reach_what_they_belong_to_and_nothing_else() {
    let (rows, inputs, outputs) = (9, 20, 37);
    for kernels in Kernels::all() {
        for format in [Format::F32, Format::Bf16] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut weight = vec![1.0; inputs * outputs];
                weight[30 * inputs + 7] = bad;
                let mut x = vec![1.0; rows * inputs];
                x[4 * inputs + 19] = bad;
                let layer = pack(kernels, format, (&weight, None), (outputs, inputs));
                let y = forward(&layer, &x, Then::default());
                for (i, y) in y.into_iter().enumerate() {
                    let hit = i / outputs == 4 || i % outputs == 30;
                    assert_eq!(y.is_finite(), !hit, "{i} {y}");
                    if hit {
                        assert_eq!(y.is_nan(), bad.is_nan());
                    } else {
                        assert!((y - 20.0).abs() < 1e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn int8_refuses_weights_that_are_no_numbers_and_names_the_first() {
    let (inputs, outputs) = (33, 40);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut weight = vec![1.0; inputs * outputs];
        weight[35 * inputs + 2] = bad;
        weight[9 * inputs + 32] = bad;
        weight[9 * inputs + 31] = bad;
        let bytes = bytes(&weight);
        let matrix = Matrix::f32(&bytes, outputs, inputs).unwrap();
        let error = Packed::new(portable(), &Three, Format::Int8, matrix, None).unwrap_err();
        assert_eq!(error, KernelError::NotFinite { row: 9, column: 31 });
        assert!(error.to_string().contains("f32 or bf16"));
    }
}

#[test]
fn int8_rows_that_are_no_numbers_come_out_as_nan_alone() {
    for kernels in Kernels::all() {
        let layer = pack(kernels, Format::Int8, (&[1.0; 34 * 5], None), (5, 34));
        let mut x = vec![1.0; 34 * 8];
        x[34 * 6 + 33] = f32::NEG_INFINITY;
        for (i, y) in forward(&layer, &x, Then::default()).into_iter().enumerate() {
            assert_eq!(y.is_nan(), i / 5 == 6, "{y}");
        }
    }
}

#[test]
fn weights_of_a_checkpoint_in_bf16_are_kept_as_they_are() {
    let numbers: Vec<f32> = numbers(7 * 19, 1).into_iter().map(nearest_bf16).collect();
    let half: Vec<u8> = numbers
        .iter()
        .flat_map(|x| (x.to_bits() >> 16).to_le_bytes()[..2].to_vec())
        .collect();
    let x = common::numbers(19, 2);
    for kernels in Kernels::all() {
        for format in Format::ALL {
            let matrix = Matrix::bf16(&half, 7, 19).unwrap();
            let layer = Packed::new(kernels, &Alone, format, matrix, None).unwrap();
            let expected = pack(kernels, format, (&numbers, None), (7, 19));
            let [found, expected] =
                [layer, expected].map(|layer| forward(&layer, &x, Then::default()));
            assert_eq!(bits(&found), bits(&expected));
        }
    }
}

#[test]
fn memory_is_that_of_the_numbers() {
    let weight = numbers(768 * 768, 1);
    for (format, width) in [(Format::F32, 4), (Format::Bf16, 2), (Format::Int8, 1)] {
        let layer = pack(portable(), format, (&weight, None), (768, 768));
        let scales = if format == Format::Int8 { 768 * 8 } else { 0 };
        assert_eq!(layer.bytes(), 768 * 768 * width + scales);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_numbers() {
    let weight = bytes(&[1.0; 6]);
    assert!(Matrix::f32(&weight, 2, 3).is_ok());
    for (outputs, inputs) in [(2, 2), (3, 3), (0, 3), (2, 0), (usize::MAX, 2)] {
        assert!(Matrix::f32(&weight, outputs, inputs).is_err());
    }
    for length in [23, 20] {
        let torn = Matrix::f32(&weight[..length], 2, 3).unwrap_err();
        assert!(torn.to_string().contains("asks for 6 numbers, there are 5"));
    }
    let long = bytes(&[1.0; 7]);
    assert!(Matrix::f32(&long[..25], 2, 3).is_err());

    let matrix = Matrix::f32(&weight, 2, 3).unwrap();
    let packed = |bias| Packed::new(portable(), &Alone, Format::F32, matrix, bias);
    assert!(packed(Some(&[1.0])).is_err());
    let other = (Matrix::f32(&weight, 3, 2).unwrap(), None);
    assert!(Packed::gated(portable(), &Alone, Format::F32, (matrix, None), other).is_err());

    let layer = packed(None).unwrap();
    let mut room = Quantised::default();
    let mut run = |x: &[f32], then, out: &mut [f32]| layer.forward(&Alone, x, then, out, &mut room);
    assert!(run(&[1.0; 4], Then::default(), &mut [0.0; 2]).is_err());
    assert!(run(&[1.0; 3], Then::default(), &mut [0.0; 3]).is_err());
    let residual = Then {
        residual: Residual::Add(&[1.0]),
        ..Then::default()
    };
    assert!(run(&[1.0; 3], residual, &mut [0.0; 2]).is_err());
    assert!(run(&[], Then::default(), &mut []).is_ok());
}

#[test]
fn a_layer_too_wide_for_sums_in_32_bits_is_refused_in_int8() {
    let inputs = (1 << 17) + 1;
    let weight = vec![0; inputs * 4];
    let matrix = Matrix::f32(&weight, 1, inputs).unwrap();
    let error = Packed::new(portable(), &Alone, Format::Int8, matrix, None).unwrap_err();
    assert!(error.to_string().contains("use bf16"));
    // The widest does not overflow, with the largest numbers that there are.
    let ones = vec![1.0; 1 << 17];
    for kernels in Kernels::all() {
        let layer = pack(kernels, Format::Int8, (&ones, None), (1, 1 << 17));
        let y = forward(&layer, &ones, Then::default());
        // Weights that are all alike are half way between two of 8 bits.
        assert!((y[0] / 131_072.0 - 1.0).abs() < 0.5 / 31.0, "{y:?}");
    }
}
