//! One step of the machine, as a total function over plain data.
//!
//! Invariant: at a fixed time a second step changes nothing but what the first one has made
//! possible.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::gating::{Gating, gating};
use super::leave::{self, Manner};
use super::sizes::{forth, goal, limits};
use super::waiting::{stopped, waiting};
use super::{Ending, Signals, rest};
use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::reading::health::Health;
use crate::spec::Step;
use crate::state::{Previous, Rollout, Stage, State, Target};

/// How long stable may be without a ready pod that was in trouble, or finds no room, before it is broken.
const STABLE_PATIENCE: Duration = Duration::from_mins(1);
/// The same where new pods of it start, and none is in trouble: large models take their time.
const STABLE_STARTS: Duration = Duration::from_mins(10);

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

    pub(super) const fn waking(next: State, after: Duration) -> Self {
        Self {
            next,
            ending: None,
            wake_after: Some(after),
        }
    }
}

/// One step of the machine.
pub fn advance(state: &State, signals: &Signals, now: Timestamp) -> Transition {
    let heard = watched(looked(acknowledged(state, signals), signals), signals, now);
    let mut next = from(&heard, signals, now);
    let rescue = heard.rollout.as_ref();
    let rescue = rescue.and_then(|rollout| broken_in(rollout, signals, now));
    let looks = [signals.next_look, rescue];
    let look = looks
        .into_iter()
        .flatten()
        .filter(|look| !look.is_zero())
        .min();
    next.wake_after = match (next.wake_after, look) {
        (Some(wake), Some(look)) => Some(wake.min(look)),
        // What follows a move may follow at once.
        (None, look) if next.next == *state => look,
        (wake, _) => wake,
    };
    next
}

/// One step from where every router and every gate was heard.
fn from(heard: &State, signals: &Signals, now: Timestamp) -> Transition {
    let Some(rollout) = &heard.rollout else {
        return rest::at_rest(heard, signals, now);
    };
    if !rollout.stage.is_leaving()
        && let Some(end) = broken(heard, rollout, signals)
    {
        return end;
    }
    match rollout.stage {
        Stage::Load => load(heard, rollout, signals, now),
        Stage::Step { index, since } => step(heard, rollout, index, since, signals, now),
        Stage::Approval => approval(heard, rollout, signals, now),
        Stage::Promote => promote(heard, rollout, signals, now),
        Stage::Retreat | Stage::RollBack => leave::advance(heard, rollout, signals, now),
    }
}

