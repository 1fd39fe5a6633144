//! `RewardModel`: the root of the resource. One file for each part of the spec, one for the status.
//!
//! Invariant: CEL rules sit on subtrees of the spec, so that a tightened rule never blocks a status
//! write; the name rule at the root cannot, because no status write changes a name.

pub mod gate;
pub mod model;
pub mod rollout;
pub mod server;
pub mod status;
pub mod traffic;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use gate::Gate;
pub use model::{Model, Source};
pub use rollout::{Rollout, Step, Strategy};
pub use server::Server;
pub use status::RewardModelStatus;
pub use traffic::Traffic;

/// What a user wants served: a model, on what, and how a change reaches its clients.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betterai.dev",
    version = "v1alpha1",
    kind = "RewardModel",
    plural = "rewardmodels",
    shortname = "rwm",
    category = "rewards",
    category = "all",
    namespaced,
    status = "RewardModelStatus",
    derive = "PartialEq",
    doc = "A reward model that is served, and how a new version of it reaches its clients.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40")
        .message("the name must begin with a letter, hold only a-z, 0-9 and -, and have at most 40 characters: Services are named after it"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.revision"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.revision"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.traffic[1].appliedWeight"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.rollout.step.progress"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.model.digest", priority = 1),
    printcolumn(name = "GPUs", type_ = "integer", json_path = ".status.stable.accelerators", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct RewardModelSpec {
    /// The model: where it is, what it must be, how its score is read.
    pub model: Model,
    /// The server that scores with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// How many pods score. Leave it out where an autoscaler owns the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// How requests reach the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// How a new revision takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Starts nothing new while true. Cut-off and rollback still act.
    #[serde(default)]
    pub suspend: bool,
}

impl RewardModel {
    /// The rollout settings with their defaults.
    pub fn rollout(&self) -> Rollout {
        self.spec.rollout.clone().unwrap_or_default()
    }

    /// The condition of that type, if the status has it.
    pub fn condition(&self, kind: crate::conditions::ConditionType) -> Option<&Condition> {
        let status = self.status.as_ref()?;
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind.as_str())
    }
}
