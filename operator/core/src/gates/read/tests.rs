//! What a spec may say of gates, and what it is told where it says something else.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::gates::gate::{Bound, Comparison, Rule};

fn rollout(gates: Value, steps: Value) -> Rollout {
    serde_json::from_value(json!({
        "gates": gates,
        "steps": steps,
        "goldenSet": {"configMapRef": {"name": "set", "key": "pairs.jsonl"}},
    }))
    .unwrap()
}

/// After a share for users, and with requests that are shadowed.
fn steps(name: &str) -> Value {
    json!([{"setWeight": 10}, {"shadow": {}}, {"gate": {"names": [name]}}])
}

fn with(mut more: Value) -> Result<Vec<Gate>, String> {
    more["name"] = "g".into();
    read(&rollout(json!([more]), steps("g")))
}

fn errors() -> Value {
    json!({"metric": "ErrorRate", "compareToStable": {"margin": "0.01", "direction": "Decrease"}})
}

#[rstest]
#[case::no_metric(json!({}), "names no metric")]
#[case::two_kinds(json!({"router": errors(), "golden": {"minAccuracy": "0.7"}}), "more than one kind")]
#[case::nothing_to_hold_against(json!({"router": {"metric": "ErrorRate"}}), "set threshold or compareToStable")]
#[case::both(json!({"router": {"metric": "ErrorRate", "threshold": {"max": "0.1"}, "compareToStable": {"direction": "Decrease"}}}), "keep one")]
#[case::no_bound(json!({"router": {"metric": "ErrorRate", "threshold": {}}}), "names no bound")]
#[case::two_bounds(json!({"router": {"metric": "ErrorRate", "threshold": {"min": "0", "max": "1"}}}), "min and max")]
#[case::too_few_errors(json!({"router": {"metric": "ErrorRate", "threshold": {"min": "0.1"}}}), "write threshold.max")]
#[case::percentage(json!({"router": {"metric": "ErrorRate", "threshold": {"max": "20"}}}), "below 1")]
#[case::every_rate(json!({"router": {"metric": "SlowFraction", "slowerThan": "1s", "threshold": {"max": "1"}}}), "below 1")]
#[case::more_errors(json!({"router": {"metric": "ErrorRate", "compareToStable": {"direction": "Increase"}}}), "direction: Decrease")]
#[case::whole_margin(json!({"router": {"metric": "ErrorRate", "compareToStable": {"margin": "5", "direction": "Decrease"}}}), "below 1")]
#[case::negative_margin(json!({"router": {"metric": "ScoreSpread", "compareToStable": {"margin": "-1", "direction": "Increase"}}}), "0 or more")]
#[case::no_number(json!({"router": {"metric": "ErrorRate", "threshold": {"max": "few"}}}), "decimal number")]
#[case::slow_without_time(json!({"router": {"metric": "SlowFraction", "threshold": {"max": "0.1"}}}), "slowerThan")]
#[case::slow_at_once(json!({"router": {"metric": "SlowFraction", "slowerThan": "0s", "threshold": {"max": "0.1"}}}), "slowerThan is 0")]
#[case::slow_time(json!({"router": {"metric": "SlowFraction", "slowerThan": "soon", "threshold": {"max": "0.1"}}}), "not a duration")]
#[case::time_without_slow(json!({"router": {"metric": "ErrorRate", "slowerThan": "1s", "threshold": {"max": "0.1"}}}), "remove it")]
#[case::no_spread(json!({"router": {"metric": "ScoreSpread", "threshold": {"min": "0"}}}), "above 0")]
#[case::golden_nothing(json!({"golden": {}}), "asks for nothing")]
#[case::golden_accuracy(json!({"golden": {"minAccuracy": "70"}}), "from 0 to 1")]
#[case::golden_alpha(json!({"alpha": "0.01", "golden": {"minAccuracy": "0.7"}}), "compare under uncertainty")]
#[case::golden_after(json!({"afterPromotion": "Report", "golden": {"minAccuracy": "0.7"}}), "no meaning")]
#[case::golden_no_data(json!({"onNoData": "Fail", "golden": {"minAccuracy": "0.7"}}), "Wait or Pause")]
#[case::shift(json!({"paired": {"metric": "ScoreShift", "within": "0"}}), "above 0")]
#[case::agreement(json!({"paired": {"metric": "RankAgreement", "within": "1"}}), "below 1")]
#[case::flips(json!({"paired": {"metric": "PreferenceFlips", "within": "1"}}), "between 0 and 1")]
#[case::preferences_nothing(json!({"preferences": {}}), "asks for nothing")]
#[case::preferences_both(json!({"preferences": {"minAccuracy": "0.7", "compareToStable": {"direction": "Increase"}}}), "keep one")]
#[case::preferences_share(json!({"preferences": {"minAccuracy": "1"}}), "between 0 and 1")]
#[case::preferences_down(json!({"preferences": {"compareToStable": {"direction": "Decrease"}}}), "direction: Increase")]
#[case::preferences_margin(json!({"preferences": {"compareToStable": {"margin": "1", "direction": "Increase"}}}), "below 1")]
#[case::no_query(json!({"prometheus": {"query": "  ", "threshold": {"max": "1"}}}), "is empty")]
#[case::long_query(json!({"prometheus": {"query": "x".repeat(8193), "threshold": {"max": "1"}}}), "recording rule")]
#[case::alpha_zero(json!({"alpha": "0", "router": errors()}), "between 0 and 1")]
#[case::alpha_one(json!({"alpha": "1", "router": errors()}), "between 0 and 1")]
#[case::alpha_words(json!({"alpha": "small", "router": errors()}), "between 0 and 1")]
#[case::alpha_large(json!({"alpha": "0.03", "router": errors()}), "add up to 0.03")]
#[case::interval(json!({"interval": "10ms", "router": errors()}), "1s or more")]
#[case::interval_words(json!({"interval": "often", "router": errors()}), "not a duration")]
#[case::samples(json!({"minSamples": 0, "router": errors()}), "1 or more")]
#[case::samples_of_a_query(json!({"minSamples": 5, "prometheus": {"query": "up", "threshold": {"max": "1"}}}), "let the query itself ask")]
#[case::limit(json!({"errorLimit": -1, "router": errors()}), "0 or more")]
fn a_doubtful_gate_is_refused_and_says_what_to_do(#[case] gate: Value, #[case] expected: &str) {
    let why = with(gate).unwrap_err();
    assert!(why.contains(expected), "{why}");
    assert!(why.starts_with("rollout.gates"), "{why}");
}

