//! Linear layers: what they compute, and that the bits of a row are its own.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "rounding is what is tested, small numbers are cut, and what tests are made of may panic"
)]

mod common;

use common::{Three, bits, bytes, forward, nearest_bf16, numbers, pack, portable};
use kernels::{Activation, Alone, Format, Isa, Kernels, Matrix, Packed, Quantised, Residual, Then};
use proptest::prelude::*;

const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
];

/// A layer of any shape and its input.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    format: Format,
    bias: bool,
    gated: bool,
    activation: Activation,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let inputs = prop_oneof![1usize..40, 250..260usize, 500..530usize];
    let format = prop::sample::select(Format::ALL.to_vec());
    let activation = prop::sample::select(ACTIVATIONS.to_vec());
    let flags = (any::<bool>(), any::<bool>());
    (
        0usize..20,
        inputs,
        1usize..150,
        format,
        flags,
        activation,
        any::<u64>(),
    )
        .prop_map(
            |(rows, inputs, outputs, format, (bias, gated), activation, seed)| Case {
                rows,
                inputs,
                outputs,
                format,
                bias,
                gated,
                activation,
                seed,
            },
        )
}

impl Case {
    fn bias(&self, seed: u64) -> Option<Vec<f32>> {
        self.bias.then(|| numbers(self.outputs, self.seed ^ seed))
    }

    fn weight(&self, seed: u64) -> Vec<f32> {
        numbers(self.outputs * self.inputs, self.seed ^ seed)
    }

    fn layer(&self, kernels: Kernels) -> Packed {
        let shape = (self.outputs, self.inputs);
        let (bias, other_bias) = (self.bias(2), self.bias(4));
        if !self.gated {
            return pack(
                kernels,
                self.format,
                (&self.weight(1), bias.as_deref()),
                shape,
            );
        }
        let (gate, up) = (bytes(&self.weight(1)), bytes(&self.weight(3)));
        let matrix = |bytes| Matrix::f32(bytes, self.outputs, self.inputs).unwrap();
        let gate = (matrix(&gate), bias.as_deref());
        let up = (matrix(&up), other_bias.as_deref());
        Packed::gated(kernels, &Three, self.format, gate, up).unwrap()
    }

    fn x(&self) -> Vec<f32> {
        numbers(self.rows * self.inputs, self.seed ^ 5)
    }

    fn then(&self) -> Then<'static> {
        Then {
            activation: self.activation,
            residual: Residual::None,
        }
    }
}

/// An activation in f64.
/// The most that four weights which are summed in 16 bits are together.
fn largest_four(weight: &[f32]) -> f32 {
    let octets = weight.chunks(8).map(|octet| {
        let of = |places: [usize; 4]| -> f32 {
            let numbers = places.iter().filter_map(|place| octet.get(*place));
            numbers.map(|x| x.abs()).sum()
        };
        of([0, 1, 4, 5]).max(of([2, 3, 6, 7]))
    });
    octets.fold(0f32, f32::max)
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
    }
}

