//! `config.json`, as transformers writes it, in its old and new forms.
//!
//! Invariant: what a model leaves out has the default that transformers gives it, and a value that
//! cannot be is an error here, not a panic later.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::error::LoadError;
use crate::output::OutputActivation;

/// What all architectures share of `config.json`; each reads the rest for itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Architecture, such as `BertForSequenceClassification`.
    pub architecture: String,
    /// Names of the labels, in the order of the logits.
    pub labels: Vec<String>,
    /// What the logits go through where probabilities are shown.
    pub activation: OutputActivation,
    /// The whole file.
    raw: Value,
}

#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    num_labels: Option<usize>,
    #[serde(default)]
    id2label: Option<BTreeMap<String, Value>>,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// `ModelInvalid` when it is not JSON, or names no architecture or labels that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let broken = |error: serde_json::Error| {
            LoadError::invalid(format!(
                "config.json cannot be read ({error}): copy it again from where the model was trained"
            ))
        };
        let raw: Value = serde_json::from_slice(bytes).map_err(broken)?;
        let common: Common = serde_json::from_value(raw.clone()).map_err(broken)?;
        let architecture = common
            .architectures
            .unwrap_or_default()
            .into_iter()
            .next()
            .ok_or_else(|| {
                LoadError::invalid("config.json names no architecture: add \"architectures\"")
            })?;
        // transformers counts two labels where a file says nothing; the reward models that came
        // with code of their own have one.
        let of_transformers = ["ForSequenceClassification", "ForTokenClassification"];
        let default = if of_transformers
            .iter()
            .any(|end| architecture.ends_with(end))
        {
            2
        } else {
            1
        };
        Ok(Self {
            labels: labels(common.num_labels, common.id2label, default)?,
            architecture,
            activation: OutputActivation::read(&raw)?,
            raw,
        })
    }

    /// The kind of backbone, such as `llama`, where the file says it.
    pub fn model_type(&self) -> Option<&str> {
        self.raw.get("model_type")?.as_str()
    }

    /// Whether the file has the field, be it null.
    pub fn has(&self, field: &str) -> bool {
        self.raw.get(field).is_some()
    }

    /// The part of the file that an architecture reads.
    ///
    /// # Errors
    /// `ModelInvalid` when a field is missing or of the wrong type.
    pub fn part<T: serde::de::DeserializeOwned>(&self) -> Result<T, LoadError> {
        serde_json::from_value(self.raw.clone()).map_err(|error| {
            LoadError::invalid(format!(
                "config.json does not fit {}: {error}",
                self.architecture
            ))
        })
    }
}

fn labels(
    count: Option<usize>,
    names: Option<BTreeMap<String, Value>>,
    default: usize,
) -> Result<Vec<String>, LoadError> {
    let names = names.unwrap_or_default();
    let count = match (count, names.len()) {
        (Some(count), _) => count,
        (None, 0) => default,
        (None, given) => given,
    };
    if count == 0 || count > 10_000 {
        return Err(LoadError::invalid(format!(
            "config.json says {count} labels: a reward model has at least one"
        )));
    }
    let name = |i: usize| {
        // Some name their labels by numbers.
        match names.get(&i.to_string()) {
            None | Some(Value::Null) => format!("LABEL_{i}"),
            Some(Value::String(name)) => name.clone(),
            Some(other) => other.to_string(),
        }
    };
    // Answers hold scores by name: two of one name would be one.
    let mut all: Vec<String> = (0..count).map(name).collect();
    let mut seen = BTreeSet::new();
    for (i, name) in all.iter_mut().enumerate() {
        while !seen.insert(name.clone()) {
            *name = format!("{name} (LABEL_{i})");
        }
    }
    Ok(all)
}

/// Numbers of one head, of `heads` that share `width`.
///
/// # Errors
/// `ModelInvalid` when they cannot share it.
pub fn head_width(width: usize, heads: usize) -> Result<usize, LoadError> {
    if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
        return Err(LoadError::invalid(format!(
            "config.json: hidden_size {width} cannot be divided into {heads} attention heads"
        )));
    }
    Ok(width / heads)
}

/// Refuses a zero, and a number that no model has: what is computed from it could overflow.
///
/// # Errors
/// `ModelInvalid` with the field's name.
pub fn check_count(field: &str, count: usize) -> Result<(), LoadError> {
    if count == 0 || count > 1 << 24 {
        return Err(LoadError::invalid(format!(
            "config.json: {field} is {count}, which no model has"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn labels_of(text: &str) -> Vec<String> {
        Config::parse(text.as_bytes()).unwrap().labels
    }

    #[test]
    fn labels_are_counted_as_transformers_does() {
        assert_eq!(
            labels_of(r#"{"architectures":["A"],"id2label":{"0":"x"}}"#),
            ["x"]
        );
        assert_eq!(
            labels_of(r#"{"architectures":["A"],"num_labels":1}"#),
            ["LABEL_0"]
        );
        assert_eq!(
            labels_of(r#"{"architectures":["AForSequenceClassification"]}"#).len(),
            2
        );
        assert_eq!(labels_of(r#"{"architectures":["ARewardModel"]}"#).len(), 1);
    }

    #[test]
    fn labels_may_be_named_by_numbers() {
        let text = r#"{"architectures":["A"],"id2label":{"0":0,"1":1.5,"2":null,"3":"x"},"label2id":{"0":0}}"#;
        assert_eq!(labels_of(text), ["0", "1.5", "LABEL_2", "x"]);
    }

    #[test]
    fn a_broken_file_is_named() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"architectures":[]}"#,
            r#"{"architectures":["A"],"num_labels":0}"#,
            r#"{"architectures":"A"}"#,
        ] {
            let error = Config::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid, "{text}");
            assert!(
                error.message.contains("config.json"),
                "{text}: {}",
                error.message
            );
        }
    }
}
