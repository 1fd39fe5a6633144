//! Rollouts that were simulated over the shipped code: what two routers record, what the operator folds of
//! their documents, gates as a spec has them, a look at every tick, and the verdict. A hundred rollouts each
//! in the normal run; two thousand in the ignored one (`-- --ignored --nocapture`), which prints a table.
//!
//! Users are alike within themselves: each has its own rate of errors, its own speed and its own scores,
//! and comes back with several requests at once.

mod power;
mod random;
mod traffic;

use serde_json::{Value, json};
use stats::Share;

use super::measurement::Measurement;
use super::{COMPARING, Gate, Track, read};
use crds::v1alpha1::reward_model::status::Verdict;
use k8s_openapi::jiff::Timestamp;
use traffic::{Revision, Traffic};

const SHORT: u32 = 100;
const LONG: u32 = 2000;
const TICKS: u32 = 60;

/// A gate alone in its rollout, looked at every second.
fn gate(kind: &str, written: &Value) -> Gate {
    let rollout = json!({
        "gates": [{"name": "g", "interval": "1s", "minSamples": 50, kind: written}],
        "steps": [
            {"setWeight": 10}, {"shadow": {"percent": 20}}, {"gate": {"names": ["g"]}},
        ],
    });
    let mut gates = read(&serde_json::from_value(rollout).unwrap()).unwrap();
    gates.pop().unwrap()
}

/// One gate of a rollout that is looked at every tick.
struct Looked {
    gate: Gate,
    track: Track,
}

impl Looked {
    fn new(gate: &Gate) -> Self {
        Self {
            gate: gate.clone(),
            track: Track::new(&gate.name, Timestamp::UNIX_EPOCH),
        }
    }

    fn look(&mut self, tick: u32, measurement: Measurement) -> Verdict {
        let now = Timestamp::from_second(i64::from(tick) + 1).unwrap();
        self.track = self.track.look(&self.gate, &measurement, now);
        self.track.verdict()
    }

    fn failed(&self) -> bool {
        self.track.verdict() == Verdict::Fail
    }
}

