use rstest::rstest;
use serde_json::{Value, json};

use super::super::testing::{experiment, goal};
use super::*;

fn refusal(patch: &Value) -> String {
    Design::read(&experiment(patch), None).unwrap_err()
}

fn with(metric: &Value) -> Value {
    let mut whole =
        json!({"name": "m", "role": "Guardrail", "direction": "Increase", "kind": "Mean"});
    super::super::testing::merge(&mut whole, metric);
    json!({"metrics": [goal(), whole]})
}

#[rstest]
#[case::control_is_none(json!({"control": "v9"}), "set control to v1")]
#[case::control_moves_everybody(json!({"control": "v2"}), "would move everybody who is not in it")]
#[case::nobody_is_the_endpoint(json!({"endpoint": {"name": "other"}}), "exactly one has to, the control")]
#[case::both_are_the_endpoint(json!({"variants": [{"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v2", "modelRef": {"name": "m1"}}]}), "make a second RewardModel")]
#[case::weight(json!({"variants": [{"name": "v1", "modelRef": {"name": "m1"}, "weight": 0}, {"name": "v2", "modelRef": {"name": "m2"}}]}), "must be above 0")]
#[case::tiny_weight(json!({"variants": [{"name": "v1", "modelRef": {"name": "m1"}, "weight": 9990}, {"name": "v2", "modelRef": {"name": "m2"}, "weight": 10}]}), "assignment.coveragePercent")]
#[case::one_variant(json!({"variants": [{"name": "v1", "modelRef": {"name": "m1"}}]}), "two to four")]
#[case::twice(json!({"variants": [{"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v1", "modelRef": {"name": "m2"}}]}), "twice: rename one")]
#[case::no_key(json!({"assignment": {"key": null}}), "assignment.key is missing")]
#[case::salt(json!({"assignment": {"salt": "a\u{0}b"}}), "zero byte")]
#[case::coverage(json!({"assignment": {"coveragePercent": 101}}), "0 to 100")]
#[case::overridden(json!({"assignment": {"overrides": [{"header": "h", "value": "v", "variant": "v9"}]}}), "none of variants")]
#[case::durations(json!({"schedule": {"minDuration": "25h"}}), "longer than maxDuration")]
#[case::duration(json!({"schedule": {"maxDuration": "soon"}}), "schedule.maxDuration")]
#[case::alpha(json!({"analysis": {"alpha": "0"}}), "analysis.alpha")]
#[case::srm_alpha(json!({"analysis": {"srmAlpha": "nan"}}), "analysis.srmAlpha")]
#[case::no_goal(json!({"metrics": [{"name": "m", "role": "Info", "kind": "Mean", "source": {"router": {"signal": "Score"}}, "direction": "Increase"}]}), "no metric has role Goal")]
#[case::no_source(with(&json!({"source": {}})), "exactly one source")]
#[case::two_sources(with(&json!({"source": {"preferences": {}, "prometheus": {"query": "q"}}})), "exactly one source")]
#[case::errors_mean(with(&json!({"source": {"router": {"signal": "Errors"}}})), "use Ratio or Proportion")]
#[case::no_threshold(with(&json!({"kind": "SlowFraction", "source": {"router": {"signal": "Latency"}}})), "needs slowerThan")]
#[case::event(with(&json!({"source": {"feedback": {"event": "two words"}}})), "without a space")]
#[case::prometheus(with(&json!({"source": {"prometheus": {"query": "q"}}})), "Guardrail with absoluteMax")]
#[case::equivalence(with(&json!({"kind": "Equivalence", "source": {"router": {"signal": "Score"}}})), "margin.absolute")]
#[case::superior_guardrail(with(&json!({"source": {"router": {"signal": "Score"}}, "test": "Superiority"})), "a Guardrail for NoHarm")]
#[case::margin(with(&json!({"source": {"router": {"signal": "Score"}}, "test": "NonInferiority"})), "needs a margin")]
#[case::relative_score(with(&json!({"source": {"router": {"signal": "Score"}}, "margin": {"relative": "0.1"}})), "no zero")]
#[case::absolute_latency(with(&json!({"source": {"router": {"signal": "Latency"}}, "margin": {"absolute": "5"}})), "compared as ratios")]
#[case::negative(with(&json!({"source": {"router": {"signal": "Score"}}, "margin": {"absolute": "-1"}})), "0 or more")]
#[case::clip(with(&json!({"source": {"router": {"signal": "Score"}}, "clip": {"min": "1", "max": "1"}})), "clip.min")]
#[case::max_of_a_mean(with(&json!({"source": {"router": {"signal": "Score"}}, "absoluteMax": "1"})), "absoluteMax is for shares")]
#[case::clipped_shares(with(&json!({"kind": "Ratio", "source": {"router": {"signal": "Errors"}}, "clip": {"min": "0", "max": "1"}})), "clip is of values")]
#[case::clipped_events(with(&json!({"kind": "Proportion", "source": {"feedback": {"event": "e"}}, "clip": {"min": "0", "max": "1"}})), "clip is of values")]
#[case::clipped_query(with(&json!({"source": {"prometheus": {"query": "q"}}, "absoluteMax": "1", "clip": {"min": "0", "max": "1"}})), "clip is of values")]
#[case::tested_query(with(&json!({"source": {"prometheus": {"query": "q"}}, "absoluteMax": "1", "margin": {"absolute": "1"}})), "margin is of what routers count")]
#[case::whole_effect(with(&json!({"kind": "Proportion", "source": {"feedback": {"event": "e"}}, "minimumEffect": {"absolute": "2"}})), "below 1")]
#[case::whole_margin(with(&json!({"kind": "Ratio", "source": {"router": {"signal": "Errors"}}, "margin": {"absolute": "1"}})), "below 1")]
#[case::whole_max(with(&json!({"kind": "Ratio", "source": {"router": {"signal": "Errors"}}, "absoluteMax": "5"})), "below 1")]
#[case::negative_effect(with(&json!({"source": {"router": {"signal": "Score"}}, "minimumEffect": {"absolute": "-0.1"}})), "0 or more")]
#[case::futile(json!({"analysis": {"futility": true}}), "give every Goal one")]
#[case::paired_feedback(json!({"mode": "Paired"}), "control answers every user")]
fn what_cannot_be_is_refused_with_what_to_do(#[case] patch: Value, #[case] expected: &str) {
    let refusal = refusal(&patch);
    assert!(refusal.contains(expected), "{refusal}");
}

