//! What is said of the state: phase, message, conditions, counts.
//!
//! Invariant: rendering the same reading twice gives the same status, times included, so that a
//! status is written only when something is new.

mod conditions;
mod problem;
mod rolling;
mod shares;
mod summary;

use crds::RewardModelStatus;
use crds::conditions::{ConditionType, StalledReason};
use crds::v1alpha1::reward_model::status::{
    GatewayStatus, HistoryEntry, LastFailure, ModelStatus, Outcome, RevisionStatus,
};
use crds::value::Decimal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::Failure;
use crate::golden::Scoring;
use crate::identity::RevisionHash;
use crate::objects::{selector, service};
use crate::reading::resolution::Resolution;
use crate::reading::{Reading, Route, health, pods};
use crate::rollout::{Decision, Ending, Signals, commands};
use crate::state::{State, stored};

pub use shares::is_enough;

const HISTORY: usize = 10;

/// The condition of that type.
pub fn condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// The status of a decision.
pub(crate) fn render(
    reading: &Reading<'_>,
    decision: &Decision,
    signals: &Signals,
    building: Option<&Failure>,
    now: Timestamp,
) -> RewardModelStatus {
    let model = &reading.observed.model;
    let before = &reading.before;
    let state = &decision.state;
    let problem = problem::of(reading, decision, building);
    let summary = summary::of(reading, decision, signals, problem.as_ref(), now);
    let mut rollout = stored::store(
        state,
        before.rollout.as_ref(),
        reading.scale.progress_deadline,
        now,
    );
    if let Some(rollout) = &mut rollout {
        if let Some(ending) = &decision.ending {
            rollout.outcome = Some(outcome(ending).1.into());
        }
        // What it is judged by is known before the verdict ends it.
        let known = reading.state.as_ref().ok();
        let scoring = [Some(state), known].into_iter().flatten();
        let mut sets = scoring
            .filter_map(|state| Scoring::of(reading.observed, state)?.status_of(&rollout.id));
        rollout.golden_set = sets.next().or_else(|| rollout.golden_set.take());
        let in_flight = state.rollout.is_some() && state.stable().is_some();
        rollout.rollback_eta = in_flight.then(|| way_back(reading, state, signals));
        // A status is no gauge: what was counted is told with the steps, and at the end.
        if decision.moved {
            rollout.fallbacks =
                shares::fallbacks(reading, before.canary.as_ref()).or(rollout.fallbacks);
        }
    }
    let stable = state.stable();
    let serving = state.serving();
    let wanted = reading.scale.replicas;
    RewardModelStatus {
        observed_generation: model.metadata.generation,
        phase: Some(summary.phase.into()),
        message: Some(summary.message.clone()),
        url: Some(service::url(model)),
        gateway: gateway(reading),
        replicas: Some(serving.iter().map(|hash| active(reading, hash)).sum()),
        last_replicas: Some(wanted)
            .filter(|size| *size > 0)
            .or(before.last_replicas),
        ready_replicas: Some(serving.iter().map(|hash| ready(reading, hash)).sum()),
        selector: selector_text(reading, &serving),
        stable: stable.map(|hash| revision(reading, hash)),
        canary: state.canary().map(|hash| revision(reading, hash)),
        previous: previous(reading, state),
        traffic: shares::traffic(reading, state),
        rollout,
        gates: stored::store_gates(state),
        model: model_status(reading, state, problem.as_ref()),
        verification: stored::store_retried(state),
        failed_revisions: failed(state),
        last_command: decision
            .acknowledged
            .clone()
            .or_else(|| before.last_command.clone()),
        history: history(before, decision.ending.as_ref(), now),
        conditions: conditions::of(
            &before.conditions,
            &summary.conditions(reading, state, signals, problem.as_ref()),
            model.metadata.generation,
            now,
        ),
    }
}

/// The status of a resource whose state this version does not know: it stays as it was, and says so of
/// the newest spec, or those who wait for that would never hear of it.
pub(crate) fn hold(
    reading: &Reading<'_>,
    decision: &Decision,
    word: &str,
    now: Timestamp,
) -> RewardModelStatus {
    let generation = reading.observed.model.metadata.generation;
    let before = &reading.before;
    let mut conditions = before.conditions.clone();
    for claim in summary::held(word) {
        let one = conditions::of(&before.conditions, &[claim], generation, now);
        conditions.retain(|old| one.iter().all(|new| new.type_ != old.type_));
        conditions.extend(one);
    }
    conditions.sort_by_key(|condition| {
        let kinds = ConditionType::ALL.iter();
        kinds
            .map(|kind| kind.as_str())
            .position(|kind| kind == condition.type_)
    });
    RewardModelStatus {
        observed_generation: generation,
        conditions,
        last_command: decision
            .acknowledged
            .clone()
            .or_else(|| before.last_command.clone()),
        ..before.clone()
    }
}

