//! How many pods each revision is to have, and the share that may follow: what a state takes.
//!
//! Invariant: sizes depend on nothing but the state and the signals, so that whoever renders objects
//! and whoever decides weights agree.

use super::Signals;
use crate::capacity::{self, Limits, Move, Percent, Shift};
use crate::spec::Step;
use crate::state::{Rollout, Stage, State};

/// Pods of each revision; `None` where it has no part in the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Of the revision that clients rely on.
    pub stable: Option<i32>,
    /// Of the one on its way.
    pub canary: Option<i32>,
    /// Of the one before.
    pub previous: Option<i32>,
}

/// The sizes that `state` takes.
pub fn sizes(state: &State, signals: &Signals) -> Sizes {
    let all = signals.limits.replicas;
    let previous = state.previous().map(|_| signals.limits.warm_pods());
    let Some(rollout) = &state.rollout else {
        return Sizes {
            stable: state.stable().map(|_| all),
            canary: None,
            previous,
        };
    };
    let (stable, canary) = match (state.stable(), rollout.stage) {
        (None, _) => (None, all),
        (Some(_), Stage::RollBack) => (Some(all), signals.canary.pods.wanted),
        (Some(_), Stage::Retreat) => match back(rollout, signals) {
            Some(shift) => (Some(shift.incoming), shift.outgoing),
            None => (Some(all), signals.canary.pods.wanted),
        },
        (Some(_), Stage::Load | Stage::Promote) if signals.recreates => recreated(rollout, signals),
        (Some(_), Stage::Load | Stage::Step { .. } | Stage::Approval | Stage::Promote) => {
            match forth(rollout, signals) {
                Some(shift) => (Some(shift.outgoing), shift.incoming),
                None => (Some(all), signals.canary.pods.wanted),
            }
        }
    };
    Sizes {
        stable,
        canary: Some(canary),
        previous,
    }
}

/// The new revision's Deployment is made without pods first: what the API server refuses is found
/// out while the old pods still serve.
const fn recreated(rollout: &Rollout, signals: &Signals) -> (Option<i32>, i32) {
    let all = signals.limits.replicas;
    let waits = signals.stable.holds_room;
    // What is held stops no pod that serves; what has stopped them goes on, or nobody would serve.
    let held = (rollout.paused || signals.held) && signals.stable.pods.wanted > 0;
    if !signals.canary_is_made || held {
        return (Some(all), if waits { 0 } else { all });
    }
    (Some(0), if waits { 0 } else { all })
}

/// How many pods there may be while `rollout` is in flight.
pub(super) const fn limits(rollout: &Rollout, signals: &Signals) -> Limits {
    let mut limits = signals.limits;
    if rollout.borrows {
        limits.surge = 0;
    }
    limits
}

/// The next step towards the canary.
pub(super) fn forth(rollout: &Rollout, signals: &Signals) -> Option<Shift> {
    let moving = Move {
        incoming: signals.canary.pods,
        outgoing: signals.stable.pods,
        goal: goal(rollout).max(rollout.weight),
        commanded: rollout.weight,
        applied: rollout.applied,
        leaves: rollout.stage == Stage::Promote,
    };
    capacity::shift(&limits(rollout, signals), &moving)
}

/// The next step back to the stable revision, in shares of that one.
pub(super) fn back(rollout: &Rollout, signals: &Signals) -> Option<Shift> {
    let moving = Move {
        incoming: signals.stable.pods,
        outgoing: signals.canary.pods,
        goal: Percent::ALL,
        commanded: rollout.weight.rest(),
        applied: rollout.applied.rest(),
        leaves: true,
    };
    capacity::shift(&limits(rollout, signals), &moving)
}

/// The share that the canary is to have in this stage; while it loads, the one that its pods are for.
pub(crate) fn goal(rollout: &Rollout) -> Percent {
    match rollout.stage {
        Stage::Load => first_weight(&rollout.steps),
        Stage::Step { .. } => match rollout.step() {
            Some(Step::SetWeight(weight)) => *weight,
            Some(Step::Pause(_) | Step::Shadow { .. } | Step::Gate { .. }) | None => rollout.weight,
        },
        Stage::Approval => rollout.weight,
        Stage::Promote => Percent::ALL,
        Stage::Retreat | Stage::RollBack => Percent::NONE,
    }
}

/// While requests are only shadowed one pod is enough, and takes nobody's place for longer.
fn first_weight(steps: &[Step]) -> Percent {
    if let Some(Step::Shadow { .. } | Step::Gate { .. }) = steps.first() {
        return Percent::NONE;
    }
    let mut weights = steps.iter().filter_map(|step| match step {
        Step::SetWeight(weight) => Some(*weight),
        Step::Pause(_) | Step::Shadow { .. } | Step::Gate { .. } => None,
    });
    weights.next().unwrap_or(Percent::ALL)
}