/// What the last look at each gate has found is kept.
fn looked(mut state: State, signals: &Signals) -> State {
    for gate in &signals.gates {
        let mut tracks = state.gates.iter_mut();
        match tracks.find(|track| track.gate == gate.track.gate) {
            Some(track) => *track = gate.track.clone(),
            None => state.gates.push(gate.track.clone()),
        }
    }
    state
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

/// What ends a rollout that is under way: a failure, a cut-off, or that nobody wants it any more.
fn broken(state: &State, rollout: &Rollout, signals: &Signals) -> Option<Transition> {
    if let Some(failure) = signals.harm() {
        // A copy that nobody can take the place of stays, however it is doing.
        let alone =
            rollout.stage == Stage::Promote && signals.canary.serves() && !signals.stable.serves();
        let ending = Ending::Failed(rollout.revision.clone(), failure);
        return (!alone).then(|| leave::begin(state, Manner::AtOnce, ending));
    }
    let unwanted = match &signals.target {
        Target::Revision { hash, .. } => hash != &rollout.revision,
        Target::Unavailable => true,
        Target::BeingRead => false,
    };
    // A human has sent away what serves: there is nothing to go back to.
    let sent_away = rollout.stage == Stage::Promote && is_way_back(state);
    // What has all the traffic already is promoted first.
    let done = rollout.stage == Stage::Promote && rollout.weight == Percent::ALL;
    if !unwanted || done || sent_away || is_needed(rollout, signals) {
        return None;
    }
    let ending = Ending::Superseded(rollout.revision.clone());
    Some(leave::begin(state, Manner::Gently, ending))
}

/// Whether what serves was sent away by a human: then nothing but their own word holds the way back up.
fn is_way_back(state: &State) -> bool {
    let stable = state.stable();
    stable.is_some_and(|hash| state.fleet.failed.contains(hash))
}

/// The stable revision is down and this one is there: it serves, wanted or not.
fn is_needed(rollout: &Rollout, signals: &Signals) -> bool {
    rollout.stage.is_public() && is_alone(signals)
}

/// At this moment the canary serves and stable does not: the routers send it everything.
fn is_alone(signals: &Signals) -> bool {
    signals.canary.serves() && !signals.stable.serves() && !signals.recreates
}

/// How soon stable is broken that has no ready pod, and the canary comes in its place past steps, gates and
/// approval: the fix has to get in. A pod that was deleted, evicted or restarted is no reason for that.
/// `None` where there is none.
fn broken_in(rollout: &Rollout, signals: &Signals, now: Timestamp) -> Option<Duration> {
    if !is_alone(signals) || signals.limits.replicas == 0 {
        return None;
    }
    if !signals.stable.knows_routers {
        return Some(Duration::ZERO);
    }
    let patience = match &signals.stable.health {
        Health::Failed(_) => Duration::ZERO,
        // Ready is what a Deployment says whose pods are gone just now.
        Health::Ready
        | Health::Refused { .. }
        | Health::Unschedulable { .. }
        | Health::Starting { fresh: false, .. } => STABLE_PATIENCE,
        Health::Starting { fresh: true, .. } | Health::Absent => STABLE_STARTS,
    };
    let lost = rollout.stable_lost_at.unwrap_or(now);
    Some(patience.saturating_sub(elapsed(lost, now)))
}

/// Stable is broken and the canary serves.
pub fn is_rescue(rollout: &Rollout, signals: &Signals, now: Timestamp) -> bool {
    broken_in(rollout, signals, now) == Some(Duration::ZERO)
}

/// Since when stable serves nothing is known.
fn watched(state: State, signals: &Signals, now: Timestamp) -> State {
    with(&state, |rollout| {
        let lost = rollout.stable_lost_at.unwrap_or(now);
        rollout.stable_lost_at = is_alone(signals).then_some(lost);
    })
}

fn load(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let wanted = signals.target.revision() == Some(&rollout.revision);
    let beside = state.stable().is_some() && !signals.recreates;
    let loaded = if beside {
        signals.canary.serves()
    } else {
        signals.canary.health == Health::Ready
    };
    let rescue = beside && is_rescue(rollout, signals, now);
    // The old pods are stopped already: nobody else is going to serve.
    let alone = signals.recreates && state.stable().is_some() && signals.stable.pods.wanted == 0;
    let proven = rollout.fast || gating(rollout, signals, now) == Gating::Open;
    if loaded && wanted && (rescue || proven && (alone || !is_held(rollout, signals))) {
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
    if is_rescue(rollout, signals, now) {
        return Transition::to(entered(state, Stage::Promote, now));
    }
    let asleep = signals.limits.replicas == 0;
    if asleep || is_held(rollout, signals) {
        return Transition::to(stopped(state));
    }
    if is_short(rollout, signals) {
        return waiting(state, rollout, signals, now);
    }
    match gating(rollout, signals, now) {
        Gating::Open => {}
        Gating::Waits(Some(left)) => return Transition::waking(stopped(state), left),
        Gating::Waits(None) | Gating::Paused(..) => return Transition::to(stopped(state)),
    }
    match rollout.step() {
        // The gating says when these are over.
        Some(Step::Shadow { .. } | Step::Gate { .. }) => Transition::to(beyond(state, index, now)),
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

fn approval(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    // Who asks for no approval any more waits for none.
    let waived = !signals.requires_approval && !is_held(rollout, signals);
    if is_rescue(rollout, signals, now) || waived {
        return Transition::to(entered(state, Stage::Promote, now));
    }
    Transition::to(stopped(state))
}

fn promote(state: &State, rollout: &Rollout, signals: &Signals, now: Timestamp) -> Transition {
    let sent_away = is_way_back(state) && is_alone(signals);
    let alone = state.stable().is_none()
        || signals.recreates
        || sent_away
        || is_rescue(rollout, signals, now);
    if !alone && signals.harm().is_some() {
        // It serves because stable does not at this moment, and is not wanted for longer than that.
        return Transition::to(stopped(state));
    }
    let short = is_short(rollout, signals);
    let asleep = signals.limits.replicas == 0 && state.stable().is_some();
    let arrived = rollout.applied == Percent::ALL && rollout.weight == Percent::ALL;
    if arrived && (alone || !short) && !asleep {
        return Transition::ending(
            promoted(state, rollout, signals, now),
            arrived_as(state, rollout, signals),
        );
    }
    let held = rollout.paused || signals.held && !is_way_back(state);
    if asleep || !alone && held {
        return Transition::to(stopped(state));
    }
    if !alone && short {
        return waiting(state, rollout, signals, now);
    }
    let shifted = if alone {
        with(state, |rollout| rollout.weight = Percent::ALL)
    } else {
        shifted(state, rollout, signals)
    };
    progressing(&shifted, rollout, signals, now)
}

/// What has come about with the last share: the way back has an end of its own, and what the spec asks for is
/// none.
fn arrived_as(state: &State, rollout: &Rollout, signals: &Signals) -> Ending {
    let revision = rollout.revision.clone();
    let is_asked_for = signals.target.revision() == Some(&revision);
    match state
        .stable()
        .filter(|_| is_way_back(state) && !is_asked_for)
    {
        Some(from) => Ending::Returned {
            revision,
            from: from.clone(),
        },
        None => Ending::Promoted {
            revision,
            fast: rollout.fast,
        },
    }
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

/// Whether pods that carried its share are gone, without a fault of theirs.
pub(crate) fn is_short(rollout: &Rollout, signals: &Signals) -> bool {
    let limits = limits(rollout, signals);
    let need = match (rollout.weight > Percent::NONE, rollout.step()) {
        (true, _) => limits.need(rollout.weight).min(limits.most().max(1)),
        // What is measured before it has a share needs a pod that answers.
        (false, Some(Step::Shadow { .. } | Step::Gate { .. })) => 1,
        (false, Some(Step::SetWeight(_) | Step::Pause(_)) | None) => 0,
    };
    signals.canary.pods.ready < need
}

pub(super) const fn is_held(rollout: &Rollout, signals: &Signals) -> bool {
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
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since)
        .max(SignedDuration::ZERO)
        .unsigned_abs()
}
