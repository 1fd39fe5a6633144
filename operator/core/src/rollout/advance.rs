//! One step of the machine, as a total function over plain data.
//!
//! Invariant: at a fixed time a second step changes nothing but what the first one has made
//! possible.

use std::time::Duration;

use crds::conditions::StalledReason;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::leave::{self, Manner};
use super::sizes::{forth, goal};
use super::{Ending, Signals};
use crate::Failure;
use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::reading::health::Health;
use crate::spec::Step;
use crate::state::{Previous, Rollout, Stage, State, Target};

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
    pub(super) const fn to(next: State) -> Self {
        Self {
            next,
            ending: None,
            wake_after: None,
        }
    }

    pub(super) const fn ending(next: State, ending: Ending) -> Self {
        Self {
            next,
            ending: Some(ending),
            wake_after: None,
        }
    }

    const fn waking(next: State, after: Duration) -> Self {
        Self {
            next,
            ending: None,
            wake_after: Some(after),
        }
    }
}

/// One step of the machine.
pub fn advance(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    let heard = acknowledged(state, signals);
    let Some(rollout) = &heard.rollout else {
        return at_rest(&heard, signals, now);
    };
    if !rollout.stage.is_leaving()
        && let Some(end) = broken(&heard, rollout, signals)
    {
        return end;
    }
    match rollout.stage {
        Stage::Load => load(&heard, rollout, signals, now),
        Stage::Step { index, since } => step(&heard, rollout, index, since, signals, now),
        Stage::Approval => approval(&heard, signals),
        Stage::Promote => promote(&heard, rollout, signals, now),
        Stage::Retreat | Stage::RollBack => leave::advance(&heard, rollout, signals),
    }
}

/// What every router does now is known.
fn acknowledged(state: &State, signals: &Signals) -> State {
    with(state, |rollout| {
        let routers = &signals.routers;
        // A router may still lead to it where nobody else serves; its place may be what they wait for.
        let wanted = !signals.stable.serves()
            && matches!(
                signals.stable.health,
                Health::Unschedulable { .. } | Health::Refused { .. }
            );
        let known = if rollout.weight == Percent::NONE {
            routers.released || routers.acknowledged && (wanted || signals.stable.serves())
        } else {
            routers.acknowledged
        };
        if known {
            rollout.applied = rollout.weight;
        }
    })
}

fn at_rest(state: &State, signals: &Signals, now: Timestamp) -> Transition {
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
    let steps = signals.steps.clone();
    next.rollout = Some(Rollout::new(revision.clone(), first, steps, now));
    next
}

/// What ends a rollout that is under way: a failure, a cut-off, or that nobody wants it any more.
fn broken(state: &State, rollout: &Rollout, signals: &Signals) -> Option<Transition> {
    if let Some(failure) = signals.harm() {
        // A copy that nobody can take the place of stays, however it is doing.
        let alone =
            rollout.stage == Stage::Promote && signals.canary.serves() && !signals.stable.serves();
        let ending = Ending::Failed(rollout.revision.clone(), failure.clone());
        return (!alone).then(|| leave::begin(state, Manner::AtOnce, ending));
    }
    let unwanted = match &signals.target {
        Target::Revision { hash, .. } => hash != &rollout.revision,
        Target::Unavailable => true,
        Target::BeingRead => false,
    };
    // A human has sent away what serves: there is nothing to go back to.
    let sent_away = state
        .stable()
        .is_some_and(|hash| state.fleet.failed.contains(hash));
    // What has all the traffic already is promoted first.
    let done = rollout.stage == Stage::Promote && rollout.weight == Percent::ALL;
    if !unwanted || done || sent_away || is_needed(rollout, signals) {
        return None;
    }
    let ending = Ending::Superseded(rollout.revision.clone());
    Some(leave::begin(state, Manner::Gently, ending))
}

/// The stable revision is down and this one is there: it serves, wanted or not.
fn is_needed(rollout: &Rollout, signals: &Signals) -> bool {
    rollout.stage.is_public() && is_rescue(signals)
}

fn is_rescue(signals: &Signals) -> bool {
    signals.canary.serves() && !signals.stable.serves() && !signals.recreates
}

fn load(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let wanted = signals.target.revision() == Some(&rollout.revision);
    let beside = state.stable().is_some() && !signals.recreates;
    let loaded = if beside {
        signals.canary.serves()
    } else {
        signals.canary.health == Health::Ready
    };
    let rescue = beside && is_rescue(signals) && signals.limits.replicas > 0;
    if loaded && wanted && (rescue || !is_held(rollout, signals)) {
        let next = if rescue || !beside || rollout.fast {
            Stage::Promote
        } else {
            Stage::Step {
                index: 0,
                since: now,
            }
        };
        return Transition::to(entered(state, next, now));
    }
    waiting(state, rollout, signals, now)
}