#[test]
fn a_latency_is_read_in_milliseconds_and_its_effect_as_the_part_of_controls_that_is_saved() {
    let latency = json!({"name": "l", "role": "Guardrail", "kind": "Mean", "direction": "Decrease", "source": {"router": {"signal": "Latency"}}});
    let design = super::super::testing::design(&json!({"metrics": [goal(), latency]}));
    let of = |metric: &Metric| (metric.mean_as_read(3.0), metric.effect_as_read(0.5));
    assert_eq!(of(&design.metrics[0]), (3.0, 0.5));
    // 200 ms instead of 250.
    let (control, variant) = (250_f64.ln(), 200_f64.ln());
    let latency = &design.metrics[1];
    assert!((latency.mean_as_read(variant) - 200.0).abs() < 1e-9);
    assert!((latency.effect_as_read(control - variant) - 0.2).abs() < 1e-12);
    assert!((latency.effect_as_read(variant - control) + 0.25).abs() < 1e-12);
}

#[test]
fn variants_are_in_the_order_in_which_routers_count_them() {
    let design = super::super::testing::design(&json!({
        "variants": [
            {"name": "z", "modelRef": {"name": "m3"}}, {"name": "b", "modelRef": {"name": "m2"}},
            {"name": "c", "modelRef": {"name": "m1"}},
        ],
        "control": "c",
    }));
    let names: Vec<&str> = design
        .variants
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["c", "b", "z"]);
    assert_eq!((design.control(), design.candidates().len()), ("c", 2));
}

#[test]
fn the_endpoints_key_is_used_where_the_experiment_names_none() {
    let key = Key {
        header: Some("x-session".to_owned()),
        ..Key::default()
    };
    let without = experiment(&json!({"assignment": {"key": null}}));
    let design = Design::read(&without, Some(&key)).unwrap();
    assert_eq!(design.key, key);
    assert_eq!(design.salt, "u-1");
}

#[test]
fn a_goal_that_humans_meet_takes_a_day_and_another_one_an_hour() {
    let hours = |patch: Value| super::super::testing::design(&patch).at_least.as_secs() / 3600;
    let none = json!({"minDuration": null, "maxDuration": null});
    assert_eq!(hours(json!({"schedule": none})), 24);
    let score = json!({"name": "m", "role": "Goal", "kind": "Mean", "source": {"router": {"signal": "Score"}}, "direction": "Increase"});
    assert_eq!(hours(json!({"schedule": none, "metrics": [score]})), 1);
    // One that is shorter than that has its whole length.
    assert_eq!(
        hours(json!({"schedule": {"minDuration": null, "maxDuration": "2h"}})),
        2
    );
}

#[test]
fn what_is_compared_has_a_fingerprint_and_what_is_not_has_no_part_in_it() {
    let print = |patch: Value| {
        let design = Design::read(&experiment(&patch), None);
        design.unwrap().fingerprint()
    };
    let plain = print(json!({}));
    for same in [
        json!({"assignment": {"coveragePercent": 5}}),
        json!({"decision": {"requireApproval": false}}),
        json!({"suspend": true}),
        json!({"schedule": {"maxDuration": "300h"}}),
        json!({"analysis": {"alpha": "0.050"}}),
    ] {
        assert_eq!(print(same.clone()), plain, "{same}");
    }
    for other in [
        json!({"metrics": [goal()]}),
        json!({"analysis": {"alpha": "0.1"}}),
        json!({"goalPolicy": "Any"}),
        json!({"assignment": {"salt": "other"}}),
    ] {
        assert_ne!(print(other.clone()), plain, "{other}");
    }
}
