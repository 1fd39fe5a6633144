//! `spec.rollout`: how a new revision takes over. [`Rollout::default`] is what an empty object means
//! (a test compares the two).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use crate::value::{Decimal, Duration};

/// How a new revision takes over.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.strategy != 'Recreate' || !has(self.steps) || self.steps.size() == 0")
        .message("strategy Recreate stops the old revision first, so it takes no steps: remove steps, or use Canary"),
    validation = Rule::new("self.strategy != 'Recreate' || !has(self.requireApproval) || !self.requireApproval")
        .message("strategy Recreate has no moment at which the new revision is there and not in use, so it waits for no approval: remove requireApproval, or use Canary"),
    validation = Rule::new("!has(self.steps) || self.steps.all(s, !has(s.gate) || s.gate.names.all(n, has(self.gates) && self.gates.exists(g, g.name == n)))")
        .message("a gate step names a gate that rollout.gates does not have"),
    validation = Rule::new("!has(self.gates) || !self.gates.exists(g, has(g.golden)) || has(self.goldenSet)")
        .message("a golden gate needs rollout.goldenSet"),
    validation = Rule::new("!has(self.gates) || self.gates.all(g, has(g.golden) || (has(self.steps) && self.steps.exists(s, has(s.gate) && g.name in s.gate.names)))")
        .message("a gate that no step names would never be looked at: add a step gate: {names: [NAME]} for each of rollout.gates but those on the golden set"),
    validation = Rule::new("!has(self.gates) || !has(self.steps) || self.steps.all(s, !has(s.gate) || self.steps.exists(w, has(w.setWeight) && self.steps.indexOf(w) < self.steps.indexOf(s)) || s.gate.names.all(n, !self.gates.exists(g, g.name == n && has(g.router))))")
        .message("a router gate looks at requests of users, and the new revision has none yet: put a setWeight before the gate step that names it"),
    validation = Rule::new("!has(self.gates) || !self.gates.exists(g, has(g.router) && has(g.router.compareToStable)) || !has(self.steps) || self.steps.exists(w, has(w.setWeight) && w.setWeight < 100)")
        .message("a router gate with compareToStable needs both revisions to serve at once: put a setWeight below 100 before the gate step that names it"),
    validation = Rule::new("!has(self.gates) || !has(self.steps) || self.steps.all(s, !has(s.gate) || self.steps.exists(w, has(w.shadow) && self.steps.indexOf(w) < self.steps.indexOf(s)) || s.gate.names.all(n, !self.gates.exists(g, g.name == n && has(g.paired))))")
        .message("a paired gate compares scores of shadowed requests: put a shadow step before the gate step that names it, with no setWeight in between"),
)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Canary starts the new revision beside the old one; Recreate stops the old one first.
    #[serde(default)]
    pub strategy: Strategy,
    /// What happens between Ready and promotion; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new("self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()")
            .message("weights must rise from step to step"),
        validation = Rule::new("self.all(s, !has(s.setWeight) || self.exists_one(other, has(other.setWeight) && other.setWeight == s.setWeight))")
            .message("weights must rise from step to step: two steps set the same one"),
    )]
    pub steps: Option<Vec<Step>>,
    /// What the new revision must show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub gates: Option<Vec<Gate>>,
    /// Labelled pairs that a revision is scored on before it takes traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden_set: Option<GoldenSet>,
    /// When the routers cut a harmful canary off.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("!has(self.errorRate) || (double(self.errorRate) > 0.0 && double(self.errorRate) <= 1.0)")
            .message("cutOff.errorRate is a share of requests: write a number above 0 and at most 1, such as \"0.5\""),
        validation = Rule::new("!has(self.slowFactor) || double(self.slowFactor) >= 1.0")
            .message("cutOff.slowFactor is how many times slower than the stable revision is slow: write 1 or more, such as \"3\""),
    )]
    pub cut_off: CutOff,
    /// Answers by the stable revision what the canary does not answer.
    #[serde(default)]
    pub fallback: Fallback,
    /// How many pods a rollout may borrow.
    #[serde(default)]
    pub capacity: Capacity,
    /// How long the previous revision is kept warm.
    #[serde(default)]
    pub rollback_window: RollbackWindow,
    /// The longest that work in flight may make no progress.
    #[serde(default = "fifteen_minutes")]
    pub progress_deadline: Duration,
    /// Waits for the command `approve` before promotion.
    #[serde(default)]
    pub require_approval: bool,
    /// How many superseded revisions are kept.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            steps: None,
            gates: None,
            golden_set: None,
            cut_off: CutOff::default(),
            fallback: Fallback::default(),
            capacity: Capacity::default(),
            rollback_window: RollbackWindow::default(),
            progress_deadline: fifteen_minutes(),
            require_approval: false,
            revision_history_limit: ten(),
        }
    }
}

