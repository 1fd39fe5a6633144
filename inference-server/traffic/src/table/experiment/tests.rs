//! What an experiment may say, what is said of one that may not, and who is in which arm.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::assignment::{Assigner, Key};
use crate::table::{Refusal, Table};

/// A table with an experiment that has everything in it.
pub(crate) fn full() -> Value {
    json!({
        "schemaVersion": 1, "generation": 1, "salt": "s",
        "model": {"namespace": "n", "name": "m", "uid": "u"},
        "revisions": [{"revision": "aaaaaaaaaa", "role": "Stable", "weight": 10000, "service": "m-aaaaaaaaaa"}],
        "experiment": {
            "name": "v2-vs-v1", "uid": "e1", "epoch": 3, "salt": "salt", "mode": "Split", "control": "v1",
            "key": {"header": "x-user-id"}, "onMissingKey": "Reject",
            "variants": [
                {"name": "v3", "revision": "aaaaaaaaaa", "endpoints": ["127.0.0.1:8003"], "slots": [[6000, 7000], [5000, 6000]]},
                {"name": "v2", "revision": "bbbbbbbbbb", "digest": format!("sha256:{}", "b".repeat(64)),
                 "service": "other-bbbbbbbbbb", "calibration": {"scale": "2", "shift": "0"}, "capacity": 9,
                 "slots": [[2000, 3000], [9000, 10000]]},
                {"name": "v1", "slots": [[0, 2000]]}
            ],
            "overrides": [{"header": "X-Variant", "value": "v2", "variant": "v2"}],
            "metrics": [
                {"name": "reward", "signal": "Score", "clip": {"min": "-5", "max": "5.5"}},
                {"name": "slow", "signal": "Latency", "slowerThanMs": 250},
                {"name": "time", "signal": "Latency"},
                {"name": "errors", "signal": "Errors"},
                {"name": "clicks", "event": "click", "clip": {"min": "0", "max": "1"}},
                {"name": "pref", "preferences": true}
            ]
        }
    })
}

fn read(value: &Value) -> Result<Table, Refusal> {
    Table::parse(value.to_string().as_bytes())
}

fn with(pointer: &str, value: Value) -> Value {
    let mut document = full();
    *document
        .pointer_mut(&format!("/experiment{pointer}"))
        .unwrap() = value;
    document
}

pub(crate) fn experiment() -> Experiment {
    read(&full()).unwrap().experiment.unwrap()
}

#[test]
fn an_experiment_is_read_as_it_was_written_and_the_control_is_the_first() {
    let table = read(&full()).unwrap();
    assert_eq!(
        Table::parse(table.to_json().as_bytes()).as_ref(),
        Ok(&table)
    );
    let experiment = experiment();
    let names: Vec<&str> = experiment
        .variants()
        .iter()
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(names, ["v1", "v2", "v3"]);
    // Ranges that touch are one.
    let third = experiment.variant(Arm::new(2).unwrap()).unwrap();
    assert_eq!(
        third.slots(),
        [Slots {
            from: 5_000,
            until: 7_000
        }]
    );
    // Another model's revision may have the name of ours: it has the same spec.
    assert_eq!(
        third.target.as_ref().unwrap().revision.as_str(),
        "aaaaaaaaaa"
    );
    assert_eq!(
        experiment.services().collect::<Vec<_>>(),
        ["other-bbbbbbbbbb"]
    );
}

#[test]
fn a_table_without_an_experiment_says_nothing_of_one() {
    let mut none = full();
    none["experiment"] = Value::Null;
    let table = read(&none).unwrap();
    assert_eq!(table.experiment, None);
    assert!(!table.to_json().contains("experiment"));
}

/// Documents, each with the word and a part of the text that it is refused with.
fn refused(cases: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    for (document, word, text) in cases {
        let refusal = read(&document).unwrap_err();
        assert_eq!(refusal.word(), word, "{refusal}");
        assert!(refusal.to_string().contains(text), "{text}: {refusal}");
    }
}

#[test]
fn what_an_experiment_may_not_say_is_refused_with_what_to_write() {
    refused([
        (with("/salt", json!("a\0")), "Value", "zero byte"),
        (with("/uid", json!("")), "Value", "experiment.uid"),
        (with("/name", json!("a b")), "Value", "experiment.name"),
        (with("/mode", json!("Bandit")), "Value", "Split or Paired"),
        (
            with("/onMissingKey", json!("Guess")),
            "Value",
            "Control or Reject",
        ),
        (with("/epoch", json!(-1)), "Shape", "u64"),
        (
            with("/control", json!("v9")),
            "Value",
            "one of the variants",
        ),
        (
            with("/control", json!("v2")),
            "Value",
            "name and slots alone",
        ),
        (
            with("/variants/1", json!({"name": "v2", "slots": []})),
            "Value",
            "lower-case",
        ),
        (with("/variants/1/name", json!("v3")), "Twice", "variant v3"),
        (
            with("/variants/2/name", json!("v 1")),
            "Value",
            "experiment.control",
        ),
        (
            with("/variants", json!([{"name": "v1"}])),
            "Value",
            "two to four",
        ),
        (
            with("/variants/1/slots", json!([[1999, 3000]])),
            "Value",
            "do not overlap",
        ),
        (
            with("/variants/1/slots", json!([[9000, 10001]])),
            "Value",
            "[from, until]",
        ),
        (
            with("/variants/1/slots", json!([[9000, 9000]])),
            "Value",
            "from below until",
        ),
        (
            with("/variants/1/slots", json!([[-1, 5]])),
            "Value",
            "0 to 10000",
        ),
        (with("/variants/1/capacity", json!(0)), "Value", "capacity"),
        (
            with("/variants/1/digest", json!("sha256:x")),
            "Value",
            "digest",
        ),
        (
            with("/variants/1/service", Value::Null),
            "Value",
            "HOST:PORT",
        ),
        (with("/key", json!({})), "Value", "exactly one"),
        (
            with("/overrides/0/variant", json!("v9")),
            "Value",
            "overrides.variant",
        ),
        (
            with("/overrides/0/header", json!("a b")),
            "Value",
            "overrides.header",
        ),
    ]);
}

