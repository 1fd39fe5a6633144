//! How a rollout goes back.
//!
//! Invariants: what failed gets nothing from this moment on, whatever the stable revision can take;
//! what was only replaced keeps its share until the stable one can carry it; neither is removed
//! before every router sends it nothing.

use k8s_openapi::jiff::Timestamp;

use super::advance::{Transition, is_rescue, with};
use super::sizes::back;
use super::{Ending, Signals};
use crate::Failure;
use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::state::{Rollout, Stage, State};

/// How traffic is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It harms.
    AtOnce,
    /// As the stable revision can carry it.
    Gently,
}

/// The rollout of `state` ends, as `ending` says.
pub(super) fn begin(state: &State, manner: Manner, ending: Ending) -> Transition {
    let mut next = state.clone();
    match &ending {
        Ending::Failed(revision, _) | Ending::Aborted(revision) => {
            next.fleet.brand(revision);
        }
        Ending::Promoted { .. } | Ending::Returned { .. } | Ending::Superseded(_) => {}
    }
    let unknown = next.rollout.as_ref().is_none_or(Rollout::gets_nothing);
    // Without a stable revision there is nobody to go back to, and nothing to wait for.
    if unknown || next.stable().is_none() {
        next.rollout = None;
        return Transition::ending(next, ending);
    }
    let next = with(&next, |rollout| {
        // The share that it may have in some router is the greater one from here on.
        rollout.applied = rollout.applied.max(rollout.weight);
        rollout.progressed_at = None;
        match manner {
            Manner::AtOnce => {
                rollout.stage = Stage::RollBack;
                rollout.weight = Percent::NONE;
            }
            Manner::Gently => rollout.stage = Stage::Retreat,
        }
    });
    Transition::ending(next, ending)
}

/// One step of a rollout that is on its way out.
pub(super) fn advance(
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    if rollout.gets_nothing() || state.stable().is_none() {
        let next = State {
            rollout: None,
            ..state.clone()
        };
        return Transition::to(next);
    }
    if rollout.stage == Stage::RollBack {
        return Transition::to(with(state, |rollout| rollout.weight = Percent::NONE));
    }
    if let Some(failure) = signals.harm() {
        return harmful(state, &rollout.revision, &failure);
    }
    if is_rescue(rollout, signals, now) {
        // Nobody else serves, and not for a moment only: what comes next begins from here.
        return Transition::to(with(state, |rollout| {
            rollout.applied = rollout.applied.min(rollout.weight);
            rollout.stage = Stage::Promote;
        }));
    }
    let weight = back(rollout, signals).map_or(rollout.weight, |shift| shift.weight.rest());
    Transition::to(with(state, |rollout| {
        rollout.weight = rollout.weight.min(weight);
    }))
}

/// It was leaving gently, and is found to harm.
fn harmful(state: &State, revision: &RevisionHash, failure: &Failure) -> Transition {
    let known = state.fleet.failed.contains(revision);
    let ending = Ending::Failed(revision.clone(), failure.clone());
    let begun = begin(state, Manner::AtOnce, ending);
    // What is known as failed is not told twice.
    if known {
        Transition::to(begun.next)
    } else {
        begun
    }
}