/// What fails of `runs` rollouts, by name of the gate, and the level that it has.
fn failures(runs: u32) -> Vec<(&'static str, u32)> {
    let mut table: Vec<(&'static str, u32)> = Vec::new();
    for seed in 0..runs {
        let all = [router(seed), paired(seed), preferences(seed)];
        for (place, (name, failed)) in all.into_iter().flatten().enumerate() {
            if table.len() <= place {
                table.push((name, 0));
            }
            table[place].1 += u32::from(failed);
        }
    }
    table
}

/// The shares of the traffic that a rollout goes through.
fn weight(tick: u32) -> u32 {
    match tick {
        0..20 => 10,
        20..40 => 25,
        _ => 50,
    }
}

type Failed = Vec<(&'static str, bool)>;

/// Both revisions are one and the same; with a margin or a threshold the new one is exactly as bad as it
/// may be.
fn router(seed: u32) -> Failed {
    let less = json!({"direction": "Decrease"});
    let slow = json!({"metric": "SlowFraction", "slowerThan": "250ms", "compareToStable": less});
    let equal = [
        (
            "errors, compared",
            json!({"metric": "ErrorRate", "compareToStable": less}),
        ),
        ("slow requests, compared", slow),
        (
            "no numbers, compared",
            json!({"metric": "NonFinite", "compareToStable": less}),
        ),
        (
            "spread, compared",
            json!({"metric": "ScoreSpread", "compareToStable": {"direction": "Increase"}}),
        ),
        (
            "errors, threshold",
            json!({"metric": "ErrorRate", "threshold": {"max": "0.01"}}),
        ),
        (
            "spread, threshold",
            json!({"metric": "ScoreSpread", "threshold": {"min": "1.0"}}),
        ),
    ];
    let margin = json!({"metric": "ErrorRate", "compareToStable": {"margin": "0.01", "direction": "Decrease"}});
    let worse = Revision {
        errors: 0.02,
        ..Revision::EQUAL
    };
    let hit = [
        ("errors, an incident hits both", equal[0].1.clone()),
        ("slow requests, as they grow", equal[1].1.clone()),
    ];
    let mut results = run_router(seed, Revision::EQUAL, &equal, |_| 1.0);
    results.extend(run_router(seed, Revision::EQUAL, &hit, grows));
    let margin = [("errors, at the margin", margin)];
    results.extend(run_router(seed, worse, &margin, |_| 1.0));
    results
}

/// Ever more goes wrong while the share grows, and most at its end.
fn grows(tick: u32) -> f64 {
    if tick < 50 {
        0.5 + f64::from(tick) / 50.0
    } else {
        4.0
    }
}

fn run_router(
    seed: u32,
    canary: Revision,
    gates: &[(&'static str, Value)],
    weather: fn(u32) -> f64,
) -> Failed {
    let mut traffic = Traffic::new(seed, Revision::EQUAL, canary);
    let gates = gates
        .iter()
        .map(|(name, written)| (*name, "router", written));
    run(&mut traffic, gates, |traffic, tick| {
        traffic.weather = weather(tick);
        traffic.tick(weight(tick), 200);
    })
}

/// Looks at gates after each tick of the traffic.
fn run<'a>(
    traffic: &mut Traffic,
    gates: impl Iterator<Item = (&'static str, &'static str, &'a Value)>,
    tick_of: impl Fn(&mut Traffic, u32),
) -> Failed {
    let mut looked: Vec<(&'static str, Looked)> = gates
        .map(|(name, kind, written)| (name, Looked::new(&gate(kind, written))))
        .collect();
    for tick in 0..TICKS {
        tick_of(traffic, tick);
        for (_, one) in &mut looked {
            one.look(tick, traffic.measured(&one.gate));
        }
    }
    looked
        .into_iter()
        .map(|(name, one)| (name, one.failed()))
        .collect()
}

/// The new revision is as far away as it may be.
fn paired(seed: u32) -> Failed {
    let gates = [
        ("score shift", "ScoreShift", "0.1"),
        ("rank agreement", "RankAgreement", "0.8"),
        ("preference flips", "PreferenceFlips", "0.1"),
    ]
    .map(|(name, metric, within)| (name, json!({"metric": metric, "within": within})));
    let gates = gates
        .iter()
        .map(|(name, written)| (*name, "paired", written));
    run(&mut equal(seed + 77), gates, |traffic, _| {
        traffic.shadowed(60, 0.1, 0.8);
    })
}

fn equal(seed: u32) -> Traffic {
    Traffic::new(seed, Revision::EQUAL, Revision::EQUAL)
}

/// Both are right equally often, or the new one is as much worse as it may be; each user counts once, with the first pair that a router saw.
fn preferences(seed: u32) -> Failed {
    let up = |margin: &str| json!({"compareToStable": {"margin": margin, "direction": "Increase"}});
    let alike = [
        ("preferences, compared", up("0")),
        ("preferences, least accuracy", json!({"minAccuracy": "0.7"})),
    ];
    let gates = alike
        .iter()
        .map(|(name, written)| (*name, "preferences", written));
    let mut failed = run(&mut equal(seed + 991), gates, |traffic, _| {
        traffic.labelled(60, 0.1, 0.1);
    });
    let margin = up("0.05");
    let gates = [("preferences, at the margin", "preferences", &margin)];
    failed.extend(run(
        &mut equal(seed + 992),
        gates.into_iter(),
        |traffic, _| {
            traffic.labelled(60, 0.15, 0.1);
        },
    ));
    failed
}

/// With 95 % certainty the probability is no larger (Clopper and Pearson).
fn upper(failed: u32, runs: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let more = stats::ln_at_least(
            u64::from(failed) + 1,
            u64::from(runs),
            Share::new(middle).unwrap(),
        );
        if more < 0.95_f64.ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[test]
fn no_gate_fails_a_revision_that_is_as_good_more_often_than_its_level() {
    let runs = f64::from(SHORT);
    let allowed = runs * COMPARING + 3.0 * (runs * COMPARING * (1.0 - COMPARING)).sqrt();
    for (name, failed) in failures(SHORT) {
        assert!(f64::from(failed) <= allowed, "{name}: {failed} of {SHORT}");
    }
}

#[test]
#[ignore = "two thousand rollouts: minutes"]
fn no_gate_fails_a_revision_that_is_as_good_more_often_than_its_level_in_two_thousand_rollouts() {
    for (name, failed) in failures(LONG) {
        let part = 100.0 * f64::from(failed) / f64::from(LONG);
        let upper = upper(failed, LONG);
        println!(
            "{name:<28} {failed:>3} of {LONG}: {part:.2} %, with 95 % certainty at most {:.2} %, level {:.1} %",
            100.0 * upper,
            100.0 * COMPARING
        );
        assert!(upper <= COMPARING, "{name}: {failed} of {LONG}");
    }
}
