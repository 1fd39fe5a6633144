//! One step of the machine, as a total function over plain data.
//!
//! Invariant: at a fixed time a second step changes nothing but what the first one has made
//! possible.

use std::time::Duration;

use crds::conditions::StalledReason;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Ending, SETTLE};
use crate::Failure;
use crate::identity::RevisionHash;
use crate::reading::health::Health;
use crate::state::{Rollout, Stage, State, Target};

/// What the state is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    /// What the spec asks for.
    pub target: Target,
    /// Nothing new may start, and nothing in flight go on.
    pub held: bool,
    /// How the canary is doing, if there is one.
    pub canary: Health,
    /// How the previous revision is doing, if there is one.
    pub previous: Health,
    /// There is a stable revision, it should serve, and not one of its pods is ready.
    pub stable_is_down: bool,
    /// Clients are sent to enough pods of the stable revision, and to no other.
    pub only_stable_serves: bool,
    /// How long a rollout may make no progress.
    pub patience: Duration,
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

/// One step of the machine.
pub fn advance(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    match &state.rollout {
        None => begin(state, signals, now),
        Some(rollout) => match rollout.stage {
            Stage::Load => load(state, rollout, signals, now),
            Stage::Switch => switch(state, rollout, signals, now),
            Stage::Settle { since } => settle(state, rollout, since, signals, now),
        },
    }
}

fn begin(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    match &signals.target {
        Target::Revision {
            hash,
            failed_before: false,
        } if !signals.held && state.stable() != Some(hash) => {
            Transition::to(loading(state, hash, now))
        }
        Target::BeingRead | Target::Unavailable | Target::Revision { .. } => {
            Transition::to(state.clone())
        }
    }
}

fn load(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let canary = &rollout.revision;
    let back = State {
        rollout: None,
        ..state.clone()
    };
    let wanted = match &signals.target {
        Target::Revision { hash, .. } if hash == canary => true,
        Target::BeingRead => false,
        Target::Revision { .. } | Target::Unavailable => {
            return Transition::ending(back, Ending::Superseded(canary.clone()));
        }
    };
    match &signals.canary {
        Health::Failed(failure) => fail(back, canary, failure.clone()),
        // Where nobody else serves, whoever can does, held or not.
        Health::Ready if wanted && (!signals.held || signals.stable_is_down) => {
            promote(state, rollout, now)
        }
        Health::Starting {
            message,
            progressed_at,
            ..
        } if wanted && !signals.held => wait(state, rollout, message, *progressed_at, signals, now),
        // The clock stands while nobody works.
        Health::Ready
        | Health::Starting { .. }
        | Health::Absent
        | Health::Unschedulable { .. }
        | Health::Refused { .. } => Transition::to(with(state, |rollout| {
            rollout.progressed_at = None;
        })),
    }
}

fn fail(mut back: State, canary: &RevisionHash, failure: Failure) -> Transition {
    back.fleet.failed.retain(|hash| hash != canary);
    back.fleet.failed.push(canary.clone());
    Transition::ending(back, Ending::Failed(canary.clone(), failure))
}

fn promote(state: &State, rollout: &Rollout, now: Timestamp) -> Transition {
    let revision = &rollout.revision;
    let mut next = with(state, |rollout| {
        rollout.stage = Stage::Switch;
        rollout.progressed_at = Some(now);
    });
    next.fleet.previous.clone_from(&state.fleet.stable);
    next.fleet.stable = Some(revision.clone());
    next.fleet.failed.retain(|hash| hash != revision);
    Transition::ending(next, Ending::Promoted(revision.clone()))
}

/// The canary's pods start: they have to come further within the deadline.
fn wait(
    state: &State,
    rollout: &Rollout,
    message: &str,
    progressed_at: Option<Timestamp>,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    let begun = rollout.progressed_at.unwrap_or(now);
    let since = progressed_at.map_or(begun, |at| at.min(now).max(begun));
    let left = signals.patience.saturating_sub(elapsed(since, now));
    if left.is_zero() {
        let back = State {
            rollout: None,
            ..state.clone()
        };
        let failure = Failure::new(
            StalledReason::DeadlineExceeded,
            format!("no progress within rollout.progressDeadline: {message}"),
        );
        return fail(back, &rollout.revision, failure);
    }
    Transition {
        next: with(state, |rollout| rollout.progressed_at = Some(since)),
        ending: None,
        wake_after: Some(left),
    }
}

fn switch(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    if let Some(other) = swap(state, rollout, signals).or_else(|| mend(state, signals, now)) {
        return other;
    }
    if !signals.only_stable_serves {
        return Transition::to(state.clone());
    }
    if state.previous().is_none() {
        return Transition::to(finished(state));
    }
    settle(state, rollout, now, signals, now)
}

fn settle(
    state: &State,
    rollout: &Rollout,
    since: Timestamp,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    if let Some(other) = swap(state, rollout, signals).or_else(|| mend(state, signals, now)) {
        return other;
    }
    if !signals.only_stable_serves {
        return Transition::to(with(state, |rollout| rollout.stage = Stage::Switch));
    }
    let settling = with(state, |rollout| rollout.stage = Stage::Settle { since });
    let left = SETTLE.saturating_sub(elapsed(since, now));
    if left.is_zero() && !signals.held {
        return Transition::to(finished(state));
    }
    Transition {
        next: settling,
        ending: None,
        wake_after: (!left.is_zero()).then_some(left),
    }
}

/// The spec went back while the old pods are still there: no need to start them again.
fn swap(state: &State, rollout: &Rollout, signals: &Signals) -> Option<Transition> {
    let previous = state.previous()?;
    let wanted = signals.target.revision() == Some(previous) && !signals.held;
    if !wanted || signals.previous != Health::Ready {
        return None;
    }
    let mut next = State {
        rollout: Some(Rollout {
            revision: previous.clone(),
            stage: Stage::Switch,
            ..rollout.clone()
        }),
        ..state.clone()
    };
    next.fleet.stable = Some(previous.clone());
    next.fleet.previous.clone_from(&state.fleet.stable);
    Some(Transition::ending(next, Ending::Promoted(previous.clone())))
}

/// The new revision broke before the old one was gone, and the spec asks for another: it must get in.
fn mend(state: &State, signals: &Signals, now: Timestamp) -> Option<Transition> {
    let Target::Revision {
        hash,
        failed_before: false,
    } = &signals.target
    else {
        return None;
    };
    let other = state.stable() != Some(hash) && signals.stable_is_down && !signals.held;
    other.then(|| Transition::to(loading(state, hash, now)))
}

fn loading(state: &State, revision: &RevisionHash, now: Timestamp) -> State {
    State {
        rollout: Some(Rollout {
            revision: revision.clone(),
            started_at: now,
            progressed_at: None,
            stage: Stage::Load,
        }),
        ..state.clone()
    }
}

fn finished(state: &State) -> State {
    let mut next = State {
        rollout: None,
        ..state.clone()
    };
    next.fleet.previous = None;
    next
}

fn with(state: &State, change: impl FnOnce(&mut Rollout)) -> State {
    let mut next = state.clone();
    if let Some(rollout) = &mut next.rollout {
        change(rollout);
    }
    next
}

/// Clocks may differ between two operators: a time in the future counts as now.
fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since)
        .max(SignedDuration::ZERO)
        .unsigned_abs()
}
