//! `rollout.goldenSet`: what its schema and CEL rules say, again, and that it is looked at at all.

use crds::v1alpha1::reward_model::rollout::Rollout;

/// Checks where the golden set is.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn check(rollout: &Rollout) -> Result<(), String> {
    let Some(set) = &rollout.golden_set else {
        return Ok(());
    };
    match (&set.config_map_ref, &set.claim) {
        (Some(map), None) if map.key.is_empty() || map.name.is_empty() => {
            return Err(
                "rollout.goldenSet.configMapRef names no key: set name and key, such as key: pairs.jsonl"
                    .to_owned(),
            );
        }
        (Some(_), None) => {}
        (None, Some(claim)) => {
            let outside =
                claim.path.starts_with('/') || claim.path.split('/').any(|part| part == "..");
            if outside || claim.path.is_empty() {
                return Err(format!(
                    "rollout.goldenSet.claim.path {:?} names no file inside the volume: write it relative to the volume's root and without '..'",
                    claim.path
                ));
            }
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(
                "rollout.goldenSet has to name exactly one of configMapRef and claim".to_owned(),
            );
        }
    }
    let mut gates = rollout.gates.iter().flatten();
    if gates.any(|gate| gate.golden.is_some()) {
        return Ok(());
    }
    Err(
        "rollout.goldenSet is set, and no gate looks at it: add one to rollout.gates, such as {name: golden, golden: {minAccuracy: \"0.7\"}}, or remove the set"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn read(set: Value, gates: Value) -> Result<(), String> {
        let written = json!({"goldenSet": set, "gates": gates});
        check(&serde_json::from_value(written).unwrap())
    }

    #[rstest]
    #[case(json!({}), "exactly one")]
    #[case(json!({"configMapRef": {"name": "a", "key": "b"}, "claim": {"claimName": "a", "path": "b"}}), "exactly one")]
    #[case(json!({"configMapRef": {"name": "a", "key": ""}}), "names no key")]
    #[case(json!({"claim": {"claimName": "a", "path": "../b"}}), "without '..'")]
    #[case(json!({"claim": {"claimName": "a", "path": "/b"}}), "without '..'")]
    #[case(json!({"claim": {"claimName": "a", "path": ""}}), "names no file")]
    fn a_set_that_is_nowhere_says_what_to_do(#[case] set: Value, #[case] expected: &str) {
        let why = read(
            set,
            json!([{"name": "g", "golden": {"minAccuracy": "0.7"}}]),
        )
        .unwrap_err();
        assert!(why.contains(expected), "{why}");
    }

    #[test]
    fn a_set_that_no_gate_looks_at_is_refused() {
        let set = json!({"configMapRef": {"name": "a", "key": "b"}});
        let why = read(set.clone(), json!([])).unwrap_err();
        assert!(why.contains("no gate looks at it"), "{why}");
        let gates = json!([{"name": "g", "golden": {"minAccuracy": "0.7"}}]);
        assert_eq!(read(set, gates), Ok(()));
    }
}
