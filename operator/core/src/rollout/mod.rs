//! What happens next: the one total function that moves a state, and what a command does to it.
//!
//! It must not know which objects a state takes. Invariants: a revision gets traffic only after pods
//! of it were ready; it is not removed before every router sends it nothing; nothing but a failure,
//! a gate's `Fail`, a cut-off, a deadline, another spec or a human takes a share back; only what the model or the server
//! did, or a human's word, makes a revision failed. `docs/rollouts.md` has the picture.

mod advance;
pub mod commands;
mod decide;
mod gating;
mod leave;
mod obey;
mod rest;
mod signals;
mod sizes;
mod waiting;

use crate::Failure;
use crate::identity::RevisionHash;

pub(crate) use advance::is_short;
pub use advance::{Transition, advance, is_rescue};
pub(crate) use decide::{Decision, decide, signals};
pub use gating::Watched;
pub(crate) use gating::{Gating, gating};
pub use signals::Signals;
pub(crate) use sizes::goal;
pub use sizes::{Sizes, sizes};

/// A rollout that has ended, or whose revision has become the stable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The revision serves.
    Promoted {
        /// Which.
        revision: RevisionHash,
        /// A human has skipped what was left of the steps.
        fast: bool,
    },
    /// The revision before serves again, because the other one was sent away.
    Returned {
        /// The one that serves.
        revision: RevisionHash,
        /// The one that was sent away.
        from: RevisionHash,
    },
    /// The spec asks for another one now.
    Superseded(RevisionHash),
    /// It failed.
    Failed(RevisionHash, Failure),
    /// A human ended it.
    Aborted(RevisionHash),
}

#[cfg(test)]
mod tests;
