//! `status`: what the operator has counted and decided.
//!
//! Invariant: all fields may be absent and words may be unknown, so that a status of any version can be
//! read and is written back as it was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1alpha1::reward_model::status::LastCommand;
use crate::value::{Decimal, Word};

/// What the operator has counted and decided.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ABExperimentStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Word<Phase>>,
    /// One sentence for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the first user was dealt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ends without a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Time>,
    /// What ids are hashed under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The last command, acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_command: Option<LastCommand>,
    /// The time in which nothing that the analysis rests on has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EpochStatus>,
    /// Whether a human has asked it to stay where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// The variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub variants: Option<Vec<VariantStatus>>,
    /// Users that are counted, of all variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// What is not counted, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// Whether users fall to variants as their weights say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<SampleRatioStatus>,
    /// What each metric says of each variant but control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<ResultStatus>>,
    /// The variant that is ahead on the first goal, for columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderStatus>,
    /// The verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
    /// See `docs/conditions.md`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// One word for the whole.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It has not begun.
    Pending,
    /// Users are dealt and counted.
    Running,
    /// Users are dealt; nothing is decided.
    Paused,
    /// A verdict is there.
    Decided,
    /// What follows from it is done.
    Applied,
    /// A human is needed.
    Stalled,
}

/// A time in which nothing that the analysis rests on has changed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochStatus {
    /// Counted from 1.
    pub id: i64,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Why.
    pub reason: String,
    /// Who owns which of the 10,000 slots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotRange>,
    /// A hash of what opens an epoch when it changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// The fingerprint of the weights that slots were dealt by.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub weights: String,
}

/// Slots from `from` to before `to`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlotRange {
    /// The variant's name.
    pub variant: String,
    /// The first.
    pub from: i32,
    /// The first after.
    pub to: i32,
}

/// One variant.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VariantStatus {
    /// Its name.
    pub name: String,
    /// Its RewardModel.
    pub model: String,
    /// Its revision in this epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether it can serve.
    pub ready: bool,
    /// Its part of the slots, in hundredths of a percent.
    pub weight: i32,
    /// Its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// Its requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<i64>,
    /// The part of them that it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Decimal>,
    /// Why it is out, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
}

/// What is not counted, and why.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeftOut {
    /// Requests without a user's id.
    pub missing_key: i64,
    /// Users that were seen in two variants.
    pub in_two_variants: i64,
    /// Users beyond the cap.
    pub beyond_cap: i64,
    /// Events of users that no variant has served.
    pub unknown_users: i64,
    /// Events that came after the verdict.
    pub after_verdict: i64,
    /// Routers that went without a last word.
    pub lost_routers: i64,
}

/// Whether users fall to variants as their weights say.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SampleRatioStatus {
    /// The parts of the users, in the order of the variants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<Decimal>,
    /// Users that were counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<i64>,
    /// Natural logarithm of the evidence against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_evidence: Option<Decimal>,
    /// Valid at every look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<Decimal>,
    /// `OK` or `Mismatch`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verdict: String,
}

/// What one metric says of one variant, against control.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultStatus {
    /// The metric's name.
    pub metric: String,
    /// The variant's name.
    pub variant: String,
    /// What it decides.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The test that was used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The variant's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Decimal>,
    /// Control's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_mean: Option<Decimal>,
    /// The lowest that the metric is clipped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// The highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// Values of the variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Users, or pairs, of the variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<i64>,
    /// The difference, turned so that more is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Decimal>,
    /// As a part of control's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_effect: Option<Decimal>,
    /// The effect is at least this, at the level of a promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<Decimal>,
    /// The effect is at most this, at the level of a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<Decimal>,
    /// Of the benefit; valid at every look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<Decimal>,
    /// Natural logarithms of evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_evidence: Option<LogEvidence>,
    /// The size of effects that it is tuned for, frozen at the first look that counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tau: Option<Decimal>,
    /// Whether enough was seen.
    pub eligible: bool,
    /// What is still missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the smallest effect that matters would be shown, at this pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<Time>,
}

/// Natural logarithms of evidence.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogEvidence {
    /// Of a benefit, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benefit: Option<Decimal>,
    /// Of harm, the most so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harm: Option<Decimal>,
}

/// The variant that is ahead, for columns.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaderStatus {
    /// Its name.
    pub variant: String,
    /// On the first goal, with a sign: more is better.
    pub effect: String,
    /// `[lower, upper]`.
    pub interval: String,
}

/// The verdict.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionStatus {
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Word<Verdict>>,
    /// The variant that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Why.
    pub reason: String,
    /// In words.
    pub message: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
    /// When a human agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Time>,
    /// When what follows from it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Time>,
    /// The epoch that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// What is done about it: `Promote`, `ReturnToControl` or `Report`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
}

/// The verdict in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A variant is better.
    Promote,
    /// Every variant harms.
    RollBack,
    /// The data do not say.
    Inconclusive,
    /// Users did not fall to variants as they should.
    Invalid,
}