proptest! {
    #[test]
    fn f32_and_bf16_are_what_f64_says(case in case()) {
        prop_assume!(case.format != Format::Int8);
        let round = |weight: Vec<f32>| match case.format {
            Format::Bf16 => weight.into_iter().map(nearest_bf16).collect(),
            Format::F32 | Format::Int8 => weight,
        };
        let (gate, up) = (round(case.weight(1)), round(case.weight(3)));
        let (bias, other_bias) = (case.bias(2), case.bias(4));
        let sum = |x: &[f32], weight: &[f32], bias: &Option<Vec<f32>>, output: usize| {
            let weight = &weight[output * case.inputs..(output + 1) * case.inputs];
            let products = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
            products.sum::<f64>() + bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]))
        };
        let x = case.x();
        for kernels in Kernels::all() {
            let found = forward(&case.layer(kernels), &x, case.then());
            prop_assert_eq!(found.len(), case.rows * case.outputs);
            for (i, found) in found.into_iter().enumerate() {
                let (row, output) = (i / case.outputs, i % case.outputs);
                let x = &x[row * case.inputs..(row + 1) * case.inputs];
                let mut expected = activate(case.activation, sum(x, &gate, &bias, output));
                if case.gated {
                    expected *= sum(x, &up, &other_bias, output);
                }
                // Numbers are below 1, so the terms of a sum are at most as many as the inputs.
                let scale = (case.inputs as f64).max(1.0) * if case.gated { 8.0 } else { 1.0 };
                let error = (f64::from(found) - expected).abs();
                prop_assert!(error <= 1e-6 * scale, "{} {} {}", kernels.isa(), expected, found);
            }
        }
    }

    #[test]
    fn all_paths_agree_with_the_portable_one(case in case()) {
        let x = case.x();
        let expected = forward(&case.layer(portable()), &x, case.then());
        for kernels in Kernels::all() {
            let found = forward(&case.layer(kernels), &x, case.then());
            if case.format == Format::Int8 && case.activation == Activation::Identity {
                prop_assert_eq!(bits(&found), bits(&expected), "sums of integers are exact");
            }
            for (found, expected) in found.iter().zip(&expected) {
                // Relative to the terms of a sum, which are below 1 and as many as the inputs.
                let scale = expected.abs().max(case.inputs as f32);
                prop_assert!((found - expected).abs() <= 1e-5 * scale);
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bits_alone_and_at_every_place_of_a_batch(case in case()) {
        for kernels in Kernels::all() {
            let layer = case.layer(kernels);
            let row = numbers(case.inputs, case.seed ^ 6);
            let alone = bits(&forward(&layer, &row, case.then()));
            for place in 0..=case.rows {
                let mut x = case.x();
                let at = place * case.inputs;
                x.splice(at..at, row.iter().copied());
                let batch = forward(&layer, &x, case.then());
                let found = &batch[place * case.outputs..(place + 1) * case.outputs];
                prop_assert_eq!(bits(found), alone.clone(), "{} {}", kernels.isa(), place);
            }
        }
    }

    #[test]
    fn bf16_is_f32_with_rounded_weights_to_the_bit(case in case()) {
        let rounded: Vec<f32> = case.weight(1).into_iter().map(nearest_bf16).collect();
        let (x, shape) = (case.x(), (case.outputs, case.inputs));
        for kernels in Kernels::all() {
            let half = pack(kernels, Format::Bf16, (&case.weight(1), None), shape);
            let full = pack(kernels, Format::F32, (&rounded, None), shape);
            let [half, full] = [half, full].map(|layer| forward(&layer, &x, case.then()));
            prop_assert_eq!(bits(&half), bits(&full));
        }
    }

    #[test]
    fn int8_is_what_integers_say(case in case()) {
        let weight = case.weight(1);
        let (x, shape) = (case.x(), (case.outputs, case.inputs));
        let rounded = |numbers: &[f32], largest: f32, most: f32| -> (Vec<i64>, f32) {
            let inverse = most / largest;
            let integers = numbers.iter().map(|x| (x * inverse).round_ties_even() as i64);
            (integers.collect(), largest / most)
        };
        let mut expected = Vec::new();
        for x in x.chunks(case.inputs) {
            let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let (x, x_scale) = rounded(x, largest, 127.0);
            for weight in weight.chunks(case.inputs) {
                let (weight, scale) = rounded(weight, largest_four(weight), 126.0);
                let sum: i64 = x.iter().zip(weight).map(|(x, w)| x * w).sum();
                expected.push(sum as f32 * (x_scale * scale));
            }
        }
        for kernels in Kernels::all() {
            let layer = pack(kernels, Format::Int8, (&weight, None), shape);
            let found = forward(&layer, &x, Then::default());
            prop_assert_eq!(bits(&found), bits(&expected), "{}", kernels.isa());
        }
    }

    #[test]
    fn a_gated_layer_is_one_layer_times_another(case in case()) {
        prop_assume!(case.gated);
        let (x, shape) = (case.x(), (case.outputs, case.inputs));
        for kernels in Kernels::all() {
            let layer = |weight, bias: &Option<Vec<f32>>| {
                pack(kernels, case.format, (&case.weight(weight), bias.as_deref()), shape)
            };
            let gate = forward(&layer(1, &case.bias(2)), &x, case.then());
            let up = forward(&layer(3, &case.bias(4)), &x, Then::default());
            let expected: Vec<f32> = gate.iter().zip(&up).map(|(gate, up)| gate * up).collect();
            prop_assert_eq!(bits(&forward(&case.layer(kernels), &x, case.then())), bits(&expected));
        }
    }

    #[test]
    fn a_residual_is_added_last_wherever_it_is(case in case()) {
        for kernels in Kernels::all() {
            let (layer, x) = (case.layer(kernels), case.x());
            let plain = forward(&layer, &x, case.then());
            let residual = numbers(plain.len(), case.seed ^ 7);
            let expected: Vec<f32> = plain.iter().zip(&residual).map(|(y, r)| y + r).collect();
            let then = |residual| Then { residual, ..case.then() };
            let added = forward(&layer, &x, then(Residual::Add(&residual)));
            prop_assert_eq!(bits(&added), bits(&expected));
            let mut onto = residual.clone();
            let mut room = Quantised::default();
            layer.forward(&Alone, &x, then(Residual::Onto), &mut onto, &mut room).unwrap();
            prop_assert_eq!(bits(&onto), bits(&expected));
        }
    }

    #[test]
    fn threads_change_no_bit(case in case()) {
        // More rows than one task takes.
        let x = numbers(450 * case.inputs, case.seed);
        for kernels in Kernels::all().take(1) {
            let layer = case.layer(kernels);
            let alone = forward(&layer, &x, case.then());
            let mut out = vec![f32::NAN; alone.len()];
            let mut room = Quantised::default();
            layer.forward(&Three, &x, case.then(), &mut out, &mut room).unwrap();
            prop_assert_eq!(bits(&out), bits(&alone));
        }
    }
}

#[test]
fn what_this_machine_cannot_run_is_named() {
    // The other tests go over all that it can: here is said which they left out.
    let missing = Isa::ALL
        .into_iter()
        .filter_map(|isa| Kernels::of(isa).err());
    for error in missing {
        println!("skipped: {error}");
    }
    assert!(Kernels::all().count() >= 1);
}

#[test]
fn the_largest_numbers_of_8_bits_fit_the_sums_of_16() {
    for sign in [1.0, -1.0] {
        for alone in [false, true] {
            // All weights alike, or one of each four: the most that a sum of four products can be.
            let weight: Vec<f32> = (0..96)
                .map(|i| if alone && i % 4 != 0 { 0.0 } else { sign })
                .collect();
            for kernels in Kernels::all() {
                let layer = pack(kernels, Format::Int8, (&weight, None), (1, 96));
                let found = forward(&layer, &[1.0; 96], Then::default())[0];
                let expected = sign * if alone { 24.0 } else { 96.0 };
                assert!((found - expected).abs() < 2.0, "{} {found}", kernels.isa());
            }
        }
    }
}

#[test]
fn a_sum_is_one_chain_input_after_input() {
    let (inputs, outputs) = (700, 21);
    let (weight, bias) = (numbers(inputs * outputs, 1), numbers(outputs, 2));
    let x = numbers(inputs, 3);
    for kernels in Kernels::all() {
        let fused = kernels.isa() != Isa::Portable;
        let expected: Vec<f32> = (weight.chunks(inputs).zip(&bias))
            .map(|(weight, bias)| {
                let chain = x.iter().zip(weight).fold(0f32, |sum, (x, w)| {
                    if fused {
                        x.mul_add(*w, sum)
                    } else {
                        x * w + sum
                    }
                });
                chain + bias
            })
            .collect();
        let layer = pack(
            kernels,
            Format::F32,
            (&weight, Some(&bias)),
            (outputs, inputs),
        );
        let found = forward(&layer, &x, Then::default());
        assert_eq!(bits(&found), bits(&expected), "{}", kernels.isa());
    }
}

/// What it is measured by before it is one of all.
#[test]
#[ignore = "needs AVX-512, which these kernels have not met yet"]
fn avx512_has_the_bits_of_avx2() {
    let kernels = [Isa::Avx512, Isa::Avx2].map(|isa| Kernels::of(isa).unwrap());
    for (rows, inputs, outputs) in [(1, 768, 768), (7, 33, 50), (65, 1, 17), (130, 768, 200)] {
        let (x, weight) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
        for format in [Format::F32, Format::Bf16, Format::Int8] {
            let [wide, narrow] = kernels.map(|kernels| {
                let layer = pack(kernels, format, (&weight, None), (outputs, inputs));
                let out = forward(&layer, &x, Then::default());
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            assert_eq!(wide, narrow, "{format:?}: {rows} x {inputs} x {outputs}");
        }
    }
}