/// How long it takes until the stable revision carries everything again: nothing, or about a load.
fn way_back(reading: &Reading<'_>, state: &State, signals: &Signals) -> String {
    let complete = signals.stable.pods.ready >= reading.scale.replicas;
    let content = state.stable().and_then(|hash| reading.content(hash)?.ok());
    let load = content.and_then(|content| content.model.load_seconds);
    let seconds = match (complete, load) {
        (true, _) => 0.0,
        (false, Some(seconds)) if seconds.is_finite() => seconds.max(1.0),
        (false, _) => return "one load of the model".to_owned(),
    };
    format!("{seconds:.0}s")
}

/// What is known of the way from Gateways; it stays while a route is there.
fn gateway(reading: &Reading<'_>) -> Option<GatewayStatus> {
    let told = |accepted, message: String| Some(GatewayStatus { accepted, message });
    match reading.route() {
        Route::Unwanted { is_there: false } => None,
        Route::Unwanted { is_there: true } => told(false, "the route is removed".to_owned()),
        Route::NoApi => told(false, NO_GATEWAY_API.to_owned()),
        Route::Waits(why) | Route::Refused(why) => told(false, why),
        Route::Accepted(by) => told(true, by),
    }
}

/// What is said where the cluster does not know `HTTPRoute`s.
const NO_GATEWAY_API: &str = "traffic.gateway needs the Gateway API (gateway.networking.k8s.io/v1), which this cluster does not have: install it (https://gateway-api.sigs.k8s.io) and a controller, or remove traffic.gateway; clients inside the cluster are served all the same";

