//! Whether an object that is there is already what is wanted, so that a no-op writes nothing.
//!
//! Invariant: what the API server adds (defaults, status) is no difference; what somebody changed
//! in a field of ours is, and so is what somebody added where it changes what runs or is reached.

use serde_json::Value;

/// Maps that stand for a whole: a key more selects other pods, or asks for more.
const WHOLE: [&str; 5] = [
    "selector",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
];
/// Fields that Kubernetes never fills in and that change what a pod is, wherever they stand.
const NEVER_ADDED: [&str; 17] = [
    "affinity",
    "args",
    "command",
    "envFrom",
    "env",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "imagePullSecrets",
    "initContainers",
    "lifecycle",
    "matchExpressions",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "tolerations",
];

/// Whether `live` holds everything that `desired` says, and nothing beside it that matters.
/// Quantities are compared by value (the API server writes `1000m` as `1`).
pub fn holds(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            let added = |key: &str| {
                !desired.contains_key(key) && live.get(key).is_some_and(|have| !is_void(have))
            };
            !NEVER_ADDED.iter().any(|key| added(key))
                && desired.iter().all(|(key, want)| match live.get(key) {
                    Some(have) if WHOLE.contains(&key.as_str()) => is_same(want, have),
                    Some(have) => holds(want, have),
                    None => is_void(want),
                })
        }
        (Value::Array(desired), Value::Array(live)) => {
            desired.len() == live.len()
                && desired
                    .iter()
                    .zip(live)
                    .all(|(want, have)| holds(want, have))
        }
        (desired, live) => desired == live,
    }
}

/// The JSON merge patch (RFC 7386) that makes `after` of `before`; `None` where they are equal. What
/// a third has beside them stays.
pub fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let gone = before.keys().filter(|key| !after.contains_key(*key));
            let mut patch: serde_json::Map<String, Value> =
                gone.map(|key| (key.clone(), Value::Null)).collect();
            for (key, value) in after {
                let change = match before.get(key) {
                    Some(old) => merge_patch(old, value),
                    None => Some(value.clone()),
                };
                patch.extend(change.map(|change| (key.clone(), change)));
            }
            (!patch.is_empty()).then(|| patch.into())
        }
        (before, after) => (before != after).then(|| after.clone()),
    }
}

/// The same keys on both sides, with equal values.
fn is_same(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            live.iter()
                .all(|(key, have)| desired.contains_key(key) || is_void(have))
                && desired.iter().all(|(key, want)| match live.get(key) {
                    Some(have) => is_same(want, have),
                    None => is_void(want),
                })
        }
        (desired, live) => same_quantity(desired, live),
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn same_quantity(one: &Value, other: &Value) -> bool {
    one == other
        || matches!((quantity(one), quantity(other)), (Some(one), Some(other)) if (one - other).abs() <= one.abs() * 1e-9)
}

/// The value of a Kubernetes quantity.
fn quantity(value: &Value) -> Option<f64> {
    let text = value.as_str()?;
    let digits = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        // Exponents (`1e3`) parse as a number as they stand.
        _ => return text.parse().ok(),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let desired = json!({"spec": {"ports": [{"port": 8000}], "empty": {}, "none": null}});
        let live = json!({"spec": {"ports": [{"port": 8000, "protocol": "TCP"}], "clusterIP": "1"}, "status": {}});
        assert!(holds(&desired, &live));
    }

    #[test]
    fn a_changed_field_is_a_difference() {
        for live in [
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": []}}),
            json!({"spec": {"ports": [{"port": 8000}, {"port": 1}]}}),
            json!({"spec": {}}),
            json!({}),
        ] {
            assert!(
                !holds(&json!({"spec": {"ports": [{"port": 8000}]}}), &live),
                "{live}"
            );
        }
    }

    #[test]
    fn what_somebody_added_is_a_difference_where_it_matters() {
        let desired = json!({"spec": {
            "selector": {"a": "b"},
            "template": {"spec": {"containers": [{"name": "server", "env": [{"name": "A"}]}]}},
        }});
        assert!(holds(&desired, &desired));
        let changes: [(&str, Value); 6] = [
            ("/spec/selector", json!({"a": "b", "c": "d"})),
            (
                "/spec/template/spec/containers/0/env",
                json!([{"name": "A"}, {"name": "B"}]),
            ),
            (
                "/spec/template/spec/containers/0",
                json!({"name": "server", "env": [{"name": "A"}], "command": ["sh"]}),
            ),
            (
                "/spec/template/spec/containers",
                json!([{"name": "server", "env": [{"name": "A"}]}, {"name": "x"}]),
            ),
            (
                "/spec/template/spec",
                json!({"containers": [{"name": "server", "env": [{"name": "A"}]}], "tolerations": [{}]}),
            ),
            (
                "/spec/template/spec",
                json!({"containers": [{"name": "server", "env": [{"name": "A"}]}], "hostNetwork": true}),
            ),
        ];
        for (at, added) in changes {
            let mut live = desired.clone();
            *live.pointer_mut(at).unwrap() = added;
            assert!(!holds(&desired, &live), "{live}");
        }
    }

    #[test]
    fn what_kubernetes_added_is_none() {
        let desired = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "server", "ports": [{"containerPort": 1}]}]}});
        let live = json!({
            "metadata": {"labels": {"a": "b", "c": "d"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "now"}},
            "spec": {
                "containers": [{"name": "server", "imagePullPolicy": "Always", "resources": {}, "ports": [{"containerPort": 1, "protocol": "TCP"}]}],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "schedulerName": "default-scheduler",
            },
        });
        assert!(holds(&desired, &live));
    }

    #[test]
    fn a_merge_patch_says_what_is_new_and_leaves_what_it_does_not_know() {
        let before = json!({"a": 1, "b": {"c": 1, "d": [1]}, "e": 1});
        let after = json!({"a": 1, "b": {"c": 2, "d": [1, 2]}, "f": {}});
        let patch = merge_patch(&before, &after);
        assert_eq!(
            patch,
            Some(json!({"b": {"c": 2, "d": [1, 2]}, "e": null, "f": {}}))
        );
        assert_eq!(merge_patch(&before, &before), None);
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let pairs = [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("2", "2"),
        ];
        for (want, have) in pairs {
            let of = |text: &str| json!({"limits": {"cpu": text}});
            assert!(holds(&of(want), &of(have)), "{want} {have}");
        }
        assert!(!holds(
            &json!({"limits": {"cpu": "1"}}),
            &json!({"limits": {"cpu": "2"}})
        ));
        assert!(!holds(
            &json!({"limits": {"cpu": "1"}}),
            &json!({"limits": {}})
        ));
    }
}
