use serde_json::{Value, json};

use super::*;

const AHEAD: &str = "bbbbbbbbbb@aaaaaaaaaa";

/// An endpoint whose annotation is `written`, that serves `stable` and is Ready for `reason`.
fn endpoint(written: Option<&str>, stable: &str, reason: &str) -> RewardModel {
    let annotations = written.map(|text| json!({ "betterai.dev/override": text }));
    serde_json::from_value(json!({
        "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
        "metadata": {"name": "helpfulness", "namespace": "n", "annotations": annotations.unwrap_or_else(|| json!({}))},
        "spec": {"model": {"source": {"pvc": {"claimName": "models", "path": "tiny-reward-v1"}}}},
        "status": {
            "stable": {"revision": stable},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": reason,
                "message": "2 replicas serve", "lastTransitionTime": "2026-05-01T00:00:00Z",
            }],
        },
    }))
    .unwrap()
}

fn record(revision: &str, promoted: Option<&str>) -> ControllerRevision {
    let annotations = promoted.map_or_else(
        || json!({}),
        |text| json!({ "betterai.dev/promoted": text }),
    );
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
        "metadata": {
            "name": format!("helpfulness-{revision}"), "annotations": annotations,
            "labels": {"betterai.dev/revision": revision},
        },
    }))
    .unwrap()
}

fn records() -> Vec<ControllerRevision> {
    let promoted = json!({
        "source": {"pvc": {"claimName": "models", "path": "tiny-reward-v2"}},
        "digest": format!("sha256:{}", "a".repeat(64)),
        "calibration": {"scale": "1.5", "shift": "0"},
    });
    vec![
        record("aaaaaaaaaa", None),
        record("bbbbbbbbbb", Some(&promoted.to_string())),
    ]
}

fn decided(name: &str, approved: Value) -> ABExperiment {
    serde_json::from_value(json!({
        "apiVersion": "betterai.dev/v1alpha1", "kind": "ABExperiment",
        "metadata": {"name": name},
        "spec": {
            "endpoint": {"name": "helpfulness"}, "control": "v1",
            "variants": [
                {"name": "v1", "modelRef": {"name": "helpfulness"}},
                {"name": "v2", "modelRef": {"name": "helpfulness-v2"}},
            ],
            "metrics": [],
        },
        "status": {
            "phase": "Applied", "message": "v2 is better: by 0.08 on its first metric, and surely by 0.021",
            "users": 1210,
            "variants": [
                {"name": "v1", "model": "helpfulness", "ready": true, "weight": 5000, "users": 601},
                {"name": "v2", "model": "helpfulness-v2", "ready": true, "weight": 5000, "users": 609},
            ],
            "sampleRatio": {"expected": ["0.5", "0.5"], "observed": [601, 609], "logEvidence": "-3.2", "pValue": "1", "verdict": "OK"},
            "leftOut": {"missingKey": 3, "inTwoVariants": 1, "beyondCap": 0, "unknownUsers": 0, "afterVerdict": 2, "lostRouters": 0},
            "results": [
                {"metric": "accepted", "variant": "v2", "role": "Goal", "method": "proportion of users", "mean": "0.38", "controlMean": "0.3", "effect": "0.08", "lower": "0.021", "upper": "0.139", "users": 609, "count": 231, "logEvidence": {"benefit": "4.1", "harm": "0"}, "eligible": true},
                {"metric": "errors", "variant": "v2", "role": "Guardrail", "method": "ratio over cells", "users": 609, "eligible": false, "reason": "collecting: 140 of 200 users in the smaller arm"},
            ],
            "decision": {
                "verdict": "Promote", "variant": "v2", "reason": "Won", "action": "Promote",
                "message": "v2 is better: by 0.08 on its first metric, and surely by 0.021",
                "decidedAt": "2026-05-02T00:00:00Z", "approvedAt": approved,
            },
        },
    }))
    .unwrap()
}

fn explained(of: &RewardModel) -> String {
    let experiments = [
        decided("older", json!("2026-05-01T00:00:00Z")),
        decided("v2-vs-v1", json!("2026-05-02T01:00:00Z")),
        decided("not-approved", Value::Null),
    ];
    model(of, &records(), &experiments).unwrap()
}

