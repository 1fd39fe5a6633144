//! Canonical JSON: keys sorted bytewise, no white space, absent, null and empty dropped.
//!
//! Invariant: two values that differ only in key order or in empty parts have the same text,
//! whatever map type `serde_json` was built with.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The value without nulls, empty objects, empty lists and empty strings, at any depth. What does
/// not serialise is null.
pub fn to_value<T: Serialize>(value: &T) -> Value {
    prune(serde_json::to_value(value).unwrap_or(Value::Null))
}

fn prune(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, field)| (key, prune(field)))
            .filter(|(_, field)| !is_empty(field))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(prune).collect::<Vec<_>>().into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The first ten hex digits of SHA-256 over the canonical text.
pub fn short_hash(value: &Value) -> String {
    let digest = Sha256::digest(text(&prune(value.clone())));
    hex::encode(digest).chars().take(10).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            let parts = sorted
                .iter()
                .map(|(key, field)| format!("{}:{}", Value::from(key.as_str()), text(field)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let plain = short_hash(&json!({"a": {"b": 1}}));
        let padded = json!({"e": "", "c": null, "a": {"z": [], "b": 1, "y": {"x": {}}}, "d": []});
        assert_eq!(short_hash(&padded), plain);
    }

    #[test]
    fn order_counts_in_lists_and_not_in_objects() {
        assert_eq!(text(&json!({"b": 1, "a": [2, 1]})), r#"{"a":[2,1],"b":1}"#);
        assert_ne!(short_hash(&json!([1, 2])), short_hash(&json!([2, 1])));
    }

    #[test]
    fn false_and_zero_are_not_empty() {
        assert_eq!(
            text(&to_value(&json!({"a": false, "b": 0}))),
            r#"{"a":false,"b":0}"#
        );
    }
}
