//! The state of a resource as its status stores it, and how it is rebuilt when a status is lost.
//!
//! Invariants: `load(store(state)) == state`; what a status does not say is never guessed from which
//! objects are there; a word that this version does not know is told, not read as something else.

use crds::v1alpha1::reward_model::status::{
    RevisionStatus, RewardModelStatus, RolloutStatus, StepStatus, VerificationStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Fleet, Rollout, Stage, State};
use crate::identity::{RevisionHash, SourceKey, Verification};
use crate::records::{Record, Role};

/// The state that a status tells of; where it has none, the one that the records tell of.
///
/// # Errors
/// The word that this version does not know.
pub fn load(status: Option<&RewardModelStatus>, records: &[Record]) -> Result<State, String> {
    let Some(status) = status.filter(|status| status.phase.is_some()) else {
        return Ok(rebuild(records));
    };
    if let Some(word) = status.phase.as_ref().and_then(|phase| phase.unknown()) {
        return Err(format!("status.phase is {word:?}"));
    }
    let state = certain(status);
    let rollout = match &status.rollout {
        Some(rollout) => in_flight(status, rollout, &state.fleet)?,
        None => None,
    };
    Ok(State { rollout, ..state })
}

/// What a status says apart from a rollout in flight.
pub fn certain(status: &RewardModelStatus) -> State {
    let listed = status.failed_revisions.iter().flatten();
    State {
        fleet: Fleet {
            stable: hash(status.stable.as_ref()),
            previous: hash(status.previous.as_ref()),
            failed: listed
                .filter_map(|text| RevisionHash::parse(text))
                .collect(),
        },
        rollout: None,
        retried: status.verification.as_ref().map(|stored| Verification {
            source: SourceKey::from_status(&stored.source),
            attempt: stored.attempt,
        }),
    }
}

fn hash(revision: Option<&RevisionStatus>) -> Option<RevisionHash> {
    RevisionHash::parse(&revision?.revision)
}

fn in_flight(
    status: &RewardModelStatus,
    rollout: &RolloutStatus,
    fleet: &Fleet,
) -> Result<Option<Rollout>, String> {
    let Some(step) = &rollout.step else {
        return Ok(None);
    };
    let since = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let started_at = since(&rollout.started_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let stage = match step.kind.as_str() {
        "Load" => Stage::Load,
        "Switch" => Stage::Switch,
        "Settle" => Stage::Settle {
            since: since(&step.started_at).unwrap_or(started_at),
        },
        word => return Err(format!("status.rollout.step.kind is {word:?}")),
    };
    // Statuses of the first version name no revision beside the step.
    let named = rollout.revision.as_deref().and_then(RevisionHash::parse);
    let revision = named.or_else(|| match stage {
        Stage::Load => hash(status.canary.as_ref()),
        Stage::Switch | Stage::Settle { .. } => fleet.stable.clone(),
    });
    Ok(revision.map(|revision| Rollout {
        revision,
        started_at,
        progressed_at: since(&rollout.progressed_at),
        stage,
    }))
}

fn rebuild(records: &[Record]) -> State {
    let with = |role| {
        let found = records.iter().filter(move |record| record.role == role);
        found.max_by_key(|record| record.number)
    };
    let hash = |role| with(role).map(|record| record.hash.clone());
    let failed = records.iter().filter(|record| record.role == Role::Failed);
    let (stable, previous) = (hash(Role::Stable), hash(Role::Previous));
    let begun = |revision, stage| Rollout {
        revision,
        // When it began is lost with the status; its deadline begins anew.
        started_at: Timestamp::UNIX_EPOCH,
        progressed_at: None,
        stage,
    };
    let rollout = match (hash(Role::Canary), &stable, &previous) {
        (Some(canary), _, _) => Some(begun(canary, Stage::Load)),
        (None, Some(stable), Some(_)) => Some(begun(stable.clone(), Stage::Switch)),
        (None, _, _) => None,
    };
    State {
        fleet: Fleet {
            stable,
            previous,
            failed: failed.map(|record| record.hash.clone()).collect(),
        },
        rollout,
        retried: records
            .iter()
            .filter_map(|record| record.verified.clone())
            .filter(|verified| verified.attempt > 0)
            .max_by_key(|verified| verified.attempt),
    }
}

/// The reading of a source that counts, as the status shows it.
pub fn store_retried(state: &State) -> Option<VerificationStatus> {
    let retried = state.retried.as_ref()?;
    Some(VerificationStatus {
        source: retried.source.as_str().to_owned(),
        attempt: retried.attempt,
    })
}

/// The rollout as the status shows it: `before` is what it showed last, `patience` how long it may
/// make no progress, and `now` is taken for what begins.
pub fn store(
    state: &State,
    before: Option<&RolloutStatus>,
    patience: std::time::Duration,
    now: Timestamp,
) -> Option<RolloutStatus> {
    let Some(rollout) = &state.rollout else {
        // The last rollout stays to be read, without a step.
        return before.map(|last| RolloutStatus {
            step: None,
            progressed_at: None,
            deadline: None,
            ..last.clone()
        });
    };
    let id = format!("{}-{}", rollout.revision, rollout.started_at.as_second());
    let ours = before.filter(|last| last.id == id);
    let same_step = ours
        .and_then(|last| last.step.clone())
        .filter(|step| step.kind == rollout.stage.as_str());
    let in_load = rollout.stage == Stage::Load;
    let progressed_at = rollout.progressed_at.filter(|_| in_load);
    Some(RolloutStatus {
        id,
        revision: Some(rollout.revision.to_string()),
        started_at: Some(Time(rollout.started_at)),
        step: Some(same_step.unwrap_or_else(|| step(rollout.stage, now))),
        progressed_at: rollout.progressed_at.map(Time),
        deadline: progressed_at
            .and_then(|at| at.checked_add(patience).ok())
            .map(Time),
        ..ours.cloned().unwrap_or_default()
    })
}

fn step(stage: Stage, now: Timestamp) -> StepStatus {
    let since = match stage {
        Stage::Settle { since } => since,
        Stage::Load | Stage::Switch => now,
    };
    StepStatus {
        index: stage.index(),
        total: Stage::COUNT,
        kind: stage.as_str().to_owned(),
        started_at: Some(Time(since)),
    }
}
