//! `ABExperiment`: the root of the resource. One file for each part of the spec, one for the status.
//!
//! Invariant: CEL rules sit on subtrees of the spec, so that a tightened rule never blocks a status
//! write. The name, and the freeze of an experiment that runs, are at the root: no status write changes a
//! name or a spec.

pub mod assignment;
pub mod decision;
pub mod metric;
pub mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use assignment::{Assignment, OnMissingKey, Override};
pub use decision::{
    Analysis, DecisionPolicy, GoalPolicy, Method, OnInconclusive, OnLoss, OnWin, Schedule,
};
pub use metric::{Amount, Clip, Direction, Kind, Metric, MetricSource, Role, Signal, Test};
pub use status::ABExperimentStatus;

/// Which of two or more models serves its users better, and what follows from it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "betterai.dev",
    version = "v1alpha1",
    kind = "ABExperiment",
    plural = "abexperiments",
    shortname = "abx",
    category = "rewards",
    category = "all",
    namespaced,
    status = "ABExperimentStatus",
    derive = "PartialEq",
    doc = "A comparison of reward models on live traffic, with a verdict that may be looked at every minute.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40")
        .message("the name must begin with a letter, hold only a-z, 0-9 and -, and have at most 40 characters: objects are named after it"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Running', 'Paused']) || self.spec.mode == oldSelf.spec.mode")
        .message("mode is frozen while the experiment runs: annotate it with betterai.dev/command: abort/<nonce> and make another experiment"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Running', 'Paused']) || self.spec.control == oldSelf.spec.control")
        .message("control is frozen while the experiment runs: annotate it with betterai.dev/command: abort/<nonce> and make another experiment"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Running', 'Paused']) || (has(self.spec.assignment) && has(self.spec.assignment.key) ? (has(oldSelf.spec.assignment) && has(oldSelf.spec.assignment.key) && self.spec.assignment.key == oldSelf.spec.assignment.key) : !(has(oldSelf.spec.assignment) && has(oldSelf.spec.assignment.key)))")
        .message("assignment.key is frozen while the experiment runs, because another key deals all users anew: annotate it with betterai.dev/command: abort/<nonce> and make another experiment"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Running', 'Paused']) || (has(self.spec.assignment) && has(self.spec.assignment.salt) ? (has(oldSelf.spec.assignment) && has(oldSelf.spec.assignment.salt) && self.spec.assignment.salt == oldSelf.spec.assignment.salt) : !(has(oldSelf.spec.assignment) && has(oldSelf.spec.assignment.salt)))")
        .message("assignment.salt is frozen while the experiment runs, because another salt deals all users anew: annotate it with betterai.dev/command: abort/<nonce> and make another experiment"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Running', 'Paused']) || self.spec.variants.all(v, !oldSelf.spec.variants.exists(o, o.name == v.name && (has(o.weight) ? o.weight : 1) != (has(v.weight) ? v.weight : 1)))")
        .message("weights are frozen while the experiment runs, because arm and time would be confounded: ramp with assignment.coveragePercent, or add a variant under another name"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Control", type_ = "string", json_path = ".spec.control"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader.variant"),
    printcolumn(name = "Effect", type_ = "string", json_path = ".status.leader.effect"),
    printcolumn(name = "CI", type_ = "string", json_path = ".status.leader.interval"),
    printcolumn(name = "Users", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "SRM", type_ = "string", json_path = ".status.sampleRatio.verdict"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpoint.name", priority = 1),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.decision.verdict", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[x_kube(
    validation = Rule::new("self.variants.filter(v, v.modelRef.name == self.endpoint.name).size() == 1")
        .message("exactly one variant must be the endpoint's own (variants[].modelRef.name == endpoint.name): it serves everybody who is not in the experiment"),
    validation = Rule::new("self.variants.exists(v, v.name == self.control && (v.modelRef.name == self.endpoint.name || !self.variants.exists(o, o.modelRef.name == self.endpoint.name)))")
        .message("control must name the variant whose modelRef is the endpoint itself, else starting the experiment would move users who are not in it: set control to that variant, or endpoint to control's RewardModel"),
    validation = Rule::new("self.metrics.exists(m, m.role == 'Goal')")
        .message("at least one metric needs role: Goal: without one nothing can be promoted"),
    validation = Rule::new("self.mode != 'Paired' || !self.metrics.exists(m, has(m.source.feedback))")
        .message("in mode Paired control answers every user, so that feedback says nothing of a variant: use source preferences or router, or mode: Split"),
    validation = Rule::new("!has(self.assignment) || !has(self.assignment.overrides) || self.assignment.overrides.all(o, self.variants.exists(v, v.name == o.variant))")
        .message("each of assignment.overrides must name one of variants[].name"),
    validation = Rule::new("!has(self.analysis) || !has(self.analysis.futility) || !self.analysis.futility || self.metrics.all(m, m.role != 'Goal' || has(m.minimumEffect))")
        .message("analysis.futility ends where no variant can be better by minimumEffect: give every Goal one, or leave futility out"),
)]
#[serde(rename_all = "camelCase")]
pub struct ABExperimentSpec {
    /// The RewardModel whose Service is split.
    pub endpoint: Endpoint,
    /// Split deals users to variants; Paired has every variant score, and control answer.
    #[serde(default)]
    pub mode: Mode,
    /// What is compared. Each is the stable revision of its RewardModel.
    #[schemars(length(min = 2, max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub variants: Vec<Variant>,
    /// The variant that the others are compared with: the endpoint's own.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub control: String,
    /// How users fall to variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// When it begins and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What is compared of them.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub metrics: Vec<Metric>,
    /// Whether all goals have to be met, or any.
    #[serde(default)]
    pub goal_policy: GoalPolicy,
    /// How it is analysed.
    #[serde(default)]
    pub analysis: Analysis,
    /// What follows from the verdict.
    #[serde(default)]
    pub decision: DecisionPolicy,
    /// Everybody is control's while true; nothing is counted.
    #[serde(default)]
    pub suspend: bool,
}

/// The RewardModel whose Service is split, in the same namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("endpoint cannot change: delete this experiment and make another for the other endpoint"),
)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

/// Who scores.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Each user is one variant's.
    #[default]
    Split,
    /// Every variant scores every request; control answers.
    Paired,
}

/// One of the models.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Its name in this experiment.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its RewardModel.
    pub model_ref: ModelRef,
    /// Its part of the users, beside the weights of the others; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub weight: Option<i32>,
}

/// A RewardModel of the same namespace.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRef {
    /// Its name.
    #[schemars(length(min = 1, max = 40))]
    pub name: String,
}

impl ABExperiment {
    /// The condition of that type, if the status has it.
    pub fn condition(
        &self,
        kind: crate::conditions::ExperimentConditionType,
    ) -> Option<&Condition> {
        let status = self.status.as_ref()?;
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
    }
}