#[rstest]
#[case::unknown(json!([{"setWeight": 10}, {"gate": {"names": ["other"]}}]), "correct the name")]
#[case::unnamed(json!([{"setWeight": 10}]), "no step names it")]
#[case::no_steps(json!([]), "no step names it")]
#[case::before_traffic(json!([{"gate": {"names": ["g"]}}, {"setWeight": 10}]), "put a setWeight before it")]
#[case::only_all(json!([{"setWeight": 100}, {"gate": {"names": ["g"]}}]), "a setWeight below 100 before it")]
#[case::no_time(json!([{"setWeight": 10}, {"gate": {"names": ["g"], "maxDuration": "0s"}}]), "nothing could ever finish")]
#[case::shadow_of_nobody(json!([{"setWeight": 10}, {"gate": {"names": ["g"]}}, {"setWeight": 100}, {"shadow": {}}]), "put the shadow step before it")]
fn steps_that_no_gate_can_finish_in_are_refused(#[case] steps: Value, #[case] expected: &str) {
    let gates = json!([{"name": "g", "router": errors()}]);
    let why = read(&rollout(gates, steps)).unwrap_err();
    assert!(why.contains(expected), "{why}");
}

#[test]
fn a_paired_gate_needs_requests_that_are_shadowed() {
    let gates = json!([{"name": "g", "paired": {"metric": "ScoreShift", "within": "0.1"}}]);
    let gate = json!({"gate": {"names": ["g"]}});
    let without = json!([{"setWeight": 10}, gate]);
    let ended = json!([{"shadow": {}}, {"setWeight": 10}, gate]);
    for steps in [without, ended] {
        let why = read(&rollout(gates.clone(), steps)).unwrap_err();
        assert!(why.contains("put a shadow step before it"), "{why}");
    }
    // What it has seen stands when users come.
    let good = json!([{"shadow": {}}, gate, {"setWeight": 10}, gate]);
    assert!(read(&rollout(gates, good)).is_ok());
}

#[test]
fn a_golden_gate_needs_a_golden_set_and_no_step() {
    let mut all = rollout(
        json!([{"name": "g", "golden": {"minAccuracy": "0.7"}}]),
        json!([]),
    );
    assert!(read(&all).is_ok());
    all.golden_set = None;
    let why = read(&all).unwrap_err();
    assert!(why.contains("rollout.goldenSet is not set"), "{why}");
}

