//! What a human has to look at: the most fundamental first.
//!
//! Invariant: while something is on its way that may mend it, nothing is said to be stalled.

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::Strategy;
use kube::ResourceExt;

use crate::Failure;
use crate::identity::RevisionHash;
use crate::reading::health::Health;
use crate::reading::resolution::Resolution;
use crate::reading::{Reading, Route};
use crate::rollout::Decision;

/// What a human has to look at. `building` is why an object could not be built.
pub(super) fn of(
    reading: &Reading<'_>,
    decision: &Decision,
    building: Option<&Failure>,
) -> Option<Failure> {
    let state = &decision.state;
    conflict(reading)
        .or_else(|| reading.source.clone().err())
        .or_else(|| reading.observed.refusal.clone())
        .or_else(|| building.cloned())
        .or_else(|| match &reading.resolution {
            Resolution::Failed(failure) | Resolution::Late(failure) if !decision.moved => {
                Some(failure.clone())
            }
            Resolution::Known { .. }
            | Resolution::Running { .. }
            | Resolution::Failed(_)
            | Resolution::Late(_) => None,
        })
        .or_else(|| failed_target(reading, decision))
        .or_else(|| no_room(reading, decision))
        .or_else(|| refused(reading, state.canary()))
        .or_else(|| gateway(reading).filter(|_| state.rollout.is_none()))
        .or_else(|| {
            let at_rest = state.rollout.is_none() && state.stable() == reading.target.revision();
            state
                .stable()
                .filter(|_| at_rest)
                .and_then(|hash| troubled(reading, hash))
        })
}

fn conflict(reading: &Reading<'_>) -> Option<Failure> {
    let key = reading.observed.conflicts.first()?;
    let (kind, name) = (key.kind.as_str(), &key.name);
    Some(Failure::new(
        StalledReason::NameConflict,
        format!(
            "{kind} {name:?} exists and does not belong to RewardModel {:?}: delete or rename it, or give the RewardModel another name",
            reading.observed.model.name_any()
        ),
    ))
}

/// Why the revision that the spec asks for is not tried: by this decision, by history, by its record.
fn failed_target(reading: &Reading<'_>, decision: &Decision) -> Option<Failure> {
    use crate::rollout::Ending;
    let target = reading.target.revision()?;
    if !decision.state.fleet.failed.contains(target) {
        return None;
    }
    // While traffic goes back that is what is told.
    if decision.state.rollout.is_some() {
        return None;
    }
    if let Some(Ending::Failed(hash, failure)) = &decision.ending
        && hash == target
    {
        return Some(with_way_on(reading, failure.clone()));
    }
    if let Some(Ending::Aborted(hash)) = &decision.ending
        && hash == target
    {
        return Some(with_way_on(reading, super::aborted()));
    }
    let history = reading.before.history.iter().flatten();
    let told = history
        .filter(|entry| entry.revision == target.as_str())
        .find_map(|entry| entry.reason.clone());
    let outcome = told
        .or_else(|| reading.record(target)?.outcome.clone())
        .unwrap_or_default();
    Some(with_way_on(reading, Failure::from_words(&outcome)))
}

/// What was found while it took traffic says nothing of what to do; that is told with it.
fn with_way_on(reading: &Reading<'_>, failure: Failure) -> Failure {
    let is_measured = matches!(
        failure.reason,
        StalledReason::CutOff | StalledReason::GateFailed
    );
    // The words of one that a human has given up say what to do already, but not how.
    let way = if is_measured {
        "; it is not tried again: apply another revision, or say retry"
    } else if failure.reason == StalledReason::AbortedByUser {
        ""
    } else {
        return failure;
    };
    let how = super::say(reading, "retry");
    Failure {
        message: format!("{}{way}: {how}", failure.message),
        ..failure
    }
}

/// No pod may give its place to a new revision.
fn no_room(reading: &Reading<'_>, decision: &Decision) -> Option<Failure> {
    let state = &decision.state;
    let limits = &reading.scale.limits;
    let waits = state.rollout.is_none()
        && state.stable().is_some()
        && reading
            .target
            .revision()
            .is_some_and(|hash| state.stable() != Some(hash) && !state.fleet.failed.contains(hash))
        && reading.strategy == Strategy::Canary;
    (waits && !limits.lets_one_in()).then(|| {
        Failure::new(
            StalledReason::InsufficientCapacity,
            format!(
                "replicas {}, capacity.maxSurge {} and capacity.minAvailable {} leave no place for a new revision: raise maxSurge, lower minAvailable, or set rollout.strategy: Recreate",
                limits.replicas, limits.surge, limits.min_available
            ),
        )
    })
}

fn refused(reading: &Reading<'_>, hash: Option<&RevisionHash>) -> Option<Failure> {
    match reading.health(hash) {
        Health::Refused { message } => Some(Failure::new(StalledReason::QuotaExceeded, message)),
        Health::Absent
        | Health::Starting { .. }
        | Health::Unschedulable { .. }
        | Health::Ready
        | Health::Failed(_) => None,
    }
}

/// Why no Gateway leads to it. What is in flight goes on all the same, and is told first.
fn gateway(reading: &Reading<'_>) -> Option<Failure> {
    let why = match reading.route() {
        Route::NoApi => super::NO_GATEWAY_API.to_owned(),
        Route::Refused(why) => {
            format!("{why}; correct traffic.gateway or the Gateway")
        }
        Route::Unwanted { .. } | Route::Waits(_) | Route::Accepted(_) => return None,
    };
    Some(Failure::new(StalledReason::InvalidSpec, why))
}

fn troubled(reading: &Reading<'_>, hash: &RevisionHash) -> Option<Failure> {
    match reading.health(Some(hash)) {
        Health::Failed(failure) => Some(failure),
        Health::Refused { .. } => refused(reading, Some(hash)),
        Health::Absent | Health::Starting { .. } | Health::Unschedulable { .. } | Health::Ready => {
            None
        }
    }
}
