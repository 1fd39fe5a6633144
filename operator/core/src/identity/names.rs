//! Names of the objects that the operator makes. A model's name has at most 40 characters, so that
//! every name here fits the 63 of a label.

use super::RevisionHash;

/// The container that scores.
pub const SERVER: &str = "server";
/// The container that reads a model.
pub const VERIFY: &str = "verify";
/// The container that fetches a model before a server starts.
pub const FETCH: &str = "fetch";
/// The container that scores a golden set.
pub const GOLDEN: &str = "golden";
/// The router's container.
pub const ROUTER: &str = "router";
/// Those that are ours in a pod: what stands beside them was put there by others.
pub const CONTAINERS: [&str; 4] = [SERVER, VERIFY, GOLDEN, ROUTER];

/// The Deployment, headless Service, disruption budget and record of a revision.
pub fn revision(model: &str, hash: &RevisionHash) -> String {
    format!("{model}-{hash}")
}

/// The Service that clients call.
pub fn endpoint(model: &str) -> String {
    model.to_owned()
}

/// The router: its Deployment, disruption budget, account, rights and network policy.
pub fn router(model: &str) -> String {
    format!("{model}-router")
}

/// The network policy of the scoring pods of all revisions.
pub fn servers(model: &str) -> String {
    format!("{model}-servers")
}

/// The traffic table that the routers follow.
pub fn table(model: &str) -> String {
    format!("{model}-traffic")
}

/// What the routers have told of a rollout.
pub fn evidence(model: &str) -> String {
    format!("{model}-evidence")
}

/// The Job of a verification: `work` is a hash over all that it does, so that a mended image or
/// placement is another Job.
pub fn verify_job(model: &str, work: &str, attempt: u32) -> String {
    format!("{model}-verify-{work}-{attempt}")
}

/// The Job that scores a golden set; `work` is a hash over all that it does.
pub fn golden_job(model: &str, work: &str) -> String {
    format!("{model}-golden-{work}")
}