#[test]
fn a_promotion_ahead_of_the_spec_says_why_and_what_to_commit() {
    let text = explained(&endpoint(Some(AHEAD), "bbbbbbbbbb", "PromotedAheadOfSpec"));
    insta::assert_snapshot!(text);
    let (_, yaml) = text
        .split_once("\n\nspec")
        .map(|(why, yaml)| (why, format!("spec{yaml}")))
        .unwrap();
    // What is to be committed is the model that was promoted, whole.
    let committed: Value = serde_yaml::from_str(&yaml).unwrap();
    let model: Model = serde_json::from_value(committed["spec"]["model"].clone()).unwrap();
    let record = promoted(&records(), &RevisionHash::parse("bbbbbbbbbb").unwrap()).unwrap();
    assert_eq!(model, record);
}

#[test]
fn where_nothing_runs_ahead_that_is_said() {
    let none = explained(&endpoint(None, "aaaaaaaaaa", "RolloutComplete"));
    assert!(
        none.starts_with("helpfulness is ready (RolloutComplete): 2 replicas serve.\nNo experiment has promoted a model ahead of the spec of helpfulness"),
        "{none}"
    );
    for nonsense in ["x", "bbbbbbbbbb", "@", "bbbbbbbbbb@", "ZZ@aaaaaaaaaa"] {
        let text = explained(&endpoint(Some(nonsense), "aaaaaaaaaa", "RolloutComplete"));
        assert!(text.contains("names no revision"), "{nonsense}: {text}");
    }
    let over = explained(&endpoint(Some(AHEAD), "cccccccccc", "RolloutComplete"));
    assert!(over.contains("which ended that"), "{over}");
    let committed = explained(&endpoint(Some(AHEAD), "bbbbbbbbbb", "RolloutComplete"));
    assert!(
        committed.contains("nothing is left to commit"),
        "{committed}"
    );
    for text in [none, over, committed] {
        assert!(!text.contains("spec:\n"), "{text}");
    }
}

#[test]
fn a_promotion_on_its_way_is_told_from_one_that_serves() {
    let mut on_its_way = endpoint(Some(AHEAD), "aaaaaaaaaa", "Progressing");
    let status = on_its_way.status.as_mut().unwrap();
    status.canary = serde_json::from_value(json!({"revision": "bbbbbbbbbb"})).unwrap();
    let text = explained(&on_its_way);
    assert!(
        text.contains("is rolling out the revision bbbbbbbbbb"),
        "{text}"
    );
    assert!(text.contains("tiny-reward-v2"), "{text}");
}

#[test]
fn a_record_that_is_gone_is_a_failure_and_an_experiment_that_is_gone_is_none() {
    let ahead = endpoint(Some(AHEAD), "bbbbbbbbbb", "PromotedAheadOfSpec");
    let text = model(&ahead, &records(), &[]).unwrap();
    assert!(text.contains("an experiment that is gone by now"), "{text}");
    for left in [
        vec![],
        vec![record("bbbbbbbbbb", None)],
        vec![record("bbbbbbbbbb", Some("{"))],
    ] {
        let failure = model(&ahead, &left, &[]).unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(
            failure
                .to_string()
                .contains("ControllerRevisions of helpfulness"),
            "{failure}"
        );
    }
}

#[test]
fn an_experiment_is_told_in_words_with_its_numbers() {
    insta::assert_snapshot!(experiment(&decided("v2-vs-v1", Value::Null)));
    let mut new = decided("new", Value::Null);
    new.status = None;
    assert!(experiment(&new).contains("has not seen it yet"));
    new.status = Some(ABExperimentStatusOfAnotherVersion::read());
    assert!(
        experiment(&new).starts_with("new: Dreaming\n"),
        "{}",
        experiment(&new)
    );
}

/// A phase and a verdict that this version does not know.
struct ABExperimentStatusOfAnotherVersion;

impl ABExperimentStatusOfAnotherVersion {
    fn read() -> crds::ABExperimentStatus {
        serde_json::from_value(json!({"phase": "Dreaming"})).unwrap()
    }
}

#[test]
fn a_name_may_have_its_kind() {
    let model = Subject::Model("a".to_owned());
    let experiment = Subject::Experiment("a".to_owned());
    for (text, wanted) in [
        ("a", &model),
        ("rwm/a", &model),
        ("RewardModel/a", &model),
        ("abx/a", &experiment),
        ("abexperiments/a", &experiment),
    ] {
        assert_eq!(Subject::parse(text).unwrap(), *wanted, "{text}");
    }
    for bad in ["", "pod/a", "abx/", "rwm/A b", "a/b/c", "../a"] {
        assert_eq!(Subject::parse(bad).unwrap_err().code(), 2, "{bad}");
    }
}
