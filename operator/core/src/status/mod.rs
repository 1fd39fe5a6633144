//! What is said of the state: phase, message, conditions, counts.
//!
//! Invariant: rendering the same reading twice gives the same status, times included, so that a
//! status is written only when something is new.

mod conditions;
mod problem;
mod rolling;
mod summary;

use std::collections::BTreeMap;

use crds::RewardModelStatus;
use crds::conditions::{ConditionType, StalledReason};
use crds::v1alpha1::reward_model::status::{
    HistoryEntry, LastFailure, ModelStatus, Outcome, RevisionStatus, TrafficShare,
};
use crds::value::Decimal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use traffic::status::Report;

use crate::Failure;
use crate::capacity::Percent;
use crate::identity::RevisionHash;
use crate::objects::{pod, selector_of, service};
use crate::reading::resolution::Resolution;
use crate::reading::{Reading, health, pods};
use crate::rollout::{Decision, Ending, Signals};
use crate::state::{State, stored};

const HISTORY: usize = 10;
/// Answers that a share is measured on.
const MEASURED: u64 = 200;

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
    let summary = summary::of(reading, decision, signals, problem.as_ref());
    let mut rollout = stored::store(
        state,
        before.rollout.as_ref(),
        reading.scale.progress_deadline,
        now,
    );
    if let (Some(rollout), Some(ending)) = (&mut rollout, &decision.ending) {
        rollout.outcome = Some(outcome(ending).1.into());
    }
    let stable = state.stable();
    let wanted = reading.scale.replicas;
    RewardModelStatus {
        observed_generation: model.metadata.generation,
        phase: Some(summary.phase.into()),
        message: Some(summary.message.clone()),
        url: Some(service::url(model)),
        replicas: Some(stable.map_or(0, |hash| active(reading, hash))),
        last_replicas: Some(wanted)
            .filter(|size| *size > 0)
            .or(before.last_replicas),
        ready_replicas: Some(stable.map_or(0, |hash| ready(reading, hash))),
        selector: stable.map(|hash| selector_text(reading, hash)),
        stable: stable.map(|hash| revision(reading, hash)),
        canary: state.canary().map(|hash| revision(reading, hash)),
        previous: previous(reading, state),
        traffic: traffic(reading, state),
        rollout,
        gates: None,
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

/// The status of a resource whose state this version does not know: it stays as it was, and says so.
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
        conditions,
        last_command: decision
            .acknowledged
            .clone()
            .or_else(|| before.last_command.clone()),
        ..before.clone()
    }
}

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

fn selector_text(reading: &Reading<'_>, hash: &RevisionHash) -> String {
    let labels = selector_of(&reading.observed.model, hash);
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

fn revision(reading: &Reading<'_>, hash: &RevisionHash) -> RevisionStatus {
    let replicas = active(reading, hash);
    let server = reading.observed.model.spec.server.as_ref();
    let gpus = pod::gpus(server.and_then(|server| server.resources.as_ref()));
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

fn traffic(reading: &Reading<'_>, state: &State) -> Option<Vec<TrafficShare>> {
    let all = reading.reports.acknowledged.as_ref();
    let mut shares = shares(state, all.map(|all| format!("{}/{}", all.routers, all.of)))?;
    let measured = measured(reading);
    for share in &mut shares {
        let mut before = reading.before.traffic.iter().flatten();
        // Measured once for each weight: a status is no gauge.
        let told = before
            .find(|old| (&old.revision, old.spec_weight) == (&share.revision, share.spec_weight))
            .and_then(|old| old.observed_percent.clone());
        share.observed_percent = told.or_else(|| {
            let name = traffic::Revision::parse(&share.revision)?;
            let hundredths = measured.as_ref()?.get(&name).copied().unwrap_or(0);
            let percent = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            Some(Decimal::from(percent.as_str()))
        });
    }
    Some(shares)
}

/// What each revision answered of what was asked since the table is in force, where that is enough to say.
fn measured(reading: &Reading<'_>) -> Option<BTreeMap<traffic::Revision, u16>> {
    let observed = reading.observed;
    let answered = |reports: &[Report]| -> u64 {
        let revisions = reports.iter().flat_map(|report| &report.revisions);
        revisions.map(|revision| revision.answered).sum()
    };
    let in_force = reading
        .reports
        .acknowledged
        .as_ref()
        .is_some_and(traffic::status::Acknowledged::by_all);
    let enough =
        answered(&observed.reports).saturating_sub(answered(&observed.first_reports)) >= MEASURED;
    if !in_force || !enough {
        return None;
    }
    traffic::status::observed(&observed.first_reports, &observed.reports)
}

/// The stable revision first, then the one beside it: the wish, and what every router was seen to do.
fn shares(state: &State, routers: Option<String>) -> Option<Vec<TrafficShare>> {
    let (weight, applied) = match &state.rollout {
        Some(rollout) => (rollout.weight, rollout.applied),
        None => (Percent::NONE, Percent::NONE),
    };
    let share = |hash: &RevisionHash, weight: Percent, applied: Percent| TrafficShare {
        revision: hash.to_string(),
        spec_weight: Some(weight.get()),
        applied_weight: Some(applied.get()),
        observed_percent: None,
        routers: routers.clone(),
    };
    let stable = state
        .stable()
        .map(|hash| share(hash, weight.rest(), applied.rest()));
    let beside = state
        .canary()
        .map(|hash| share(hash, weight, applied))
        .or_else(|| {
            let previous = state.previous()?;
            Some(share(previous, Percent::NONE, Percent::NONE))
        });
    let shares: Vec<_> = stable.into_iter().chain(beside).collect();
    (!shares.is_empty()).then_some(shares)
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
    let facts = reading
        .facts()
        .or_else(|| stable().map(|content| content.model));
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
            traffic: shares(state, None),
            rollout: stored::store(state, None, std::time::Duration::ZERO, now),
            failed_revisions: failed(state),
            verification: stored::store_retried(state),
            ..RewardModelStatus::default()
        }
    }
}