#[test]
fn what_a_metric_may_not_say_is_refused_with_what_to_write() {
    let metric = |metric: Value| with("/metrics", json!([metric]));
    refused([
        (
            with("/metrics/1/name", json!("reward")),
            "Twice",
            "metric reward",
        ),
        (
            metric(json!({"name": "m"})),
            "Value",
            "exactly one of signal",
        ),
        (
            metric(json!({"name": "m", "signal": "Score", "event": "e"})),
            "Value",
            "exactly one",
        ),
        (
            metric(json!({"name": "m", "signal": "Tokens"})),
            "Value",
            "Score, Latency or Errors",
        ),
        (
            metric(json!({"name": "m", "signal": "Score", "slowerThanMs": 5})),
            "Value",
            "slowerThanMs",
        ),
        (
            metric(json!({"name": "m", "signal": "Latency", "slowerThanMs": 0})),
            "Value",
            "1 to 600000",
        ),
        (
            metric(json!({"name": "m", "event": "a b"})),
            "Value",
            "without a space",
        ),
        (
            metric(json!({"name": "m", "event": "e", "clip": {"min": "1", "max": "1"}})),
            "Value",
            "min below max",
        ),
        (
            metric(json!({"name": "m", "signal": "Errors", "clip": {"min": "0", "max": "1"}})),
            "Value",
            "clip",
        ),
        (
            with(
                "/metrics",
                json!(vec![json!({"name": "m", "event": "e"}); 9]),
            ),
            "Value",
            "eight",
        ),
    ]);
}

#[test]
fn members_of_a_newer_operator_are_ignored() {
    let mut newer = full();
    newer["experiment"]["holdout"] = json!(5);
    newer["experiment"]["variants"][0]["zone"] = json!("a");
    newer["experiment"]["metrics"][0]["unit"] = json!("points");
    assert_eq!(read(&newer), read(&full()));
}

#[test]
fn a_header_chooses_its_variant_and_others_choose_none() {
    let experiment = experiment();
    let forced = |header: &str, value: &'static str| {
        experiment.forced(|name| (name == header).then_some(value))
    };
    assert_eq!(forced("x-variant", "v2"), Arm::new(1));
    assert_eq!(forced("x-variant", "v3"), None);
    assert_eq!(forced("x-other", "v2"), None);
}

#[test]
fn what_is_beyond_a_bound_is_the_bound() {
    let experiment = experiment();
    let metric = &experiment.metrics()[0];
    assert_eq!(
        [-9.0, 1.0, 1e300].map(|value| metric.clipped(value).to_string()),
        ["-5", "1", "5.5"]
    );
}

/// An experiment of two arms, of which each uses the left part of its half.
fn covered(coverage: u16) -> Experiment {
    let mut document = full();
    let half = i64::from(coverage) * 50;
    document["experiment"]["variants"] = json!([
        {"name": "v1", "slots": [[0, half]]},
        {"name": "v2", "revision": "b", "service": "s", "slots": [[5000, 5000 + half]]}
    ]);
    document["experiment"]["overrides"] = json!([]);
    read(&document).unwrap().experiment.unwrap()
}

#[test]
fn a_user_never_switches_arm_when_coverage_grows_or_falls_and_grows_again() {
    let assigner = Assigner::new("salt");
    let ramp = [1, 10, 50, 10, 100].map(covered);
    let mut both = [0; 2];
    for user in 0..50_000 {
        let id = format!("user {user}");
        let slot = assigner.place(Key::prompt(id.as_bytes())).slot;
        let mut arms = ramp.iter().filter_map(|experiment| experiment.arm(slot));
        let first = arms.next().unwrap();
        assert!(arms.all(|arm| arm == first), "{id}");
        both[first.place()] += 1;
    }
    assert!(
        both.iter().all(|of| (24_500..25_500).contains(of)),
        "{both:?}"
    );
}

proptest! {
    #[test]
    fn each_slot_has_the_arm_whose_range_it_is_in(slot in 0_u16..10_000) {
        let experiment = experiment();
        let expected = match slot {
            0..2_000 => Some(0),
            2_000..3_000 | 9_000.. => Some(1),
            5_000..7_000 => Some(2),
            _ => None,
        };
        let arm = experiment.arm(Slot::new(slot).unwrap());
        prop_assert_eq!(arm.map(Arm::place), expected);
    }
}
