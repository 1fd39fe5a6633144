//! How many tokens a second a server scores, of a model of the shape of BERT-base with random weights, asked by
//! 32 clients at once with texts of mixed lengths:
//! `cargo test --release -p inference-server --test speed -- --ignored --nocapture`.
//!
//! `SPEED_SERVERS="before=PATH after=PATH"` names other programs to be measured in turn with each other,
//! `SPEED_DTYPES` the formats, `SPEED_SECONDS` how long a round takes, `SPEED_MODEL` where the model is kept. A
//! measurement, so nothing here fails because the machine is slow. Beside tokens a second there are tokens for
//! each second of CPU time, which other work on the machine disturbs less.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and counts are small"
)]

mod load;
mod model;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use server::Server;

const ROUNDS: usize = 3;

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// What was measured of a server in each round.
#[derive(Default)]
struct Measured {
    /// Tokens a second.
    pace: Vec<f64>,
    /// Tokens for each second of CPU time.
    efficiency: Vec<f64>,
    /// Milliseconds of the median request, and of the slowest but one in 100.
    latency: Vec<(f64, f64)>,
}

#[test]
#[ignore = "a measurement of minutes"]
fn tokens_a_second_under_load() {
    let folder = PathBuf::from(variable("SPEED_MODEL", env!("CARGO_TARGET_TMPDIR"))).join("base");
    model::make(&folder);
    let own = format!("this={}", env!("CARGO_BIN_EXE_inference-server"));
    let programs = variable("SPEED_SERVERS", &own);
    let programs: Vec<_> = (programs.split_whitespace())
        .map(|program| program.split_once('=').unwrap())
        .collect();
    let round = Duration::from_secs(variable("SPEED_SECONDS", "10").parse().unwrap());
    println!("program dtype tokens/s tokens/CPU-s p50-ms p99-ms RSS-MB (medians of {ROUNDS})");
    for dtype in variable("SPEED_DTYPES", "f32 bf16 int8").split_whitespace() {
        let servers: Vec<_> = (programs.iter())
            .map(|(_, program)| Server::start(program, &folder, dtype))
            .collect();
        let mut measured: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
        for _ in 0..ROUNDS {
            for (server, measured) in servers.iter().zip(&mut measured) {
                measure(server, round, measured);
            }
        }
        for (((name, _), server), measured) in programs.iter().zip(&servers).zip(measured) {
            let [p50, p99] = [0, 1].map(|i| {
                let of = |pair: &(f64, f64)| if i == 0 { pair.0 } else { pair.1 };
                median(measured.latency.iter().map(of).collect())
            });
            println!(
                "{name} {dtype} {:.0} {:.0} {p50:.0} {p99:.0} {}",
                median(measured.pace),
                median(measured.efficiency),
                server.resident_megabytes(),
            );
        }
    }
}

fn measure(server: &Server, round: Duration, measured: &mut Measured) {
    let before = server.cpu_seconds();
    let done = load::run(server.port, round);
    let cpu = server.cpu_seconds() - before;
    let tokens = done.tokens as f64;
    measured.pace.push(tokens / done.seconds);
    measured.efficiency.push(tokens / cpu);
    let mut took = done.took;
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)] * 1e3;
    measured.latency.push((at(50), at(99)));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
