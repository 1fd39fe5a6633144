//! An experiment as it is written in a table.
//!
//! Owns the shape alone. Members that are not known are ignored: a newer operator has written them.

use serde::{Deserialize, Serialize};

use crate::table::document::{CalibrationDocument, KeyDocument};

/// An experiment on the model. While it is in force, it decides who serves its users.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Experiment"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExperimentDocument {
    /// 1 to 63 letters, digits, dots, underscores and dashes, as all names here.
    pub(super) name: String,
    pub(super) uid: String,
    /// Rises with each change of what is compared: counts begin anew with it.
    pub(super) epoch: u64,
    /// What its users are hashed with. Without a zero byte.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(super) salt: String,
    /// Split or Paired.
    #[cfg_attr(test, schemars(regex(pattern = "^(Split|Paired)$")))]
    pub(super) mode: String,
    /// The variant that the table's stable revision serves.
    pub(super) control: String,
    /// Where its user key is; absent: where the table's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<KeyDocument>,
    /// Control or Reject.
    #[serde(default = "on_missing_key")]
    #[cfg_attr(test, schemars(regex(pattern = "^(Control|Reject)$")))]
    pub(super) on_missing_key: String,
    #[cfg_attr(test, schemars(length(min = 2, max = 4)))]
    pub(super) variants: Vec<VariantDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 32)))]
    pub(super) overrides: Vec<OverrideDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 8)))]
    pub(super) metrics: Vec<MetricDocument>,
}

fn on_missing_key() -> String {
    "Control".to_owned()
}

/// One arm. The control has its name and its slots alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Variant"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct VariantDocument {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    /// The digest of its files, which its endpoints have to echo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// The headless Service of the same namespace whose endpoints serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    /// The addresses that serve it, HOST:PORT, where there is no Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) calibration: Option<CalibrationDocument>,
    /// Requests that one endpoint may have in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) capacity: Option<u32>,
    /// Its places of the traffic, 0 to 10,000: each from the first number up to, and without, the second.
    #[serde(default)]
    pub(super) slots: Vec<[i64; 2]>,
}

/// Requests that a variant serves in any case. They are not counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Override"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct OverrideDocument {
    pub(super) header: String,
    pub(super) value: String,
    pub(super) variant: String,
}

/// What is measured: a signal, an event, or preferences.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentMetric"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricDocument {
    pub(super) name: String,
    /// Score, Latency or Errors, of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^(Score|Latency|Errors)$")))]
    pub(super) signal: Option<String>,
    /// Of Latency: those that take longer are counted, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1, max = 600_000)))]
    pub(super) slower_than_ms: Option<u64>,
    /// What `POST /feedback` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<String>,
    /// Labelled pairs of `POST /feedback`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) preferences: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clip: Option<ClipDocument>,
}

/// Values beyond these are taken for them: decimal numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Clip"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClipDocument {
    pub(super) min: String,
    pub(super) max: String,
}
