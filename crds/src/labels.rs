//! Labels, annotations and field managers on the objects that the operator makes.
//!
//! Owns the names only. Invariant: a name that is here is a contract; selectors of running
//! Deployments are built from these and can never change.

/// On every child: the name of the `RewardModel` that it belongs to.
pub const MODEL: &str = "betterai.dev/model";
/// On every child of one revision: its hash.
pub const REVISION: &str = "betterai.dev/revision";
/// On every child: which part of the system it is (see [`component`]).
pub const COMPONENT: &str = "betterai.dev/component";

/// Values of [`COMPONENT`].
pub mod component {
    /// Pods that score.
    pub const SERVER: &str = "server";
    /// The Service that clients call.
    pub const ENDPOINT: &str = "endpoint";
    /// The Job that checks a model before anything is made for it.
    pub const VERIFY: &str = "verify";
    /// What stands before the revisions.
    pub const ROUTER: &str = "router";
    /// The record of a revision.
    pub const REVISION: &str = "revision";
}

/// On a `RewardModel`: `<verb>[/<revision>]/<nonce>`, acknowledged once in `status.lastCommand`.
pub const COMMAND: &str = "betterai.dev/command";
/// On a `ControllerRevision`: its part in the rollout, so that a lost status can be rebuilt.
pub const ROLE: &str = "betterai.dev/role";
/// On a `ControllerRevision`: its place among the revisions of its `RewardModel`.
pub const NUMBER: &str = "betterai.dev/number";
/// On a `ControllerRevision`: how its rollout ended.
pub const OUTCOME: &str = "betterai.dev/outcome";
/// On a `ControllerRevision` and a verify Job: `<hash of the source>.<attempt>`, so that the same
/// source is not read twice.
pub const VERIFIED: &str = "betterai.dev/verified";
/// On a `ControllerRevision`: the digest that its source resolved to.
pub const DIGEST: &str = "betterai.dev/digest";

/// The standard label that names the tool which manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on all our objects.
pub const OPERATOR: &str = "betterai-operator";
/// Field manager of the `RewardModel` controller.
pub const REWARD_MODEL_MANAGER: &str = "betterai.dev/rewardmodel";
