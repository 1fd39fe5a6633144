//! Where a resource stands: what was decided last, as plain data.
//!
//! Owns the types and how a status stores them. It must not know how one state becomes another
//! ([`crate::rollout`]) or which objects it takes. Invariant: the state is stored explicitly, the
//! fleet apart from the rollout in flight, and is never inferred from which objects are there.

pub mod stored;
mod tracks;

use k8s_openapi::jiff::Timestamp;

use crate::capacity::Percent;
use crate::gates::Track;
use crate::identity::{RevisionHash, Verification};

pub use crate::spec::Step;

/// Everything that was decided for a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The revisions that are there apart from a rollout.
    pub fleet: Fleet,
    /// The rollout in flight.
    pub rollout: Option<Rollout>,
    /// The reading of a source that a `retry` has asked for.
    pub retried: Option<Verification>,
    /// The gates of the rollout in flight, or of the last one.
    pub gates: Vec<Track>,
}

/// The revisions that are there apart from a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The one that clients rely on.
    pub stable: Option<RevisionHash>,
    /// The one before it, while it is there.
    pub previous: Option<Previous>,
    /// Those that failed and are not tried again.
    pub failed: Vec<RevisionHash>,
}

impl Fleet {
    /// A revision failed, and is not tried again.
    pub fn brand(&mut self, revision: &RevisionHash) {
        self.failed.retain(|hash| hash != revision);
        self.failed.push(revision.clone());
    }
}

/// A revision that served before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Which.
    pub revision: RevisionHash,
    /// Until when it is kept, so that going back is immediate.
    pub warm_until: Timestamp,
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
    /// The share of the traffic that the routers were told to send it.
    pub weight: Percent,
    /// The share that all of them were seen to send it last.
    pub applied: Percent,
    /// Where it stands.
    pub stage: Stage,
    /// Its steps, as the spec had them when it began.
    pub steps: Vec<Step>,
    /// A human has asked it to stay where it is.
    pub paused: bool,
    /// A human has asked it to skip what is left.
    pub fast: bool,
    /// No node had room for what it may have beyond the replicas: it takes their places instead.
    pub borrows: bool,
    /// Since when no pod of the stable revision serves, while pods of this one do.
    pub stable_lost_at: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The new revision's pods start; it gets nothing.
    Load,
    /// A step of its list.
    Step {
        /// Which, from 0.
        index: usize,
        /// Since when.
        since: Timestamp,
    },
    /// All steps are done; a human has to agree.
    Approval,
    /// All traffic goes to it, as its pods become ready.
    Promote,
    /// Another revision is wanted: it keeps its share until the stable one can carry it.
    Retreat,
    /// It failed: it gets nothing from now on, and leaves as soon as every router knows.
    RollBack,
}

impl Stage {
    /// Whether it is on its way out.
    pub const fn is_leaving(self) -> bool {
        match self {
            Self::Retreat | Self::RollBack => true,
            Self::Load | Self::Step { .. } | Self::Approval | Self::Promote => false,
        }
    }

    /// Whether the routers may know of it.
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Load)
    }
}

impl Rollout {
    /// One that begins.
    pub fn new(revision: RevisionHash, stage: Stage, steps: Vec<Step>, now: Timestamp) -> Self {
        Self {
            revision,
            steps,
            started_at: now,
            progressed_at: None,
            weight: Percent::NONE,
            applied: Percent::NONE,
            stage,
            paused: false,
            fast: false,
            borrows: false,
            stable_lost_at: None,
        }
    }

    /// One that is taken back; what share it may have in some router is not known.
    pub fn taken_back(revision: RevisionHash, started_at: Timestamp) -> Self {
        Self {
            applied: Percent::ALL,
            ..Self::new(revision, Stage::RollBack, Vec::new(), started_at)
        }
    }

    /// What names it: a revision may be rolled out more than once.
    pub fn id(&self) -> String {
        format!("{}-{}", self.revision, self.started_at.as_second())
    }

    /// The step that it is at.
    pub fn step(&self) -> Option<&Step> {
        match self.stage {
            Stage::Step { index, .. } => self.steps.get(index),
            Stage::Load | Stage::Approval | Stage::Promote | Stage::Retreat | Stage::RollBack => {
                None
            }
        }
    }

    /// Whether no router sends it anything.
    pub fn gets_nothing(&self) -> bool {
        self.weight == Percent::NONE && self.applied == Percent::NONE
    }
}

impl State {
    /// The revision that clients rely on.
    pub const fn stable(&self) -> Option<&RevisionHash> {
        self.fleet.stable.as_ref()
    }

    /// The revision that is on its way.
    pub fn canary(&self) -> Option<&RevisionHash> {
        Some(&self.rollout.as_ref()?.revision)
    }

    /// The revision that served before and is still there.
    pub fn previous(&self) -> Option<&RevisionHash> {
        Some(&self.fleet.previous.as_ref()?.revision)
    }

    /// The revisions that take traffic.
    pub fn serving(&self) -> Vec<&RevisionHash> {
        let beside = self.rollout.as_ref().filter(|rollout| {
            let alone = self.stable().is_none() && rollout.stage.is_public();
            alone || !rollout.gets_nothing()
        });
        let beside = beside.map(|rollout| &rollout.revision);
        self.stable().into_iter().chain(beside).collect()
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
