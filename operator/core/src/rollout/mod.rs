//! Who serves: the state machine of a rollout.
//!
//! Owns the one total function [`advance`]. It must not know how a state is stored or which objects
//! it takes. Invariant: a revision serves only after all its pods were ready, and the revision
//! before it is not removed before no client is sent to it any more.
//!
//! Steps, gates and the router enter between [`State::Preparing`] and [`State::Promoting`].

pub mod stored;

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::Failure;
use crate::identity::RevisionHash;
use crate::observed::health::Health;

/// How long the Service has to lead to the new pods alone before the old ones are removed. The
/// node proxies follow the slices within this time.
pub const SETTLE: Duration = Duration::from_secs(5);

/// Where the resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing serves.
    Empty,
    /// One revision serves.
    Steady {
        /// It.
        stable: RevisionHash,
    },
    /// A new revision starts.
    Preparing {
        /// The one that serves meanwhile.
        stable: Option<RevisionHash>,
        /// The new one.
        canary: RevisionHash,
    },
    /// The Service leads to the new revision; the old one is still there.
    Promoting {
        /// The new one.
        stable: RevisionHash,
        /// The old one.
        previous: RevisionHash,
        /// Since when clients are sent to the new one alone.
        settled_since: Option<Timestamp>,
    },
}

impl State {
    /// The revision that clients are to be sent to.
    pub const fn stable(&self) -> Option<&RevisionHash> {
        match self {
            Self::Empty => None,
            Self::Preparing { stable, .. } => stable.as_ref(),
            Self::Steady { stable } | Self::Promoting { stable, .. } => Some(stable),
        }
    }

    /// The revision that is on its way.
    pub const fn canary(&self) -> Option<&RevisionHash> {
        match self {
            Self::Preparing { canary, .. } => Some(canary),
            Self::Empty | Self::Steady { .. } | Self::Promoting { .. } => None,
        }
    }

    /// The revision that served before and is still there.
    pub const fn previous(&self) -> Option<&RevisionHash> {
        match self {
            Self::Promoting { previous, .. } => Some(previous),
            Self::Empty | Self::Steady { .. } | Self::Preparing { .. } => None,
        }
    }

    fn serving(stable: Option<RevisionHash>) -> Self {
        stable.map_or(Self::Empty, |stable| Self::Steady { stable })
    }
}

/// What the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Not known yet, or not to be had: the model is still being read, or is bad.
    Unknown,
    /// This revision.
    Revision {
        /// Its hash.
        hash: RevisionHash,
        /// It failed before and is not tried again.
        failed_before: bool,
    },
}

/// What the state is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    /// What the spec asks for.
    pub target: Target,
    /// Nothing new may start.
    pub suspended: bool,
    /// How the canary is doing, if there is one.
    pub canary: Health,
    /// How the previous revision is doing, if there is one.
    pub previous: Health,
    /// Clients are sent to the stable revision alone.
    pub only_stable_serves: bool,
}

/// A rollout that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The revision serves.
    Promoted(RevisionHash),
    /// The spec asks for another one now.
    Superseded(RevisionHash),
    /// It failed.
    Failed(RevisionHash, Failure),
}

/// The next state, and what happened on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state.
    pub next: State,
    /// The rollout that ended.
    pub ending: Option<Ending>,
    /// When to look again although nothing changes.
    pub wake_after: Option<Duration>,
}

impl Transition {
    const fn to(next: State) -> Self {
        Self {
            next,
            ending: None,
            wake_after: None,
        }
    }

    const fn ending(next: State, ending: Ending) -> Self {
        Self {
            next,
            ending: Some(ending),
            wake_after: None,
        }
    }
}

/// One step of the machine. At a fixed `now` a second step changes nothing but what the first one
/// has made possible.
pub fn advance(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    match state {
        State::Empty => begin(None, signals),
        State::Steady { stable } => begin(Some(stable), signals),
        State::Preparing { stable, canary } => prepare(stable.as_ref(), canary, signals),
        State::Promoting {
            stable,
            previous,
            settled_since,
        } => promote(stable, previous, *settled_since, signals, now),
    }
}

fn begin(stable: Option<&RevisionHash>, signals: &Signals) -> Transition {
    let unchanged = State::serving(stable.cloned());
    match &signals.target {
        Target::Revision {
            hash,
            failed_before: false,
        } if !signals.suspended && stable != Some(hash) => Transition::to(State::Preparing {
            stable: stable.cloned(),
            canary: hash.clone(),
        }),
        Target::Unknown | Target::Revision { .. } => Transition::to(unchanged),
    }
}

fn prepare(stable: Option<&RevisionHash>, canary: &RevisionHash, signals: &Signals) -> Transition {
    let back = State::serving(stable.cloned());
    let wanted = match &signals.target {
        Target::Revision { hash, .. } => hash == canary,
        Target::Unknown => false,
    };
    if !wanted {
        return Transition::ending(back, Ending::Superseded(canary.clone()));
    }
    match &signals.canary {
        Health::Ready => Transition::ending(
            match stable {
                Some(previous) => State::Promoting {
                    stable: canary.clone(),
                    previous: previous.clone(),
                    settled_since: None,
                },
                None => State::Steady {
                    stable: canary.clone(),
                },
            },
            Ending::Promoted(canary.clone()),
        ),
        Health::Failed(failure) => {
            Transition::ending(back, Ending::Failed(canary.clone(), failure.clone()))
        }
        Health::Absent
        | Health::Starting { .. }
        | Health::Unschedulable { .. }
        | Health::Refused { .. } => Transition::to(State::Preparing {
            stable: stable.cloned(),
            canary: canary.clone(),
        }),
    }
}

fn promote(
    stable: &RevisionHash,
    previous: &RevisionHash,
    settled_since: Option<Timestamp>,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    if wants(&signals.target, previous) && signals.previous == Health::Ready {
        // The spec went back while the old pods are still there: no need to start them again.
        return Transition::ending(
            State::Promoting {
                stable: previous.clone(),
                previous: stable.clone(),
                settled_since: None,
            },
            Ending::Promoted(previous.clone()),
        );
    }
    let holding = |settled_since| State::Promoting {
        stable: stable.clone(),
        previous: previous.clone(),
        settled_since,
    };
    if !signals.only_stable_serves {
        return Transition::to(holding(None));
    }
    let since = settled_since.unwrap_or(now);
    // Clocks may differ between two operators: a time in the future counts as now.
    let passed = now
        .duration_since(since)
        .max(SignedDuration::ZERO)
        .unsigned_abs();
    match SETTLE.checked_sub(passed) {
        Some(left) if !left.is_zero() => Transition {
            next: holding(Some(since)),
            ending: None,
            wake_after: Some(left),
        },
        Some(_) | None => Transition::to(State::Steady {
            stable: stable.clone(),
        }),
    }
}

fn wants(target: &Target, revision: &RevisionHash) -> bool {
    match target {
        Target::Revision { hash, .. } => hash == revision,
        Target::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
