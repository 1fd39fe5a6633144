//! Where a resource stands: what was decided last, as plain data.
//!
//! Owns the types and how a status stores them. It must not know how one state becomes another
//! ([`crate::rollout`]) or which objects it takes. Invariant: the state is stored explicitly, the
//! fleet apart from the rollout in flight, and is never inferred from which objects are there.

pub mod stored;

use k8s_openapi::jiff::Timestamp;

use crate::identity::{RevisionHash, Verification};

/// Everything that was decided for a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The revisions that are there apart from a rollout.
    pub fleet: Fleet,
    /// The rollout in flight.
    pub rollout: Option<Rollout>,
    /// The reading of a source that a `retry` has asked for.
    pub retried: Option<Verification>,
}

/// The revisions that are there apart from a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The one that clients rely on.
    pub stable: Option<RevisionHash>,
    /// The one before it, while it is there.
    pub previous: Option<RevisionHash>,
    /// Those that failed and are not tried again.
    pub failed: Vec<RevisionHash>,
}

/// A rollout in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The revision that it brings.
    pub revision: RevisionHash,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last came further; `None` while it waits for room, a quota or a human.
    pub progressed_at: Option<Timestamp>,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The new revision's pods start.
    Load,
    /// The new revision is the stable one; the Service has to follow.
    Switch,
    /// Clients are sent to the new revision alone; the node proxies follow.
    Settle {
        /// Since when.
        since: Timestamp,
    },
}

impl Stage {
    /// How many stages there are.
    pub const COUNT: i32 = 3;

    /// The word as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "Load",
            Self::Switch => "Switch",
            Self::Settle { .. } => "Settle",
        }
    }

    /// Its place, from 1.
    pub const fn index(self) -> i32 {
        match self {
            Self::Load => 1,
            Self::Switch => 2,
            Self::Settle { .. } => 3,
        }
    }
}

impl State {
    /// The revision that clients are to be sent to.
    pub const fn stable(&self) -> Option<&RevisionHash> {
        self.fleet.stable.as_ref()
    }

    /// The revision that is on its way.
    pub fn canary(&self) -> Option<&RevisionHash> {
        let rollout = self.rollout.as_ref()?;
        match rollout.stage {
            Stage::Load => Some(&rollout.revision),
            Stage::Switch | Stage::Settle { .. } => None,
        }
    }

    /// The revision that served before and is still there.
    pub const fn previous(&self) -> Option<&RevisionHash> {
        self.fleet.previous.as_ref()
    }

    /// Whether a revision has a part in it.
    pub fn has(&self, hash: &RevisionHash) -> bool {
        [self.stable(), self.canary(), self.previous()].contains(&Some(hash))
    }
}

/// What the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its source is being read; nothing is said against what is on its way.
    BeingRead,
    /// It cannot be had: the spec is wrong, or the model is bad.
    Unavailable,
    /// This revision.
    Revision {
        /// Its hash.
        hash: RevisionHash,
        /// It failed before and is not tried again.
        failed_before: bool,
    },
}

impl Target {
    /// The revision, if it is known.
    pub const fn revision(&self) -> Option<&RevisionHash> {
        match self {
            Self::Revision { hash, .. } => Some(hash),
            Self::BeingRead | Self::Unavailable => None,
        }
    }
}