/// Pods of a revision that are there: what its selector finds, less those that are over or leave.
fn active(reading: &Reading<'_>, hash: &RevisionHash) -> i32 {
    let pods = reading.observed.children.pods_of(hash);
    let count = pods.filter(|pod| pods::is_active(pod)).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn ready(reading: &Reading<'_>, hash: &RevisionHash) -> i32 {
    reading
        .observed
        .children
        .deployment(hash)
        .map_or(0, health::ready_replicas)
}

/// Selects the pods that take traffic: an autoscaler measures them, and compares with how many there are.
fn selector_text(reading: &Reading<'_>, serving: &[&RevisionHash]) -> Option<String> {
    let labels = selector(&reading.observed.model);
    let mut terms: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    terms.push(match serving {
        [] => return None,
        [alone] => format!("{}={alone}", crds::labels::REVISION),
        all => {
            let all: Vec<&str> = all.iter().map(|hash| hash.as_str()).collect();
            format!("{} in ({})", crds::labels::REVISION, all.join(","))
        }
    });
    Some(terms.join(","))
}

fn revision(reading: &Reading<'_>, hash: &RevisionHash) -> RevisionStatus {
    let replicas = active(reading, hash);
    let gpus = reading.gpus();
    let known = match &reading.resolution {
        Resolution::Known { digest, .. } if Some(hash) == reading.target.revision() => Some(digest),
        Resolution::Known { .. }
        | Resolution::Running { .. }
        | Resolution::Late(_)
        | Resolution::Failed(_) => None,
    };
    let recorded = reading
        .record(hash)
        .and_then(|record| record.digest.as_ref());
    RevisionStatus {
        revision: hash.to_string(),
        digest: recorded.or(known).cloned(),
        replicas: Some(replicas),
        ready_replicas: Some(ready(reading, hash)),
        accelerators: Some(gpus * i64::from(replicas)),
        warm_until: None,
    }
}

fn previous(reading: &Reading<'_>, state: &State) -> Option<RevisionStatus> {
    let kept = state.fleet.previous.as_ref()?;
    Some(RevisionStatus {
        warm_until: Some(Time(kept.warm_until)),
        ..revision(reading, &kept.revision)
    })
}

fn failed(state: &State) -> Option<Vec<String>> {
    let failed = &state.fleet.failed;
    (!failed.is_empty()).then(|| failed.iter().map(ToString::to_string).collect())
}

fn model_status(
    reading: &Reading<'_>,
    state: &State,
    problem: Option<&Failure>,
) -> Option<ModelStatus> {
    let stable = || reading.content(state.stable()?)?.ok();
    // What was given up serves nobody: what is told of is what serves.
    let given_up = |hash: &RevisionHash| state.fleet.failed.contains(hash);
    let told = reading
        .facts()
        .filter(|_| state.stable().is_none() || !reading.target.revision().is_some_and(given_up));
    let facts = told.or_else(|| stable().map(|content| content.model));
    let last_failure = last_failure(reading, state, problem);
    if facts.is_none() && last_failure.is_none() {
        return None;
    }
    Some(ModelStatus {
        digest: facts.as_ref().map(|facts| facts.digest.clone()),
        bytes: facts.as_ref().and_then(|facts| facts.bytes),
        parameters: facts.as_ref().and_then(|facts| facts.parameters),
        architecture: facts.as_ref().and_then(|facts| facts.architecture.clone()),
        load_seconds: facts
            .as_ref()
            .and_then(|facts| facts.load_seconds)
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(|seconds| Decimal::from(format!("{seconds:.3}").as_str())),
        last_failure,
    })
}

/// The failure that is a problem now; the last one stays to be read until all is well.
fn last_failure(
    reading: &Reading<'_>,
    state: &State,
    problem: Option<&Failure>,
) -> Option<LastFailure> {
    let told = problem.and_then(|failure| {
        Some(LastFailure {
            pod: failure.pod.clone()?,
            reason: failure.reason.to_string(),
            exit_code: failure.exit_code,
            message: failure.message.clone(),
        })
    });
    let well = problem.is_none() && state.rollout.is_none() && state.stable().is_some();
    let before = reading.before.model.as_ref();
    told.or_else(|| {
        before
            .and_then(|model| model.last_failure.clone())
            .filter(|_| !well)
    })
}

/// How a command is given to the resource.
fn say(reading: &Reading<'_>, verb: &str) -> String {
    let model = &reading.observed.model;
    let namespace = model.namespace().unwrap_or_default();
    commands::line("rwm", &namespace, &model.name_any(), verb)
}

/// What is said of a revision that a human has given up.
fn aborted() -> Failure {
    Failure::new(
        StalledReason::AbortedByUser,
        "given up by the command abort; retry tries it again",
    )
}

fn outcome(ending: &Ending) -> (&RevisionHash, Outcome, Option<String>) {
    match ending {
        Ending::Promoted {
            revision,
            fast: false,
        } => (revision, Outcome::Promoted, None),
        Ending::Promoted {
            revision,
            fast: true,
        } => (revision, Outcome::FastPromoted, None),
        Ending::Returned { revision, from } => (
            revision,
            Outcome::Promoted,
            Some(format!(
                "it serves again: revision {from}, which was sent away, is rolled back"
            )),
        ),
        Ending::Superseded(revision) => (revision, Outcome::Superseded, None),
        Ending::Failed(revision, failure) => {
            (revision, Outcome::RolledBack, Some(failure.to_string()))
        }
        Ending::Aborted(revision) => (revision, Outcome::Aborted, Some(aborted().to_string())),
    }
}

fn history(
    before: &RewardModelStatus,
    ending: Option<&Ending>,
    now: Timestamp,
) -> Option<Vec<HistoryEntry>> {
    let old = before.history.clone().unwrap_or_default();
    let Some(ending) = ending else {
        return before.history.clone();
    };
    let (revision, outcome, reason) = outcome(ending);
    let started_at = before
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.started_at.clone());
    let entry = HistoryEntry {
        revision: revision.to_string(),
        outcome: Some(outcome.into()),
        started_at,
        finished_at: Some(Time(now)),
        reason,
    };
    Some(std::iter::once(entry).chain(old).take(HISTORY).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The part of a status that keeps a state.
    pub(crate) fn stored(state: &State) -> RewardModelStatus {
        let named = |hash: Option<&RevisionHash>| {
            hash.map(|hash| RevisionStatus {
                revision: hash.to_string(),
                ..RevisionStatus::default()
            })
        };
        let previous = named(state.previous()).map(|stored| RevisionStatus {
            warm_until: state
                .fleet
                .previous
                .as_ref()
                .map(|previous| Time(previous.warm_until)),
            ..stored
        });
        let now = Timestamp::UNIX_EPOCH;
        RewardModelStatus {
            phase: Some(crds::v1alpha1::reward_model::status::Phase::Progressing.into()),
            stable: named(state.stable()),
            canary: named(state.canary()),
            previous,
            traffic: shares::shares(state, None),
            rollout: stored::store(state, None, std::time::Duration::ZERO, now),
            failed_revisions: failed(state),
            verification: stored::store_retried(state),
            gates: stored::store_gates(state),
            ..RewardModelStatus::default()
        }
    }
}