fn step(
    state: &State,
    rollout: &Rollout,
    index: usize,
    since: Timestamp,
    signals: &Signals,
    now: Timestamp,
) -> Transition {
    if is_rescue(signals) {
        return Transition::to(entered(state, Stage::Promote, now));
    }
    let asleep = signals.limits.replicas == 0;
    if asleep || is_held(rollout, signals) || is_short(rollout, signals) {
        return Transition::to(stopped(state));
    }
    match rollout.step() {
        None if signals.requires_approval => Transition::to(entered(state, Stage::Approval, now)),
        None => Transition::to(entered(state, Stage::Promote, now)),
        Some(Step::Pause(None)) => Transition::to(stopped(state)),
        Some(Step::Pause(Some(duration))) => {
            let left = duration.saturating_sub(elapsed(since, now));
            if left.is_zero() {
                return Transition::to(beyond(state, index, now));
            }
            Transition::waking(stopped(state), left)
        }
        Some(Step::SetWeight(_)) => {
            let shifted = shifted(state, rollout, signals);
            let arrived = shifted.rollout.as_ref().is_some_and(|shifted| {
                shifted.weight >= goal(rollout) && shifted.applied == shifted.weight
            });
            if arrived {
                return Transition::to(beyond(&shifted, index, now));
            }
            progressing(&shifted, rollout, signals, now)
        }
    }
}

fn approval(state: &State, signals: &Signals) -> Transition {
    if is_rescue(signals) {
        return Transition::to(with(state, |rollout| rollout.stage = Stage::Promote));
    }
    Transition::to(stopped(state))
}

fn promote(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let alone = state.stable().is_none() || signals.recreates || is_rescue(signals);
    let short = is_short(rollout, signals);
    let asleep = signals.limits.replicas == 0 && state.stable().is_some();
    let arrived = rollout.applied == Percent::ALL && rollout.weight == Percent::ALL;
    if arrived && (alone || !short) && !asleep {
        return Transition::ending(
            promoted(state, rollout, signals, now),
            Ending::Promoted {
                revision: rollout.revision.clone(),
                fast: rollout.fast,
            },
        );
    }
    if asleep || !alone && (is_held(rollout, signals) || short) {
        return Transition::to(stopped(state));
    }
    let shifted = if alone {
        with(state, |rollout| rollout.weight = Percent::ALL)
    } else {
        shifted(state, rollout, signals)
    };
    progressing(&shifted, rollout, signals, now)
}

/// The role "stable" moves to the canary: nothing restarts.
fn promoted(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> State {
    let mut next = State {
        rollout: None,
        ..state.clone()
    };
    let until = now.checked_add(signals.warm_for).unwrap_or(Timestamp::MAX);
    let failed = |hash: &RevisionHash| state.fleet.failed.contains(hash);
    next.fleet.previous = state
        .stable()
        .filter(|hash| !failed(hash) && !signals.recreates && signals.limits.warm_pods() > 0)
        .map(|hash| Previous {
            revision: hash.clone(),
            warm_until: until,
        });
    next.fleet.stable = Some(rollout.revision.clone());
    next.fleet.failed.retain(|hash| hash != &rollout.revision);
    next
}

/// More traffic follows the pods that are ready, once every router has what was decided last.
fn shifted(state: &State, rollout: &Rollout, signals: &Signals) -> State {
    if rollout.applied != rollout.weight {
        return state.clone();
    }
    let weight = forth(rollout, signals).map_or(rollout.weight, |shift| shift.weight);
    with(state, |rollout| rollout.weight = weight)
}

/// A rollout that moved, or that waits for the pods of its next share.
fn progressing(state: &State, before: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let moved = state
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.weight != before.weight);
    if moved {
        return Transition::to(with(state, |rollout| rollout.progressed_at = Some(now)));
    }
    waiting(state, before, signals, now)
}

/// The canary's pods have to come further within the deadline; the clock stands while nobody works.
fn waiting(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let wanted = signals.target.revision() == Some(&rollout.revision);
    let Health::Starting {
        message,
        progressed_at,
        ..
    } = &signals.canary.health
    else {
        return Transition::to(stopped(state));
    };
    if !wanted || is_held(rollout, signals) {
        return Transition::to(stopped(state));
    }
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

fn stopped(state: &State) -> State {
    with(state, |rollout| rollout.progressed_at = None)
}

/// Whether pods that carried its share are gone, without a fault of theirs.
pub(crate) fn is_short(rollout: &Rollout, signals: &Signals) -> bool {
    let carries = signals.limits.need(rollout.weight);
    rollout.weight > Percent::NONE
        && signals.canary.pods.ready < carries.min(signals.limits.most().max(1))
}

const fn is_held(rollout: &Rollout, signals: &Signals) -> bool {
    rollout.paused || signals.held
}

pub(super) fn entered(state: &State, next: Stage, now: Timestamp) -> State {
    with(state, |rollout| {
        rollout.stage = next;
        rollout.progressed_at = Some(now);
    })
}

/// The step after the one at `index`.
pub(super) fn beyond(state: &State, index: usize, now: Timestamp) -> State {
    let next = Stage::Step {
        index: index + 1,
        since: now,
    };
    entered(state, next, now)
}

pub(super) fn with(state: &State, change: impl FnOnce(&mut Rollout)) -> State {
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
