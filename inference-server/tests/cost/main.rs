//! What a request costs in the router, beside nginx with `split_clients` over the same upstream, in one
//! run: `make bench-router`. A measurement, so nothing here fails because the machine is slow.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a measurement is printed"
)]

mod load;
mod proxy;
mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use load::{Key, Took};
use proxy::Proxy;

/// Requests a second, which both hold on two cores that they share with the load and the upstream.
const RATE: u32 = 1_000;
/// Each is measured so often in turn, so that what else the machine does meets all of them.
const ROUNDS: u32 = 6;
const ROUND: Duration = Duration::from_secs(4);

/// What was measured of one way to the upstream.
#[derive(Default)]
struct Measured {
    took: Vec<Took>,
    cpu: Duration,
}

impl Measured {
    fn add(&mut self, to: SocketAddr, key: Key, proxy: Option<&Proxy>) {
        let before = proxy.map(Proxy::cpu).unwrap_or_default();
        self.took.push(load::run(to, key, rate(), ROUND));
        let after = proxy.map(Proxy::cpu).unwrap_or_default();
        self.cpu += after.saturating_sub(before);
    }

    fn requests(&self) -> u32 {
        self.took.iter().map(Took::requests).sum()
    }

    /// Microseconds that `percent` of the requests took at most: the middle one of the rounds'.
    fn micros(&self, percent: usize) -> f64 {
        let mut rounds: Vec<f64> = self.took.iter().map(|took| took.micros(percent)).collect();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }

    fn row(&self, proxy: &str, key: Key, direct: &Self) -> Value {
        let rate = f64::from(self.requests()) / (ROUND * ROUNDS).as_secs_f64();
        let round = |value: f64| (value * 10.0).round() / 10.0;
        json!({
            "proxy": proxy,
            "key": key.word(),
            "cpu_us_per_request": round(self.cpu.as_secs_f64() * 1e6 / f64::from(self.requests())),
            "requests_per_s": round(rate),
            "added_p50_us": round(self.micros(50) - direct.micros(50)),
            "added_p99_us": round(self.micros(99) - direct.micros(99)),
        })
    }
}

fn rate() -> u32 {
    let set = std::env::var("RATE").ok();
    set.and_then(|rate| rate.parse().ok()).unwrap_or(RATE)
}

#[test]
#[ignore = "a measurement: make bench-router"]
fn what_a_request_costs_beside_nginx() {
    let folder = tempfile::tempdir().unwrap();
    let upstreams = [upstream::start("v1"), upstream::start("v2")];
    let mut rows = Vec::new();
    for key in Key::ALL {
        let route = Proxy::route(folder.path(), key, &upstreams);
        let nginx = Proxy::nginx(folder.path(), key, &upstreams);
        let ways = [None, Some(&nginx), Some(&route)];
        let mut measured = [(); 3].map(|()| Measured::default());
        for way in ways.into_iter().flatten() {
            // Connections and caches are warm, and both revisions have been asked.
            load::run(way.address, key, rate(), Duration::from_secs(1));
            let share = upstream::share(&upstreams);
            assert!((0.05..0.95).contains(&share), "{}: {share}", key.word());
        }
        for _ in 0..ROUNDS {
            for (way, measured) in ways.into_iter().zip(&mut measured) {
                let to = way.map_or(upstreams[0].address, |way| way.address);
                measured.add(to, key, way);
            }
        }
        let [direct, nginx, route] = measured;
        println!(
            "key {}: the upstream alone takes {:.0} us at p50, {:.0} us at p99",
            key.word(),
            direct.micros(50),
            direct.micros(99)
        );
        rows.push(nginx.row("nginx", key, &direct));
        rows.push(route.row("route", key, &direct));
    }
    show(&rows);
    for (name, endpoints) in [("at rest", 1), ("with 10,000 endpoints", 10_000)] {
        let route = Proxy::with_endpoints(folder.path(), &upstreams[0], endpoints);
        println!("resident memory {name}: {:.1} MB", route.resident());
    }
}

#[test]
#[ignore = "a measurement: make bench-router"]
fn what_an_experiment_costs_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let upstreams = [upstream::start("v1"), upstream::start("v2")];
    let ways = [false, true].map(|is_on| Proxy::on_trial(folder.path(), &upstreams, is_on));
    let mut measured = [(); 2].map(|()| Measured::default());
    for way in &ways {
        load::run(way.address, Key::Header, rate(), Duration::from_secs(1));
    }
    for _ in 0..ROUNDS {
        for (way, measured) in ways.iter().zip(&mut measured) {
            measured.add(way.address, Key::Header, Some(way));
        }
    }
    let [off, on] = measured.map(|of| {
        let cpu = of.cpu.as_secs_f64() * 1e6 / f64::from(of.requests());
        (cpu, of.micros(50), of.micros(99))
    });
    for (name, (cpu, p50, p99)) in [("without an experiment", off), ("with one", on)] {
        println!(
            "{name}: {cpu:.1} us of CPU for each request, {p50:.0} us at p50, {p99:.0} at p99"
        );
    }
    println!("with / without: {:.3}", on.0 / off.0);
}

/// Nobody waits for a shadow: what it cannot take is dropped, and counted.
#[test]
#[ignore = "a measurement: make bench-router"]
fn what_a_shadow_that_hangs_costs_a_request() {
    const RATE: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let upstreams = [upstream::start("v1"), upstream::start_hanging("v2")];
    let ways = [false, true].map(|is_on| Proxy::shadowing(folder.path(), &upstreams, is_on));
    let mut measured = [(); 2].map(|()| Measured::default());
    for way in &ways {
        load::run(way.address, Key::Body, RATE, Duration::from_secs(1));
    }
    for _ in 0..ROUNDS {
        for (way, measured) in ways.iter().zip(&mut measured) {
            let took = load::run(way.address, Key::Body, RATE, ROUND);
            measured.took.push(took);
        }
    }
    for (name, measured) in ["without a shadow", "with one that hangs"]
        .iter()
        .zip(&measured)
    {
        let rounds = |percent| {
            let rounds = measured.took.iter().map(|took| took.micros(percent));
            rounds
                .map(|micros| format!("{micros:.0}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        println!("{name}: p50 {} us, p99 {} us", rounds(50), rounds(99));
    }
    let outcomes = ["Paired", "Full", "Late", "Failed"];
    let counted = outcomes.map(|outcome| format!("{outcome} {}", ways[1].shadowed(outcome)));
    println!(
        "of {} requests: {}",
        measured[1].requests(),
        counted.join(", ")
    );
    assert_eq!(ways[1].shadowed("Paired"), 0);
    assert!(ways[1].shadowed("Full") > 0);
}

fn show(rows: &[Value]) {
    let columns = [
        "proxy",
        "key",
        "cpu_us_per_request",
        "requests_per_s",
        "added_p50_us",
        "added_p99_us",
    ];
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let line = |cells: [String; 6]| {
        let cells = cells.map(|cell| format!("{cell:<20}")).concat();
        println!("{}", cells.trim_end());
    };
    line(columns.map(str::to_owned));
    for row in rows {
        line(columns.map(|column| text(&row[column])));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("router.json");
    std::fs::write(file, serde_json::to_string_pretty(rows).unwrap()).unwrap();
}
