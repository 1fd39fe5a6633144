//! How long a rollout waits for pods, and what comes then.
//!
//! Invariant: the clock stands while nobody works: without room, a quota, or a human.

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::OnUnschedulable;
use k8s_openapi::jiff::Timestamp;

use super::advance::{Transition, elapsed, is_held, with};
use super::leave::{self, Manner};
use super::{Ending, Signals};
use crate::Failure;
use crate::reading::health::Health;
use crate::state::{Rollout, State};

/// The canary's pods have to come further within the deadline; the clock stands while nobody works.
pub(super) fn waiting(
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    let wanted = signals.target.revision() == Some(&rollout.revision);
    if !wanted || is_held(rollout, signals) {
        return Transition::to(stopped(state));
    }
    let (message, progressed_at) = match &signals.canary.health {
        Health::Starting {
            message,
            progressed_at,
            ..
        } => (message, progressed_at),
        Health::Unschedulable { message, since } => {
            return short_of_room(state, rollout, message, since.unwrap_or(now), signals, now);
        }
        Health::Absent | Health::Refused { .. } | Health::Ready | Health::Failed(_) => {
            return Transition::to(stopped(state));
        }
    };
    let begun = rollout.progressed_at.unwrap_or(now);
    let since = progressed_at.map_or(begun, |at| at.min(now).max(begun));
    let left = signals.patience.saturating_sub(elapsed(since, now));
    if left.is_zero() {
        let failure = Failure::new(
            StalledReason::DeadlineExceeded,
            format!("no progress within rollout.progressDeadline: {message}"),
        );
        let ending = Ending::Failed(rollout.revision.clone(), failure);
        return leave::begin(state, Manner::Gently, ending);
    }
    Transition::waking(
        with(state, |rollout| rollout.progressed_at = Some(since)),
        left,
    )
}

/// No node has room: after a while the rollout takes the place of a pod that serves, or is given up.
fn short_of_room(
    state: &State,
    rollout: &Rollout,
    message: &str,
    since: Timestamp,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    let stopped = stopped(state);
    let left = signals.no_room.after.saturating_sub(elapsed(since, now));
    let can_borrow = {
        let mut limits = signals.limits;
        limits.surge = 0;
        limits.lets_one_in()
    };
    match signals.no_room.then {
        OnUnschedulable::Wait => Transition::to(stopped),
        OnUnschedulable::Borrow if rollout.borrows || !can_borrow => Transition::to(stopped),
        OnUnschedulable::Borrow | OnUnschedulable::Abort if !left.is_zero() => {
            Transition::waking(stopped, left)
        }
        OnUnschedulable::Borrow => Transition::to(with(&stopped, |rollout| rollout.borrows = true)),
        OnUnschedulable::Abort => {
            let failure = Failure::new(
                StalledReason::InsufficientCapacity,
                format!(
                    "no room within capacity.unschedulableAfter: {message}; say retry when there is"
                ),
            );
            let ending = Ending::Failed(rollout.revision.clone(), failure);
            leave::begin(state, Manner::Gently, ending)
        }
    }
}

pub(super) fn stopped(state: &State) -> State {
    with(state, |rollout| rollout.progressed_at = None)
}
