//! How fast the kernels are, beside what the machine can do: a table for people. `cargo test --release
//! -p kernels --test table -- --ignored --nocapture`.
//!
//! Times are of this thread's processor time, so that neighbours disturb little; the peak is measured
//! between the rows, since the clock of a shared machine moves.

mod common;

use std::hint::black_box;

use common::{forward, numbers, pack};
use kernels::{Activation, Alone, Format, Isa, Kernels, Packed, Quantised, Then};
use rustix::time::{ClockId, clock_gettime};

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The shortest of several runs, each each so short that it may well be undisturbed.
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
            // SAFETY: the machine has what its kernels were found for.
            Isa::Avx2 => {
                let time = seconds(|| unsafe { chains_avx2(ROUNDS) });
                Some((ROUNDS * 12 * 8 * 2) as f64 / time)
            }
            // SAFETY: as above.
            Isa::Avx512 => {
                let time = seconds(|| unsafe { chains_avx512(ROUNDS) });
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
            .unwrap()
    })
}

#[test]
fn probe() {
    let kernels = Kernels::best();
    let shapes: Vec<usize> = std::env::var("SHAPES")
        .unwrap()
        .split([',', 'x', ' '])
        .map(|x| x.parse().unwrap())
        .collect();
    for shape in shapes.chunks(3) {
        let (rows, inputs, outputs) = (shape[0], shape[1], shape[2]);
        for format in [Format::F32, Format::Bf16, Format::Int8] {
            let weight = numbers(inputs * outputs, 1);
            let layer = pack(kernels, format, (&weight, None), (outputs, inputs));
            let peak = peak(kernels.isa()).unwrap();
            let time = layer_seconds(&layer, rows, Then::default());
            let rate = (2 * rows * inputs * outputs) as f64 / time;
            print!(
                "{:<6}{rows}x{inputs}x{outputs}: {:.0}%   ",
                format.as_str(),
                100.0 * rate / peak
            );
        }
        println!();
    }
}
