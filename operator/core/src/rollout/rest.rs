//! What begins where no rollout is in flight: the next one, or the way back.
//!
//! Invariant: a revision that failed is not begun by itself, and what a gate finds within the window
//! goes back before anything else begins.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::advance::{Transition, elapsed};
use super::{Ending, Signals};
use crate::identity::RevisionHash;
use crate::state::{Rollout, Stage, State, Target};

pub(super) fn at_rest(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    if let Some(back) = failed_since(state, signals, now) {
        return back;
    }
    if let Some(next) = begin(state, signals, now) {
        return Transition::to(next);
    }
    match &state.fleet.previous {
        Some(previous) if previous.warm_until <= now || signals.limits.warm_pods() == 0 => {
            let mut next = state.clone();
            next.fleet.previous = None;
            Transition::to(next)
        }
        Some(previous) => Transition::waking(
            state.clone(),
            elapsed(now, previous.warm_until).max(Duration::from_secs(1)),
        ),
        None => Transition::to(state.clone()),
    }
}

/// A gate that fails within the window after promotion: back to the revision that is still warm.
fn failed_since(state: &State, signals: &Signals, now: Timestamp) -> Option<Transition> {
    let failure = signals.failed_since()?;
    let previous = state.fleet.previous.as_ref()?;
    let stable = state.stable()?;
    if previous.warm_until <= now {
        return None;
    }
    let next = sent_back(state, &previous.revision, signals, now);
    Some(Transition::ending(
        next,
        Ending::Failed(stable.clone(), failure),
    ))
}

/// What serves is sent away, and the revision before it is on its way back.
pub(super) fn sent_back(
    state: &State,
    previous: &RevisionHash,
    signals: &Signals,
    now: Timestamp,
) -> State {
    let mut next = started(state, previous, Stage::Promote, signals, now);
    next.fleet.failed.retain(|hash| hash != previous);
    if let Some(stable) = state.stable() {
        next.fleet.brand(stable);
    }
    next
}

/// The state in which what the spec asks for is on its way.
fn begin(state: &State, signals: &Signals, now: Timestamp) -> Option<State> {
    let Target::Revision {
        hash,
        failed_before: false,
    } = &signals.target
    else {
        return None;
    };
    let beside = state.stable().is_some() && !signals.recreates;
    let may =
        !signals.held && state.stable() != Some(hash) && (!beside || signals.limits.lets_one_in());
    if !may {
        return None;
    }
    // A spec that goes back to what is warm still takes no steps: that one has proven itself.
    let first = if state.previous() == Some(hash) {
        Stage::Promote
    } else if signals.waits_its_turn {
        return None;
    } else {
        Stage::Load
    };
    Some(started(state, hash, first, signals, now))
}

/// A rollout of `revision` begins; what was kept warm makes room for it.
pub(super) fn started(
    state: &State,
    revision: &RevisionHash,
    first: Stage,
    signals: &Signals,
    now: Timestamp,
) -> State {
    let mut next = state.clone();
    next.fleet.previous = None;
    next.gates.clear();
    let steps = signals.steps.clone();
    next.rollout = Some(Rollout::new(revision.clone(), first, steps, now));
    next
}
