//! Whether an object that is there is already what is wanted, so that a no-op writes nothing.
//!
//! Invariant: what the API server adds (defaults, status) is no difference; what somebody changed
//! in a field of ours is.

use serde_json::Value;

/// Whether `live` holds everything that `desired` says. Quantities are compared by value (the API
/// server writes `1000m` as `1`).
pub fn holds(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => {
            desired.iter().all(|(key, want)| match live.get(key) {
                Some(have) if is_quantities(key) => quantities_hold(want, have),
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

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_quantities(key: &str) -> bool {
    matches!(key, "limits" | "requests")
}

fn quantities_hold(desired: &Value, live: &Value) -> bool {
    let (Some(desired), Some(live)) = (desired.as_object(), live.as_object()) else {
        return desired == live;
    };
    desired
        .iter()
        .all(|(key, want)| live.get(key).is_some_and(|have| same_quantity(want, have)))
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
