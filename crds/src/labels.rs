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
    /// The Job that scores the golden set.
    pub const GOLDEN: &str = "golden";
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

/// On a `ControllerRevision`: what it scores on golden sets, so that no set is scored twice. On the Job that
/// finds it out: `<revision>/<stable revision, or ->/<digest of the set, or for a claim the rollout>`.
pub const GOLDEN: &str = "betterai.dev/golden";

/// On a `ControllerRevision`: how its scores become confidences, as JSON. It changes no revision, so what the
/// spec said last while it asked for this one is kept here.
pub const CALIBRATION: &str = "betterai.dev/calibration";

/// On the ConfigMap of the routers' evidence: how far the rollout was when it was written, apart from counts.
pub const KEPT: &str = "betterai.dev/kept";

/// On an `HTTPRoute`: a hash of what was asked for, so that what is asked for no more goes from it too.
pub const ASKED: &str = "betterai.dev/asked";

/// On what keeps an experiment's evidence: the experiment's name.
pub const EXPERIMENT: &str = "betterai.dev/experiment";
/// On a `ControllerRevision` that an experiment has promoted ahead of the spec: the `spec.model` that it is made
/// of, as JSON.
pub const PROMOTED: &str = "betterai.dev/promoted";
/// On a `RewardModel`: `<revision>@<spec revision>`, what an experiment has promoted ahead of the spec.
pub const OVERRIDE: &str = "betterai.dev/override";

/// The standard label that names the tool which manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on all our objects.
pub const OPERATOR: &str = "betterai-operator";
/// Field manager of the `RewardModel` controller.
pub const REWARD_MODEL_MANAGER: &str = "betterai.dev/rewardmodel";
/// Field manager of the `ABExperiment` controller.
pub const AB_EXPERIMENT_MANAGER: &str = "betterai.dev/abexperiment";
