//! `spec.assignment`: how users fall to variants.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1alpha1::reward_model::traffic::Key;

/// How users fall to variants.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Where the user's id of a request is; that of the endpoint's `traffic.key` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// What becomes of a request without one.
    #[serde(default)]
    pub on_missing_key: OnMissingKey,
    /// What ids are hashed under; the experiment's uid when absent. Write one to keep users in their arms
    /// when the experiment is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("!self.contains('\\u0000')")
            .message("salt must not contain a zero byte, which ends it in other implementations: write one without"),
    )]
    pub salt: Option<String>,
    /// The part of each variant's users that is in the experiment. Ramp with it: it moves nobody from one
    /// variant to another.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0, max = 100))]
    pub coverage_percent: i32,
    /// Requests that go to a variant whoever sends them, and are not analysed: for testers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub overrides: Option<Vec<Override>>,
}

impl Default for Assignment {
    fn default() -> Self {
        Self {
            key: None,
            on_missing_key: OnMissingKey::default(),
            salt: None,
            coverage_percent: hundred(),
            overrides: None,
        }
    }
}

/// What becomes of a request without a user's id.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissingKey {
    /// Control answers it, outside the experiment.
    #[default]
    Control,
    /// It is refused (422).
    Reject,
}

/// Requests that go to a variant whoever sends them.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The request header that says so.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")
    )]
    pub header: String,
    /// Its value.
    #[schemars(length(min = 1, max = 256))]
    pub value: String,
    /// The variant's name.
    #[schemars(length(min = 1, max = 40))]
    pub variant: String,
}

const fn hundred() -> i32 {
    100
}
