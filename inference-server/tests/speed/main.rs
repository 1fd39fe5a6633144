//! How many tokens a second a server scores, of a model of the shape of BERT-base with random weights, asked by
//! 32 clients at once with texts of mixed lengths, and by one at a time; beside what people would use instead:
//! `make bench`, or `cargo test --release -p inference-server --test speed -- --ignored --nocapture`.
//!
//! `SPEED_SERVERS="before=PATH after=PATH"` names other programs to be measured in turn with each other,
//! `SPEED_DTYPES` the formats, `SPEED_ROUNDS` and `SPEED_SECONDS` how many rounds there are and how long one takes,
//! `SPEED_THREADS` the threads of the servers (`"1 2"` measures both), `SPEED_MODEL` where the model is kept.
//! `SPEED_PYTHON` is a Python with `requirements.txt`, which brings the peers of `peers.py`; `TEI_BIN` and `INFINITY_BIN`
//! bring more. `SPEED_JSON` is where the rows go. A measurement, so nothing here fails because the machine is slow.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and counts are small"
)]

mod contender;
mod load;
mod model;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use contender::{Contender, cores};
use load::{ALONE, MIXED, Shape};
use report::{HEADER, Rounds, Row};
use serde_json::json;

const SHAPES: [Shape; 2] = [MIXED, ALONE];

fn variable(name: &str, default: &str) -> String {
    given(name).unwrap_or_else(|| default.to_owned())
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[test]
#[ignore = "a measurement of minutes"]
fn tokens_a_second_under_load() {
    let folder = PathBuf::from(variable("SPEED_MODEL", env!("CARGO_TARGET_TMPDIR"))).join("base");
    model::make(&folder);
    let rounds: usize = variable("SPEED_ROUNDS", "3").parse().unwrap();
    let seconds: f64 = variable("SPEED_SECONDS", "10").parse().unwrap();
    let python = given("SPEED_PYTHON");
    let naive = python.as_ref().map(|python| {
        Contender::naive(python, &folder).expect("the naive server of peers.py does not start")
    });
    let mut others: Vec<_> = naive.into_iter().collect();
    others.extend(given("TEI_BIN").and_then(|program| Contender::tei(&program, &folder)));
    others.extend(given("INFINITY_BIN").and_then(|bin| Contender::infinity(&bin, &folder)));
    println!("{}, {rounds} rounds of {seconds} s\n{HEADER}", processor());
    let mut rows = Vec::new();
    for (i, dtype) in variable("SPEED_DTYPES", "f32 bf16 int8")
        .split_whitespace()
        .enumerate()
    {
        let mut all = contenders(dtype, python.as_deref(), &folder);
        // The naive server is there in each format, since ratios are of the same rounds; others are once.
        let kept = if i == 0 {
            others.len()
        } else {
            others.len().min(1)
        };
        let known = all.len();
        all.extend(others.drain(..).take(kept));
        for row in measure(&mut all, rounds, Duration::from_secs_f64(seconds)) {
            // Of the naive server, the rows of the first format are enough.
            if i == 0 || row.engine != "naive" {
                println!("{}", row.line());
                rows.push(row);
            }
        }
        others = all.split_off(known);
    }
    if let Some(path) = given("SPEED_JSON") {
        let report = json!({"processor": processor(), "cores": cores(), "rounds": rounds, "seconds": seconds, "rows": rows});
        std::fs::write(path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
}

/// Servers of this repository, and libraries, in one format. Those that cannot are told and left out.
fn contenders(dtype: &str, python: Option<&str>, folder: &Path) -> Vec<Contender> {
    let own = format!("this={}", env!("CARGO_BIN_EXE_inference-server"));
    let programs = variable("SPEED_SERVERS", &own);
    let threads = variable("SPEED_THREADS", &cores().to_string());
    let mut found = Vec::new();
    for program in programs.split_whitespace() {
        let program = program.split_once('=').unwrap();
        for threads in threads.split_whitespace() {
            let own = Contender::own(program, folder, dtype, threads.parse().unwrap());
            assert!(own.is_some(), "{} does not start", program.1);
            found.extend(own);
        }
    }
    for name in ["torch", "onnxruntime"] {
        if let Some(python) = python {
            match Contender::offline(python, name, folder, dtype) {
                Some(one) => found.push(one),
                None => eprintln!("{name} does not compute in {dtype}"),
            }
        }
    }
    found
}

/// Rounds in which each has its turn in each shape.
fn measure(all: &mut [Contender], rounds: usize, length: Duration) -> Vec<Row> {
    let mut measured: Vec<[Rounds; 2]> = all.iter().map(|_| Default::default()).collect();
    let mut clients = vec![[0; 2]; all.len()];
    for _ in 0..rounds {
        for (i, shape) in SHAPES.iter().enumerate() {
            for (j, one) in all.iter_mut().enumerate() {
                clients[j][i] = turn(one, shape, length, &mut measured[j][i]);
            }
        }
    }
    let naive = all.iter().position(|one| one.name == "naive");
    let mut rows = Vec::new();
    for (i, shape) in SHAPES.iter().enumerate() {
        for (j, one) in all.iter().enumerate() {
            rows.push(Row::new(
                (&one.name, &one.dtype),
                shape.name,
                (one.threads, clients[j][i]),
                one.resident_megabytes(),
                &measured[j][i],
                naive.map(|naive| &measured[naive][i]),
            ));
        }
    }
    rows
}

/// One contender's turn; answers how many asked it at once.
fn turn(one: &mut Contender, shape: &Shape, length: Duration, rounds: &mut Rounds) -> usize {
    let before = one.cpu_seconds();
    let clients = one.clients(shape);
    let count = clients.len();
    let done = load::run(clients, shape.lengths, length);
    let cpu = one.cpu_seconds() - before;
    let tokens = done.tokens as f64;
    rounds.pace.push(tokens / done.seconds);
    rounds.efficiency.push(tokens / cpu);
    rounds.busy.push(cpu / done.seconds);
    let mut took = done.took;
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)] * 1e3;
    rounds.latency.push((at(50), at(99)));
    count
}

/// What the machine says that it is.
fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = about.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or("unknown", |(_, name)| name).to_owned()
}