/// How a new revision meets the old one.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Beside it.
    #[default]
    Canary,
    /// After it.
    Recreate,
}

/// One step: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.shadow), has(self.setWeight), has(self.pause), has(self.gate)].filter(x, x).size() == 1")
        .message("a step has exactly one kind: shadow, setWeight, pause or gate"),
    validation = Rule::new("(!has(self.gate) || !has(self.gate.maxDuration) || duration(self.gate.maxDuration) > duration('0s')) && (!has(self.shadow) || !has(self.shadow.maxDuration) || duration(self.shadow.maxDuration) > duration('0s'))")
        .message("maxDuration is 0, in which nothing could ever finish: write how long the step may take, such as 30m"),
)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Sends a copy of live requests to the new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowStep>,
    /// Moves this percentage of the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub set_weight: Option<i32>,
    /// Waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStep>,
    /// Waits for gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStep>,
}

/// Sends a copy of live requests to the new revision.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowStep {
    /// Of the requests; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<i32>,
    /// Ends after so many pairs of scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_pairs: Option<i64>,
    /// Ends without enough data after this time, which is inconclusive and pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}

/// Waits.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseStep {
    /// For this time; until the command `resume` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
}

/// Waits for gates.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStep {
    /// Their names.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    pub names: Vec<String>,
    /// Ends without a verdict after this time, which is inconclusive and pauses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
}

/// Labelled pairs, one JSON object a line: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.configMapRef) != has(self.claim)")
        .message("name exactly one of configMapRef and claim"),
)]
#[serde(rename_all = "camelCase")]
pub struct GoldenSet {
    /// In a ConfigMap of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKey>,
    /// In a claim of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimPath>,
}

/// One key of a ConfigMap.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A file of a claim.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!self.path.startsWith('/') && !self.path.split('/').exists(part, part == '..')")
        .message("path must stay inside the volume: write it relative to the volume's root and without '..'")
        .field_path(".path"),
)]
#[serde(rename_all = "camelCase")]
pub struct ClaimPath {
    /// The PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// The file, relative to the volume's root.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// When the routers cut a harmful canary off.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CutOff {
    /// The time that is looked at.
    pub window: Duration,
    /// Requests below which nothing is decided.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: i32,
    /// The share of errors that is too much.
    pub error_rate: Decimal,
    /// The number of non-finite scores that is too much.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub non_finite: i32,
    /// Whether one and the same score for everything is too much.
    pub constant_scores: bool,
    /// How many times slower than the stable revision's p99 is slow.
    pub slow_factor: Decimal,
}

impl Default for CutOff {
    fn default() -> Self {
        Self {
            window: "5s".into(),
            min_requests: 5,
            error_rate: "0.5".into(),
            non_finite: 1,
            constant_scores: true,
            slow_factor: "3".into(),
        }
    }
}

/// Answers by the stable revision what the canary does not answer.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fallback {
    /// Whether it is done.
    pub enabled: bool,
    /// How long the canary is waited for.
    pub hedge_after: Duration,
    /// The most of all requests, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub budget_percent: i32,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            enabled: true,
            hedge_after: "500ms".into(),
            budget_percent: 20,
        }
    }
}

/// How many pods a rollout may borrow.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Pods above `replicas`, a number or a percentage.
    pub max_surge: IntOrString,
    /// Pods that always serve, a number or a percentage (rounded up).
    pub min_available: IntOrString,
    /// What is done when no node has room.
    pub on_unschedulable: OnUnschedulable,
    /// After how long.
    pub unschedulable_after: Duration,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max_surge: IntOrString::Int(1),
            min_available: IntOrString::String("50%".to_owned()),
            on_unschedulable: OnUnschedulable::default(),
            unschedulable_after: "5m".into(),
        }
    }
}

/// What is done when no node has room.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnschedulable {
    /// Wait.
    #[default]
    Wait,
    /// Take a pod's place from the stable revision.
    Borrow,
    /// Give the rollout up.
    Abort,
}

/// How long the previous revision is kept warm.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackWindow {
    /// For this time.
    pub duration: Duration,
    /// With so many pods, a number or a percentage of `replicas`.
    pub warm_replicas: IntOrString,
}

impl Default for RollbackWindow {
    fn default() -> Self {
        Self {
            duration: "30m".into(),
            warm_replicas: IntOrString::String("25%".to_owned()),
        }
    }
}

fn fifteen_minutes() -> Duration {
    "15m".into()
}

const fn ten() -> i32 {
    10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_means_the_defaults() {
        let empty: Rollout = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, Rollout::default());
    }
}
