//! How fast the kernels are, beside what the machine can do: a table for people. `cargo test --release
//! -p kernels --test table -- --ignored --nocapture`.
//!
//! Times are of this thread's processor time, so that neighbours disturb little; the peak is measured
//! between the rows, since the clock of a shared machine moves.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "rounding is what is tested, small numbers are cut, and what tests are made of may panic"
)]

mod common;

use std::hint::black_box;

use common::{forward, numbers, pack};
use kernels::{
    Activation, Alone, Attention, Format, Heads, Isa, Kernels, Matrix, Packed, Quantised, Reach,
    Then,
};
use rustix::time::{ClockId, clock_gettime};

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The shortest of several runs, so short that it may well be undisturbed.
fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let mut best = f64::INFINITY;
    let begin = processor_seconds();
    while processor_seconds() - begin < 0.5 {
        let start = processor_seconds();
        let mut calls = 0;
        while processor_seconds() - start < 2e-4 {
            work();
            calls += 1;
        }
        best = best.min((processor_seconds() - start) / f64::from(calls));
    }
    best
}

/// Operations a second of multiplying and adding in registers alone; none where there is no such loop.
fn peak(isa: Isa) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        const ROUNDS: usize = 100_000;
        match isa {
            Isa::Avx2 => {
                let time = seconds(|| {
                    // SAFETY: the machine has what its kernels were found for.
                    unsafe { chains_avx2(ROUNDS) };
                });
                Some((ROUNDS * 12 * 8 * 2) as f64 / time)
            }
            Isa::Avx512 => {
                let time = seconds(|| {
                    // SAFETY: the machine has what its kernels were found for.
                    unsafe { chains_avx512(ROUNDS) };
                });
                Some((ROUNDS * 24 * 16 * 2) as f64 / time)
            }
            Isa::Amx | Isa::Neon | Isa::Portable => None,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(rounds: usize) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = black_box((_mm256_set1_ps(0.999), _mm256_set1_ps(1e-9)));
    let mut chains = [b; 12];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, a, b);
        }
    }
    black_box(chains);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_avx512(rounds: usize) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (a, b) = black_box((_mm512_set1_ps(0.999), _mm512_set1_ps(1e-9)));
    let mut chains = [b; 24];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, a, b);
        }
    }
    black_box(chains);
}

fn layer_seconds(layer: &Packed, rows: usize, then: Then<'_>) -> f64 {
    let x = numbers(rows * layer.inputs(), 2);
    let mut out = vec![0.0; rows * layer.outputs()];
    let mut room = Quantised::default();
    seconds(|| {
        layer
            .forward(&Alone, &x, then, &mut out, &mut room)
            .unwrap();
    })
}

#[test]
#[ignore = "takes a minute, and prints"]
fn table_of_linear_layers() {
    // The formats to measure, all of them by default: some of a table are there sooner.
    let wanted = std::env::var("TABLE_FORMATS").unwrap_or_else(|_| "f32 bf16 int8".to_owned());
    println!(
        "{:<24}{:<10}{:<6}{:>9}{:>8}{:>8}",
        "rows x in x out", "isa", "fmt", "GFLOP/s", "peak", "share"
    );
    for kernels in Kernels::all() {
        for format in Format::ALL {
            if !wanted.contains(format.as_str()) {
                continue;
            }
            for (inputs, outputs) in [(768, 768), (768, 3072), (3072, 768)] {
                let weight = numbers(inputs * outputs, 1);
                let layer = pack(kernels, format, (&weight, None), (outputs, inputs));
                let slow = kernels.isa() == Isa::Portable;
                let rows: &[usize] = if slow {
                    &[64]
                } else {
                    &[1, 4, 16, 32, 128, 512]
                };
                for &rows in rows {
                    let peak = peak(kernels.isa());
                    let time = layer_seconds(&layer, rows, Then::default());
                    let rate = (2 * rows * inputs * outputs) as f64 / time;
                    let (peak, share) = match peak {
                        Some(peak) => (
                            format!("{:.1}", peak / 1e9),
                            format!("{:.0}%", 100.0 * rate / peak),
                        ),
                        None => ("-".to_owned(), "-".to_owned()),
                    };
                    println!(
                        "{:<24}{:<10}{:<6}{:>9.1}{peak:>8}{share:>8}",
                        format!("{rows} x {inputs} x {outputs}"),
                        kernels.isa().as_str(),
                        format.as_str(),
                        rate / 1e9,
                    );
                }
            }
        }
    }
}

#[test]
#[ignore = "takes some seconds, and prints"]
fn table_of_epilogues() {
    let kernels = Kernels::best();
    let weight = numbers(768 * 3072, 1);
    let layer = pack(kernels, Format::F32, (&weight, None), (3072, 768));
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
    ] {
        let then = Then {
            activation,
            ..Then::default()
        };
        let time = layer_seconds(&layer, 128, then);
        println!("128 x 768 x 3072 then {activation:?}: {:.2} ms", 1e3 * time);
    }
    black_box(forward(&layer, &numbers(768, 3), Then::default()));
}

#[test]
#[ignore = "takes some seconds, and prints"]
fn table_of_attention() {
    let kernels = Kernels::best();
    let (heads, width) = (12, 64);
    let attention = Attention {
        heads,
        groups: heads,
        width,
        scale: 0.125,
        cap: None,
        reach: Reach::All,
    };
    let layer = |inputs, outputs| {
        let weight = numbers(inputs * outputs, 1);
        pack(kernels, Format::F32, (&weight, None), (outputs, inputs))
    };
    let layers = [
        layer(768, 2304),
        layer(768, 768),
        layer(768, 3072),
        layer(3072, 768),
    ];
    for (sequences, tokens) in [(1, 128), (4, 128), (1, 512), (1, 2048)] {
        let all = sequences * tokens;
        let fused = numbers(all * 3 * heads * width, 2);
        let [queries, keys, values] = [0, 1, 2].map(|part| Heads {
            values: &fused,
            stride: 3 * heads * width,
            first: part * heads * width,
        });
        let ends: Vec<usize> = (1..=sequences).map(|i| i * tokens).collect();
        let mut out = vec![0.0; all * heads * width];
        let time = seconds(|| {
            kernels
                .attention(&Alone, &attention, &ends, queries, keys, values, &mut out)
                .unwrap();
        });
        let rate = (4 * sequences * tokens * tokens * heads * width) as f64 / time;
        let linear: f64 = layers
            .iter()
            .map(|layer| layer_seconds(layer, all, Then::default()))
            .sum();
        println!(
            "{sequences} x {tokens} tokens, 12 heads of 64: {:.2} ms, {:.1} GFLOP/s, {:.0}% of peak; {:.0}% of it and the linear layers of BERT-base",
            1e3 * time,
            rate / 1e9,
            100.0 * rate / peak(kernels.isa()).unwrap_or(f64::NAN),
            100.0 * time / (time + linear),
        );
    }
}

#[test]
#[ignore = "takes some seconds, and prints"]
fn table_of_packing() {
    let kernels = Kernels::best();
    let weight = common::bytes(&numbers(3072 * 768, 1));
    for format in Format::ALL {
        let time = seconds(|| {
            let matrix = Matrix::f32(&weight, 768, 3072).unwrap();
            Packed::new(kernels, &Alone, format, matrix, None).unwrap();
        });
        let rate = f64::from(3072 * 768) / time;
        println!(
            "packing f32 as {}: {:.0} million weights/s",
            format.as_str(),
            rate / 1e6
        );
    }
}
