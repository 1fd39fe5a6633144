//! What happens next: the one total function that moves a state, and what a command does to it.
//!
//! It must not know which objects a state takes. Invariants: a revision serves only after all its
//! pods were ready, and the revision before it is not removed before no client is sent to it any
//! more; only what the model or the server did makes a revision failed.
//!
//! Steps, gates and the router enter between the stages Load and Switch.

mod advance;
pub mod commands;
mod decide;

use std::time::Duration;

use crate::Failure;
use crate::identity::RevisionHash;

pub use advance::{Signals, Transition, advance};
pub(crate) use decide::{Decision, decide};

/// How long the Service has to lead to the new pods alone before the old ones are removed. The
/// node proxies follow the slices within this time.
pub const SETTLE: Duration = Duration::from_secs(5);

/// A rollout that has ended, or whose revision has become the stable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The revision serves.
    Promoted(RevisionHash),
    /// The spec asks for another one now.
    Superseded(RevisionHash),
    /// It failed.
    Failed(RevisionHash, Failure),
    /// A human ended it.
    Aborted(RevisionHash),
}

#[cfg(test)]
mod tests;
