//! Each CEL rule of an experiment refuses one manifest, with a message that says what to do, and lets its
//! repaired twin pass; each rule on a change refuses one change of an experiment that is there. A cluster
//! test does the same on a real API server.
use crds::ABExperiment;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Cases {
    base: Value,
    cases: Vec<Case>,
}

/// Patches of the base; of an experiment that is there where `old` is.
#[derive(serde::Deserialize)]
struct Case {
    rule: String,
    accepted: Value,
    refused: Value,
    message: String,
    old: Option<Value>,
    phase: Option<String>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("experiment-cases.json")).unwrap()
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    match (into.as_object_mut(), patch.as_object()) {
        (Some(fields), Some(patch)) => {
            for (name, value) in patch {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, _) => *into = patch.clone(),
    }
}

fn manifest(patches: &[&Value], phase: Option<&str>) -> Value {
    let mut spec = cases().base;
    for patch in patches {
        merge(&mut spec, patch);
    }
    let named = spec.as_object_mut().unwrap().remove("name");
    let name = named.unwrap_or_else(|| json!("v2-vs-v1"));
    json!({
        "apiVersion": "betterai.dev/v1alpha1",
        "kind": "ABExperiment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
        "status": phase.map_or_else(|| json!({}), |phase| json!({"phase": phase})),
    })
}

fn refusals(case: &Case, patch: &Value, phase: Option<&str>) -> Vec<String> {
    let empty = json!({});
    let before = case.old.as_ref().unwrap_or(&empty);
    let old = case.old.as_ref().map(|old| manifest(&[old], phase));
    let new = manifest(&[before, patch], phase);
    crate::refusals("ABExperiment", &new, old.as_ref())
}

#[test]
fn each_rule_refuses_its_case_and_says_what_to_do() {
    for case in cases().cases {
        let refusals = refusals(&case, &case.refused, case.phase.as_deref());
        crate::assert_refused(&case.rule, &case.message, &refusals);
    }
}

#[test]
fn each_rule_accepts_the_repaired_manifest() {
    for case in cases().cases {
        let refusals = refusals(&case, &case.accepted, case.phase.as_deref());
        crate::assert_accepted(&case.rule, &refusals);
    }
}

#[test]
fn what_is_frozen_while_it_runs_or_is_paused_is_free_before_and_after() {
    let frozen = cases().cases.into_iter();
    let frozen: Vec<Case> = frozen
        .filter(|case| case.phase.as_deref() == Some("Running"))
        .collect();
    assert_eq!(frozen.len(), 5);
    for case in frozen {
        let paused = refusals(&case, &case.refused, Some("Paused"));
        crate::assert_refused(&case.rule, &case.message, &paused);
        for free in [None, Some("Pending"), Some("Decided"), Some("Applied")] {
            let refusals = refusals(&case, &case.refused, free);
            assert_eq!(refusals, Vec::<String>::new(), "{} {free:?}", case.rule);
        }
    }
}

#[test]
fn accepted_manifests_deserialise() {
    for case in cases().cases {
        let empty = json!({});
        let old = case.old.as_ref().unwrap_or(&empty);
        let manifest = manifest(&[old, &case.accepted], None);
        let parsed = serde_json::from_value::<ABExperiment>(manifest);
        assert!(parsed.is_ok(), "{}: {parsed:?}", case.rule);
    }
}

#[test]
fn every_rule_of_the_schema_has_a_case() {
    crate::assert_cases::<ABExperiment>(cases().cases.len());
}
