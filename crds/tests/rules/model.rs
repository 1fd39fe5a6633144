//! Each CEL rule refuses one manifest, with a message that says what to do, and lets its repaired
//! twin pass. A cluster test applies the same manifests to a real API server.
use crds::RewardModel;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Case {
    rule: String,
    accepted: Value,
    refused: Value,
    message: String,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("model-cases.json")).unwrap()
}

fn manifest(spec: &Value) -> Value {
    let name = spec
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or("helpfulness");
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().remove("name");
    if spec.get("model").is_none() {
        spec["model"] = json!({"source": {"pvc": {"claimName": "models", "path": "v1"}}});
    }
    json!({
        "apiVersion": "betterai.dev/v1alpha1",
        "kind": "RewardModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    })
}

fn refusals(spec: &Value) -> Vec<String> {
    crate::refusals("RewardModel", &manifest(spec), None)
}

#[test]
fn each_rule_refuses_its_case_and_says_what_to_do() {
    for case in cases() {
        crate::assert_refused(&case.rule, &case.message, &refusals(&case.refused));
    }
}

#[test]
fn each_rule_accepts_the_repaired_manifest() {
    for case in cases() {
        crate::assert_accepted(&case.rule, &refusals(&case.accepted));
    }
}

#[test]
fn every_rule_of_the_schema_has_a_case() {
    // The rules on a path are one sentence that stands at two places.
    crate::assert_cases::<RewardModel>(cases().len());
}

#[test]
fn accepted_manifests_deserialise() {
    for case in cases() {
        let parsed = serde_json::from_value::<RewardModel>(manifest(&case.accepted));
        assert!(parsed.is_ok(), "{}: {parsed:?}", case.rule);
    }
}
