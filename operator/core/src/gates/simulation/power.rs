//! How soon harm is found: the other side of having no false alarms.

use serde_json::json;

use super::traffic::{Revision, Traffic};
use super::{Looked, gate};
use crate::gates::Gate;

/// Ticks of ten requests after which a run is given up.
const LONGEST: u32 = 6000;

/// Requests of all users, and those of the new revision, until `gate` fails; at the same share throughout.
fn found(gate: &Gate, seed: u32, canary: Revision, weight: u32) -> Option<(u64, u64)> {
    let stable = Revision {
        errors: 0.002,
        unlucky: 0.5,
        ..Revision::EQUAL
    };
    let mut looked = Looked::new(gate);
    let mut traffic = Traffic::new(seed, stable, canary);
    (0..LONGEST).find_map(|tick| {
        traffic.tick(weight, 10);
        looked.look(tick, traffic.measured(gate));
        let requests = u64::from(traffic.requests);
        looked
            .failed()
            .then(|| (requests, u64::from(traffic.of_canary)))
    })
}

/// The median and the most of `runs`, which all have to end.
fn quantiles(runs: u32, gate: &Gate, canary: Revision, weight: u32) -> [(u64, u64); 2] {
    let mut all: Vec<(u64, u64)> = (0..runs)
        .map(|seed| found(gate, seed, canary, weight).unwrap())
        .collect();
    all.sort_unstable();
    [all[all.len() / 2], all[all.len() - 1]]
}

const HARMFUL: Revision = Revision {
    errors: 0.03,
    unlucky: 0.5,
    ..Revision::EQUAL
};

fn errors(margin: &str) -> Gate {
    let comparison = json!({"margin": margin, "direction": "Decrease"});
    gate(
        "router",
        &json!({"metric": "ErrorRate", "compareToStable": comparison}),
    )
}

#[test]
fn three_percent_of_errors_against_a_fifth_of_one_are_found() {
    for (margin, weight, most) in [("0", 10, 20_000), ("0", 50, 6_000), ("0.005", 50, 12_000)] {
        let [median, last] = quantiles(9, &errors(margin), HARMFUL, weight);
        println!("margin {margin}, {weight} %: median {median:?}, the last {last:?}");
        assert!(median.0 < most, "{margin} {weight}: {median:?}");
    }
}

#[test]
#[ignore = "hundreds of rollouts: minutes"]
fn how_many_requests_it_takes_until_harm_is_found() {
    for (margin, weight) in [
        ("0", 10),
        ("0", 25),
        ("0", 50),
        ("0.005", 10),
        ("0.005", 25),
        ("0.005", 50),
        ("0.01", 25),
    ] {
        let [median, last] = quantiles(100, &errors(margin), HARMFUL, weight);
        println!(
            "3 % errors against 0.2 %, margin {margin}, {weight} % of the users: median {} requests ({} of the new revision), the last of 100 {} ({})",
            median.0, median.1, last.0, last.1
        );
    }
    let slow = json!({"metric": "SlowFraction", "slowerThan": "250ms", "compareToStable": {"direction": "Decrease"}});
    let narrow = json!({"metric": "ScoreSpread", "compareToStable": {"direction": "Increase"}});
    for (name, written, canary) in [
        (
            "15 % slow requests against 5 %",
            slow,
            Revision {
                slow: 0.15,
                ..Revision::EQUAL
            },
        ),
        (
            "half the spread of the scores",
            narrow,
            Revision {
                spread: 0.5,
                ..Revision::EQUAL
            },
        ),
    ] {
        let [median, last] = quantiles(100, &gate("router", &written), canary, 25);
        println!("{name}, 25 % of the users: median {median:?}, the last {last:?}");
    }
}
