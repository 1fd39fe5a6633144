//! `status`: what the operator has observed and decided. It is written at transitions, and every
//! decision is here before it is acted upon.
//!
//! Invariant: all fields may be absent and words may be unknown, so that a status of any version can
//! be read and is written back as it was. The schema checks shapes only (see [`crate::all`]): a word
//! that is new must not be refused by a definition that is old.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Digest, Word};

/// What the operator has observed and decided.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewardModelStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Word<Phase>>,
    /// One sentence for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where clients send their requests inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The way from Gateways to `url`; there while `traffic.gateway` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,
    /// Pods that take traffic: those that `selector` selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The last size that was not zero: what is meant where `spec.replicas` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_replicas: Option<i32>,
    /// Pods that are ready and take traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Selects the pods that take traffic, for autoscalers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The revision that clients rely on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The revision that is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionStatus>,
    /// The revision before the stable one, while it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<RevisionStatus>,
    /// Who gets which share of the traffic: the stable revision first, then the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Vec<TrafficShare>>,
    /// The rollout in flight, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What the gates say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub gates: Option<Vec<GateStatus>>,
    /// The model that was read last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    /// How often a source was read anew on the command `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
    /// Revisions that failed and are not tried again; the command `retry` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_revisions: Option<Vec<String>>,
    /// The last command, acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_command: Option<LastCommand>,
    /// The last ten rollouts, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<HistoryEntry>>,
    /// See `docs/conditions.md`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// One word for the whole.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing has begun.
    Pending,
    /// The model is being read.
    Resolving,
    /// The new revision's pods start.
    Preparing,
    /// A rollout moves traffic.
    Progressing,
    /// A rollout waits on purpose.
    Paused,
    /// The new revision becomes the stable one.
    Promoting,
    /// Traffic goes back.
    RollingBack,
    /// The spec is served.
    Ready,
    /// A human is needed, or replicas are missing.
    Degraded,
}

/// The way from Gateways.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// Whether all Gateways accept the HTTPRoute as it is now.
    pub accepted: bool,
    /// What they say.
    pub message: String,
}

/// One revision.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionStatus {
    /// Its hash.
    pub revision: String,
    /// The digest of its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Its pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// GPUs that its pods hold together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerators: Option<i64>,
    /// Until when it is kept warm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<Time>,
}

/// A share of the traffic: the wish, the fact, the measurement.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficShare {
    /// Of which revision.
    pub revision: String,
    /// What the rollout wants, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_weight: Option<i32>,
    /// What is in force, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_weight: Option<i32>,
    /// What the routers counted, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_percent: Option<Decimal>,
    /// Routers that acknowledged it, of all, such as `3/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routers: Option<String>,
}

/// The rollout in flight, or the last one.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Names this rollout.
    pub id: String,
    /// The revision that it brings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,
    /// Why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_reasons: Option<Vec<String>>,
    /// How long going back would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_eta: Option<String>,
    /// When its pods last came further; absent while they wait for room, a quota or a human.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressed_at: Option<Time>,
    /// When it is given up without progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Requests that the stable revision answered for the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<i64>,
    /// Its steps, as the spec had them when it began: `SetWeight 10`, `Pause 5s`, `Pause`,
    /// `Shadow 20, 1000 pairs within 3600s`, `Gate a,b within 3600s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<String>>,
    /// Whether a human has asked it to skip what is left of its steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast: Option<bool>,
    /// Whether it takes the places of pods that serve, because no node had room for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub borrows: Option<bool>,
    /// Since when no pod of the stable revision serves, while pods of this one do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_lost_at: Option<Time>,
    /// The golden set that it is judged by, whatever becomes of the set later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub golden_set: Option<GoldenSetStatus>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Word<Outcome>>,
}

/// A golden set as it was read.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GoldenSetStatus {
    /// SHA-256 of its bytes, as `sha256:` and hex digits.
    pub digest: String,
    /// Its labelled pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<i64>,
}

/// Where a rollout stands.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepStatus {
    /// Counted from 1.
    pub index: i32,
    /// How many there are.
    pub total: i32,
    /// What it does.
    pub kind: String,
    /// Both, for a column: `2/4 Pause 5s`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// How a rollout ended.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The new revision is the stable one.
    Promoted,
    /// So it is, without a verdict of the remaining gates.
    FastPromoted,
    /// A human stopped it.
    Aborted,
    /// It was taken back.
    RolledBack,
    /// Another spec came before its end.
    Superseded,
}

/// What a gate says.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GateStatus {
    /// Its name.
    pub name: String,
    /// Its verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Word<Verdict>>,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Decimal>,
    /// Its lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<Decimal>,
    /// Its upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<Decimal>,
    /// On how many samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<i64>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when it is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it was looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<Time>,
    /// Results in a row beyond the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<i64>,
    /// Looks in a row that had no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<i64>,
    /// Looks that were answered without data, since the last that had some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty: Option<i64>,
    /// The size of effects that it is tuned for, as it was at the first look that counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tau: Option<Decimal>,
}

/// The verdict of a gate. Only `Fail` rolls back.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// The data do not say.
    Inconclusive,
    /// There are no data.
    NoData,
    /// Its source does not answer.
    Error,
}

/// The model that was read last.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelStatus {
    /// Its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Bytes of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<i64>,
    /// Its architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Seconds that loading it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<Decimal>,
    /// The last failure of a pod that read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// How often a source was read anew on the command `retry`.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VerificationStatus {
    /// Names the source.
    pub source: String,
    /// How often: 0 is the first time. It is a part of the verify Job's name.
    pub attempt: u32,
}

/// The last failure of a pod that read a model.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastFailure {
    /// Which pod.
    pub pod: String,
    /// The reason, as in the condition `Stalled`.
    pub reason: String,
    /// How its container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What it said.
    pub message: String,
}

/// A command, acknowledged once.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastCommand {
    /// What was asked for.
    pub verb: String,
    /// Of which revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Which click it was.
    pub nonce: String,
    /// `Done` or `Refused`.
    pub result: String,
    /// Why.
    pub message: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// A rollout that has ended.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    /// Of which revision.
    pub revision: String,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Word<Outcome>>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
