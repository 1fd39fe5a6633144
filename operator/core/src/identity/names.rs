//! Names of the objects that the operator makes. A model's name has at most 40 characters, so that
//! every name here fits the 63 of a label.

use super::RevisionHash;

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

/// The traffic table that the routers follow.
pub fn table(model: &str) -> String {
    format!("{model}-traffic")
}

/// The Job of a verification: `work` is a hash over all that it does, so that a mended image or
/// placement is another Job.
pub fn verify_job(model: &str, work: &str, attempt: u32) -> String {
    format!("{model}-verify-{work}-{attempt}")
}
