//! What is said of the state: phase, message, conditions, counts.
//!
//! Invariant: rendering the same reading twice gives the same status, times included, so that a
//! status is written only when something is new.

mod conditions;
mod summary;

use crds::RewardModelStatus;
use crds::conditions::ConditionType;
use crds::v1alpha1::reward_model::status::{
    HistoryEntry, LastFailure, ModelStatus, Outcome, RevisionStatus, TrafficShare,
};
use crds::value::Decimal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::Failure;
use crate::identity::RevisionHash;
use crate::observed::health;
use crate::observed::record::Role;
use crate::plan::Reading;
use crate::resolve::Resolution;
use crate::resources::{pod, selector_of, service};
use crate::rollout::{Ending, State, stored};

const HISTORY: usize = 10;

/// The condition of that type.
pub fn condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// The status of `reading`, whose state is the next one.
pub(crate) fn render(
    reading: &Reading<'_>,
    problem: Option<&Failure>,
    ending: Option<&Ending>,
    now: Timestamp,
) -> RewardModelStatus {
    let model = &reading.observed.model;
    let before = model.status.clone().unwrap_or_default();
    let summary = summary::of(reading, problem);
    let state = &reading.state;
    let mut rollout = stored::store(state, before.rollout.as_ref(), now);
    let history = history(&before, ending, now);
    if let (Some(rollout), Some(ending)) = (&mut rollout, ending) {
        let (_, outcome, _) = outcome(ending);
        rollout.outcome = Some(outcome);
    }
    let stable = state.stable();
    RewardModelStatus {
        observed_generation: model.metadata.generation,
        phase: Some(summary.phase),
        message: Some(summary.message.clone()),
        url: Some(service::url(model)),
        replicas: Some(
            reading
                .observed
                .children
                .deployments
                .iter()
                .map(health::replicas)
                .sum(),
        ),
        ready_replicas: Some(stable.map_or(0, |hash| ready(reading, hash))),
        selector: stable.map(|hash| selector_text(reading, hash)),
        stable: stable.map(|hash| revision(reading, hash)),
        canary: state.canary().map(|hash| revision(reading, hash)),
        previous: state.previous().map(|hash| revision(reading, hash)),
        traffic: traffic(reading),
        rollout,
        gates: None,
        model: model_status(reading, problem, before.model.as_ref()),
        failed_revisions: failed(reading),
        last_command: before.last_command.clone(),
        history,
        conditions: conditions::of(
            &before.conditions,
            &summary.conditions(reading, problem),
            model.metadata.generation,
            now,
        ),
    }
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
    let deployment = reading.observed.children.deployment(hash);
    let replicas = deployment.map_or(0, health::replicas);
    let server = reading.observed.model.spec.server.as_ref();
    let gpus = pod::gpus(server.and_then(|server| server.resources.as_ref()));
    let record = reading.record(hash);
    let known = match &reading.resolution {
        Resolution::Known(facts) if Some(hash) == reading.target.as_ref() => Some(facts),
        Resolution::Known(_) | Resolution::Running { .. } | Resolution::Failed(_) => None,
    };
    RevisionStatus {
        revision: hash.to_string(),
        digest: record
            .map(|record| &record.content.model)
            .or(known)
            .map(|facts| facts.digest.clone()),
        replicas: Some(replicas),
        ready_replicas: Some(ready(reading, hash)),
        accelerators: Some(gpus * i64::from(replicas)),
        warm_until: None,
    }
}

/// The stable revision first, then the one beside it.
fn traffic(reading: &Reading<'_>) -> Option<Vec<TrafficShare>> {
    let state = &reading.state;
    let share = |hash: &RevisionHash, weight: i32| TrafficShare {
        revision: hash.to_string(),
        spec_weight: Some(weight),
        applied_weight: reading.endpoints.percent(hash),
        ..TrafficShare::default()
    };
    let mut shares: Vec<_> = state
        .stable()
        .map(|hash| share(hash, 100))
        .into_iter()
        .collect();
    let beside = state
        .canary()
        .or_else(|| state.previous())
        .filter(|_| !shares.is_empty());
    shares.extend(beside.map(|hash| share(hash, 0)));
    (!shares.is_empty()).then_some(shares)
}

fn failed(reading: &Reading<'_>) -> Option<Vec<String>> {
    let failed = reading
        .records
        .iter()
        .filter(|record| record.role == Role::Failed);
    let failed: Vec<String> = failed.map(|record| record.hash.to_string()).collect();
    (!failed.is_empty()).then_some(failed)
}

fn model_status(
    reading: &Reading<'_>,
    problem: Option<&Failure>,
    before: Option<&ModelStatus>,
) -> Option<ModelStatus> {
    let facts = match &reading.resolution {
        Resolution::Known(facts) => Some(facts),
        Resolution::Running { .. } | Resolution::Failed(_) => reading
            .state
            .stable()
            .and_then(|hash| reading.record(hash))
            .map(|r| &r.content.model),
    };
    let last_failure = last_failure(reading, problem, before);
    if facts.is_none() && last_failure.is_none() {
        return None;
    }
    Some(ModelStatus {
        digest: facts.map(|facts| facts.digest.clone()),
        bytes: facts.and_then(|facts| facts.bytes),
        parameters: facts.and_then(|facts| facts.parameters),
        architecture: facts.and_then(|facts| facts.architecture.clone()),
        load_seconds: facts
            .and_then(|facts| facts.load_seconds)
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(|seconds| Decimal::from(format!("{seconds:.3}").as_str())),
        last_failure,
    })
}

/// The failure that is a problem now; the last one stays to be read until all is well.
fn last_failure(
    reading: &Reading<'_>,
    problem: Option<&Failure>,
    before: Option<&ModelStatus>,
) -> Option<LastFailure> {
    let told = problem.and_then(|failure| {
        Some(LastFailure {
            pod: failure.pod.clone()?,
            reason: failure.reason.to_string(),
            exit_code: failure.exit_code,
            message: failure.message.clone(),
        })
    });
    let well = problem.is_none() && matches!(reading.state, State::Steady { .. });
    told.or_else(|| {
        before
            .and_then(|model| model.last_failure.clone())
            .filter(|_| !well)
    })
}

fn outcome(ending: &Ending) -> (&RevisionHash, Outcome, Option<String>) {
    match ending {
        Ending::Promoted(revision) => (revision, Outcome::Promoted, None),
        Ending::Superseded(revision) => (revision, Outcome::Superseded, None),
        Ending::Failed(revision, failure) => {
            let reason = format!("{}: {}", failure.reason, failure.message);
            (revision, Outcome::RolledBack, Some(reason))
        }
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
        outcome,
        started_at,
        finished_at: Some(Time(now)),
        reason,
    };
    Some(std::iter::once(entry).chain(old).take(HISTORY).collect())
}
