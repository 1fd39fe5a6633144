//! The traffic table as it is written: one JSON document of schema version 1.
//!
//! Owns the shape alone: names, order, and what may be left out. What the values mean and which are
//! refused is [`super::read`]'s. Members that are not known are ignored: a newer operator has written
//! them.

use serde::{Deserialize, Serialize};

use super::experiment::ExperimentDocument;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Traffic table", rename = "TrafficTable"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    /// The version of this schema: 1.
    #[cfg_attr(test, schemars(range(min = 1, max = 1)))]
    pub(super) schema_version: u32,
    /// Rises with each change: an older table is refused as stale.
    pub(super) generation: u64,
    pub(super) model: ModelDocument,
    /// The rollout in flight; absent at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rollout: Option<String>,
    /// What keys are hashed with: the model's uid, a slash and the rollout's id. Without a zero byte.
    #[cfg_attr(test, schemars(length(min = 1)))]
    pub(super) salt: String,
    /// At most one of each role; their weights sum to 10,000.
    #[cfg_attr(test, schemars(length(min = 1, max = 3)))]
    pub(super) revisions: Vec<RevisionDocument>,
    /// Where a request's user key is found; the prompt is the key where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<KeyDocument>,
    #[serde(default)]
    pub(super) fallback: FallbackDocument,
    #[serde(default)]
    pub(super) cut_off: CutOffDocument,
    /// Whose requests the canary scores too, after the client has its answer; absent: nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<ShadowDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) evidence: Option<EvidenceRulesDocument>,
    /// The experiment that is in force; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) experiment: Option<ExperimentDocument>,
    /// SHA-256 of the token that the admin port asks for, 64 lower-case hex digits; without it the
    /// port shows nothing but health and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub(super) admin_token_sha256: Option<String>,
}

/// The model that the table is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Model"))]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelDocument {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// One revision that may be served from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "TableRevision"))]
#[serde(rename_all = "camelCase")]
pub(super) struct RevisionDocument {
    #[cfg_attr(
        test,
        schemars(regex(pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"))
    )]
    pub(super) revision: String,
    /// Stable, Canary or Previous.
    #[cfg_attr(test, schemars(regex(pattern = "^(Stable|Canary|Previous)$")))]
    pub(super) role: String,
    /// Hundredths of a percent.
    #[cfg_attr(test, schemars(range(min = 0, max = 10_000)))]
    pub(super) weight: i64,
    /// The digest of its files, which its endpoints have to echo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^sha256:[0-9a-f]{64}$")))]
    pub(super) digest: Option<String>,
    /// The headless Service whose endpoints serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    /// The addresses that serve it, HOST:PORT, where there is no Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) calibration: Option<CalibrationDocument>,
    /// Requests that one endpoint may have in flight; beyond, the router sheds with 429.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) capacity: Option<u32>,
}

/// How scores become confidences.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Calibration"))]
#[serde(rename_all = "camelCase")]
pub(super) struct CalibrationDocument {
    /// A decimal number above 0.
    pub(super) scale: String,
    /// A decimal number.
    pub(super) shift: String,
}

/// Where the user key is: exactly one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Key"))]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jwt_claim: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) json_pointer: Option<String>,
}

/// Whether stable answers what the canary does not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Fallback"))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FallbackDocument {
    pub(super) enabled: bool,
    /// How long the canary is waited for, in milliseconds.
    pub(super) hedge_after_ms: u64,
    /// The most of the last ten seconds' requests, in percent.
    #[cfg_attr(test, schemars(range(max = 100)))]
    pub(super) budget_percent: u32,
}

impl Default for FallbackDocument {
    fn default() -> Self {
        Self {
            enabled: true,
            hedge_after_ms: 500,
            budget_percent: 20,
        }
    }
}

/// Whose requests the canary scores too. It needs no weight for that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ShadowRule"))]
#[serde(rename_all = "camelCase")]
pub(super) struct ShadowDocument {
    /// The share of the keys, in percent.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(super) percent: i64,
    /// How long the canary may take, in milliseconds; 10,000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1, max = 600_000)))]
    pub(super) timeout_ms: Option<u64>,
}

/// What is recorded of a rollout, beside what always is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidenceRules"))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EvidenceRulesDocument {
    /// Thresholds in milliseconds, at most four: requests that take longer are counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 4), inner(range(min = 1, max = 600_000))))]
    pub(super) slower_than_ms: Vec<i64>,
}

/// When the canary is cut off.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "CutOff"))]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CutOffDocument {
    /// The time that is looked at, in milliseconds.
    #[cfg_attr(test, schemars(range(min = 100, max = 600_000)))]
    pub(super) window_ms: u64,
    /// Requests in the window below which nothing is decided by their share.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) min_requests: u32,
    /// The share that is too much: a decimal number above 0, at most 1.
    pub(super) error_rate: String,
    /// Scores that are no numbers, in the window, that are too many.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) non_finite: u32,
    /// Whether one score for everything is too much.
    pub(super) constant_scores: bool,
    /// How many times stable's p99 is slow: a decimal number, at least 1.
    pub(super) slow_factor: String,
    /// The probability that a healthy canary is cut off: a decimal number above 0, below 1.
    pub(super) alpha: String,
    /// A cut-off that the operator has made global.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confirmed: Option<ConfirmedDocument>,
}

impl Default for CutOffDocument {
    fn default() -> Self {
        Self {
            window_ms: 5_000,
            min_requests: 5,
            error_rate: "0.5".to_owned(),
            non_finite: 1,
            constant_scores: true,
            slow_factor: "3".to_owned(),
            alpha: "0.025".to_owned(),
            confirmed: None,
        }
    }
}

/// A cut-off that holds in every router.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Confirmed"))]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfirmedDocument {
    /// The canary that it is of.
    pub(super) revision: String,
    /// A word of `cutOff.cause` in a status document; another one is as good as any.
    pub(super) cause: String,
}
