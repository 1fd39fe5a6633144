//! What this version does not do yet. A field that guards something must never be accepted and do
//! nothing, so a spec that sets one is refused; whoever builds it takes its refusal away.

use crds::RewardModelSpec;
use crds::v1alpha1::reward_model::rollout::{Capacity, CutOff, Fallback, RollbackWindow, Rollout};
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
    let set = [
        (traffic.auth.is_some(), "traffic.auth"),
        (traffic.rate_limit.is_some(), "traffic.rateLimit"),
        (traffic.key.is_some(), "traffic.key"),
        (traffic.cors.is_some(), "traffic.cors"),
        (traffic.limits.is_some(), "traffic.limits"),
        (traffic.gateway.is_some(), "traffic.gateway"),
        (traffic.router.is_some(), "traffic.router"),
        (differs(&traffic.timeout, "10s"), "traffic.timeout"),
    ];
    first(&set)
}

fn rollout(rollout: &Rollout) -> Option<&'static str> {
    let steps = rollout.steps.as_ref().is_some_and(|list| !list.is_empty());
    let gates = rollout.gates.as_ref().is_some_and(|list| !list.is_empty());
    let set = [
        (steps, "rollout.steps"),
        (gates, "rollout.gates"),
        (rollout.golden_set.is_some(), "rollout.goldenSet"),
        (rollout.require_approval, "rollout.requireApproval"),
    ];
    first(&set)
        .or_else(|| cut_off(&rollout.cut_off))
        .or_else(|| fallback(&rollout.fallback))
        .or_else(|| capacity(&rollout.capacity))
        .or_else(|| rollback_window(&rollout.rollback_window))
}

fn cut_off(set: &CutOff) -> Option<&'static str> {
    let default = CutOff::default();
    let same = CutOff {
        window: default.window.clone(),
        ..set.clone()
    } == default;
    (!same || differs(&set.window, default.window.as_str())).then_some("rollout.cutOff")
}

fn fallback(set: &Fallback) -> Option<&'static str> {
    let default = Fallback::default();
    let same = Fallback {
        hedge_after: default.hedge_after.clone(),
        ..set.clone()
    } == default;
    (!same || differs(&set.hedge_after, default.hedge_after.as_str())).then_some("rollout.fallback")
}

fn capacity(set: &Capacity) -> Option<&'static str> {
    let default = Capacity::default();
    let after = &default.unschedulable_after;
    first(&[
        (
            set.max_surge != default.max_surge,
            "rollout.capacity.maxSurge",
        ),
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

fn rollback_window(set: &RollbackWindow) -> Option<&'static str> {
    let default = RollbackWindow::default();
    let changed = set.warm_replicas != default.warm_replicas
        || differs(&set.duration, default.duration.as_str());
    changed.then_some("rollout.rollbackWindow")
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
    #[case("traffic.auth", json!({"traffic": {"auth": {"jwt": {"jwksUri": "https://a/b"}}}}))]
    #[case("traffic.rateLimit", json!({"traffic": {"rateLimit": {"requestsPerMinute": 5, "per": "Address"}}}))]
    #[case("traffic.key", json!({"traffic": {"key": {"header": "x-user"}}}))]
    #[case("traffic.cors", json!({"traffic": {"cors": {"allowOrigins": ["*"]}}}))]
    #[case("traffic.limits", json!({"traffic": {"limits": {"maxBatch": 5}}}))]
    #[case("traffic.gateway", json!({"traffic": {"gateway": {"parentRefs": [{"name": "g"}]}}}))]
    #[case("traffic.router", json!({"traffic": {"router": {"replicas": 3}}}))]
    #[case("traffic.timeout", json!({"traffic": {"timeout": "11s"}}))]
    #[case("rollout.steps", json!({"rollout": {"steps": [{"setWeight": 5}]}}))]
    #[case("rollout.gates", json!({"rollout": {"gates": [{"name": "g", "golden": {"minAccuracy": "0.7"}}]}}))]
    #[case("rollout.goldenSet", json!({"rollout": {"goldenSet": {"configMapRef": {"name": "a", "key": "b"}}}}))]
    #[case("rollout.requireApproval", json!({"rollout": {"requireApproval": true}}))]
    #[case("rollout.cutOff", json!({"rollout": {"cutOff": {"minRequests": 6}}}))]
    #[case("rollout.fallback", json!({"rollout": {"fallback": {"enabled": false}}}))]
    #[case("rollout.capacity.maxSurge", json!({"rollout": {"capacity": {"maxSurge": 0}}}))]
    #[case("rollout.capacity.onUnschedulable", json!({"rollout": {"capacity": {"onUnschedulable": "Abort"}}}))]
    #[case("rollout.capacity.unschedulableAfter", json!({"rollout": {"capacity": {"unschedulableAfter": "6m"}}}))]
    #[case("rollout.rollbackWindow", json!({"rollout": {"rollbackWindow": {"duration": "1h"}}}))]
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
