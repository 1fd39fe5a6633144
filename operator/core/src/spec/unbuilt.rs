//! What this version does not do yet. A field that guards something must never be accepted and do
//! nothing, so a spec that sets one is refused; whoever builds it takes its refusal away.

use crds::RewardModelSpec;
use crds::v1alpha1::reward_model::rollout::{Capacity, Rollout};
use crds::v1alpha1::reward_model::traffic::Traffic;
use crds::value::Duration;

/// The first field that is set and would be ignored.
///
/// # Errors
/// Its name and what to do.
pub(super) fn check(spec: &RewardModelSpec) -> Result<(), String> {
    let model = spec
        .model
        .calibration
        .is_some()
        .then_some("model.calibration");
    let traffic = spec.traffic.as_ref().and_then(traffic);
    let rollout = spec.rollout.as_ref().and_then(rollout);
    match model.or(traffic).or(rollout) {
        None => Ok(()),
        Some(field) => Err(format!(
            "{field} is not carried out by this version of the operator, and would be without effect: remove it"
        )),
    }
}

fn traffic(traffic: &Traffic) -> Option<&'static str> {
    traffic.gateway.is_some().then_some("traffic.gateway")
}

fn rollout(rollout: &Rollout) -> Option<&'static str> {
    let gates = rollout.gates.as_ref().is_some_and(|list| !list.is_empty());
    let set = [
        (gates, "rollout.gates"),
        (rollout.golden_set.is_some(), "rollout.goldenSet"),
    ];
    first(&set).or_else(|| capacity(&rollout.capacity))
}

fn capacity(set: &Capacity) -> Option<&'static str> {
    let default = Capacity::default();
    let after = &default.unschedulable_after;
    first(&[
        (
            set.on_unschedulable != default.on_unschedulable,
            "rollout.capacity.onUnschedulable",
        ),
        (
            differs(&set.unschedulable_after, after.as_str()),
            "rollout.capacity.unschedulableAfter",
        ),
    ])
}

fn first(fields: &[(bool, &'static str)]) -> Option<&'static str> {
    let mut set = fields.iter().filter(|(set, _)| *set);
    set.next().map(|(_, name)| *name)
}

/// Whether two durations are not the same length: `60s` is `1m`.
fn differs(set: &Duration, default: &str) -> bool {
    match (set.to_std(), Duration::from(default).to_std()) {
        (Ok(set), Ok(default)) => set != default,
        (Err(_), _) | (_, Err(_)) => set.as_str() != default,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn spec(more: Value) -> RewardModelSpec {
        let mut all = json!({"model": {"source": {"pvc": {"claimName": "models"}}}});
        for (key, value) in more.as_object().unwrap() {
            match (
                all.get_mut(key).and_then(Value::as_object_mut),
                value.as_object(),
            ) {
                (Some(old), Some(new)) => old.extend(new.clone()),
                _ => all[key] = value.clone(),
            }
        }
        serde_json::from_value(all).unwrap()
    }

    #[rstest]
    #[case("model.calibration", json!({"model": {"calibration": {"scale": "2"}}}))]
    #[case("traffic.gateway", json!({"traffic": {"gateway": {"parentRefs": [{"name": "g"}]}}}))]
    #[case("rollout.gates", json!({"rollout": {"gates": [{"name": "g", "golden": {"minAccuracy": "0.7"}}]}}))]
    #[case("rollout.goldenSet", json!({"rollout": {"goldenSet": {"configMapRef": {"name": "a", "key": "b"}}}}))]
    #[case("rollout.capacity.onUnschedulable", json!({"rollout": {"capacity": {"onUnschedulable": "Abort"}}}))]
    #[case("rollout.capacity.unschedulableAfter", json!({"rollout": {"capacity": {"unschedulableAfter": "6m"}}}))]
    fn a_field_that_would_be_without_effect_is_refused(#[case] field: &str, #[case] more: Value) {
        let refusal = check(&spec(more)).unwrap_err();
        assert!(refusal.starts_with(&format!("{field} ")), "{refusal}");
    }

    #[test]
    fn the_defaults_as_the_api_server_writes_them_are_accepted() {
        let written = json!({"traffic": {"timeout": "10s"}, "rollout": serde_json::to_value(Rollout::default()).unwrap()});
        assert_eq!(check(&spec(written)), Ok(()));
        let otherwise = json!({"rollout": {"rollbackWindow": {"duration": "1800s"}, "cutOff": {"window": "5000ms"}}});
        assert_eq!(check(&spec(otherwise)), Ok(()));
    }
}