#[test]
fn names_are_told_apart_and_can_stand_in_a_step() {
    for name in ["", "A", "a b", "-a", "a-", "a,b", &"a".repeat(64)] {
        let gates = json!([{"name": name, "router": errors()}]);
        let why = read(&rollout(gates, steps(name))).unwrap_err();
        assert!(why.contains("lower-case"), "{name:?}: {why}");
    }
    let twice = json!([{"name": "g", "router": errors()}, {"name": "g", "router": errors()}]);
    let why = read(&rollout(twice, steps("g"))).unwrap_err();
    assert!(why.contains("give each its own"), "{why}");
}

#[test]
fn there_are_sixteen_gates_and_four_slow_thresholds_at_most() {
    let many = |count: usize, slow: bool| {
        let gates: Vec<Value> = (0..count)
            .map(|number| {
                let router = json!({"metric": "SlowFraction", "slowerThan": format!("{}ms", number + 1), "threshold": {"max": "0.1"}});
                let router = if slow { router } else { errors() };
                json!({"name": format!("g{number}"), "router": router})
            })
            .collect();
        let names: Vec<String> = (0..count).map(|number| format!("g{number}")).collect();
        let steps = json!([{"setWeight": 10}, {"gate": {"names": names}}]);
        read(&rollout(json!(gates), steps))
    };
    assert_eq!(many(16, false).unwrap().len(), 16);
    assert!(many(17, false).unwrap_err().contains("keep 16"));
    assert!(many(4, true).is_ok());
    assert!(many(5, true).unwrap_err().contains("share one"));
}

#[test]
fn the_gates_share_half_of_alpha_with_the_cut_off_and_the_rest_among_themselves() {
    let gates = json!([
        {"name": "a", "alpha": "0.005", "router": errors()},
        {"name": "b", "router": errors()},
        {"name": "c", "preferences": {"minAccuracy": "0.7"}},
        {"name": "d", "golden": {"minAccuracy": "0.7"}},
        {"name": "e", "prometheus": {"query": "up", "threshold": {"min": "1"}}},
    ]);
    let steps = json!([{"setWeight": 10}, {"gate": {"names": ["a", "b", "c", "e"]}}]);
    let gates = read(&rollout(gates, steps)).unwrap();
    let comparing: Vec<f64> = gates
        .iter()
        .filter(|gate| gate.kind.compares())
        .map(|gate| gate.alpha.get())
        .collect();
    assert_eq!(comparing.len(), 3);
    assert!((comparing[0] - 0.005).abs() < 1e-12);
    assert!((comparing[1] - 0.01).abs() < 1e-12);
    assert!((comparing.iter().sum::<f64>() - COMPARING).abs() < 1e-12);
}

#[test]
fn where_nothing_is_left_of_alpha_the_others_are_told() {
    let gates = json!([
        {"name": "a", "alpha": "0.025", "router": errors()},
        {"name": "b", "router": errors()},
    ]);
    let steps = json!([{"setWeight": 10}, {"gate": {"names": ["a", "b"]}}]);
    let why = read(&rollout(gates, steps)).unwrap_err();
    assert!(why.contains("nothing is left for the 1 without"), "{why}");
}

#[test]
fn what_a_gate_leaves_out_is_filled_in() {
    let gate = with(json!({"router": errors()})).unwrap().remove(0);
    assert_eq!(gate.interval, Duration::from_secs(30));
    assert_eq!((gate.min_samples, gate.error_limit), (100, 3));
    assert_eq!(gate.on_no_data, OnNoData::Wait);
    assert_eq!(gate.after_promotion, AfterPromotion::RollBack);
    assert!(!gate.dry_run);
    let Kind::Router(rule) = gate.kind else {
        panic!()
    };
    let Rule::Compare(Comparison { margin, .. }) = rule.rule else {
        panic!()
    };
    assert!((margin - 0.01).abs() < 1e-12);
    let none =
        json!({"router": {"metric": "ErrorRate", "threshold": {"max": "0.05"}}, "dryRun": true});
    let gate = with(none).unwrap().remove(0);
    assert!(gate.dry_run);
    let Kind::Router(rule) = gate.kind else {
        panic!()
    };
    assert_eq!(rule.rule, Rule::Threshold(Bound::AtMost(0.05)));
}
