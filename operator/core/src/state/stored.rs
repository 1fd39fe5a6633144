//! The state of a resource as its status stores it, and how it is rebuilt when a status is lost.
//!
//! Invariants: `load(store(state)) == state`; what a status does not say is never guessed from which
//! objects are there; a word that this version does not know is told, not read as something else.

use crds::v1alpha1::reward_model::status::{
    GateStatus, RevisionStatus, RewardModelStatus, RolloutStatus, StepStatus, VerificationStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use traffic::table::Table;

use super::{Fleet, Previous, Rollout, Stage, State, Step, tracks};
use crate::capacity::Percent;
use crate::identity::{RevisionHash, SourceKey, Verification};
use crate::records::{Record, Role};

/// The reason of a pause that a human asked for.
pub const USER_REQUESTED: &str = "UserRequested";

/// The state that a status tells of; where it has none, the one that the records and the traffic table
/// tell of, with the `steps` that the spec has.
///
/// # Errors
/// The word that this version does not know.
pub fn load(
    status: Option<&RewardModelStatus>,
    records: &[Record],
    table: Option<&Table>,
    steps: &[Step],
) -> Result<State, String> {
    let Some(status) = status.filter(|status| status.phase.is_some()) else {
        return Ok(rebuild(records, table, steps));
    };
    if let Some(word) = status.phase.as_ref().and_then(|phase| phase.unknown()) {
        return Err(format!("status.phase is {word:?}"));
    }
    let state = certain(status);
    let rollout = match &status.rollout {
        Some(rollout) => in_flight(status, rollout, &state.fleet)?,
        None => None,
    };
    let gates = tracks::load(status.gates.as_deref().unwrap_or_default())?;
    Ok(State {
        rollout,
        gates,
        ..state
    })
}

/// What a status says apart from a rollout in flight.
pub fn certain(status: &RewardModelStatus) -> State {
    let listed = status.failed_revisions.iter().flatten();
    State {
        fleet: Fleet {
            stable: hash(status.stable.as_ref()),
            previous: previous(status.previous.as_ref()),
            failed: listed
                .filter_map(|text| RevisionHash::parse(text))
                .collect(),
        },
        rollout: None,
        retried: status.verification.as_ref().map(|stored| Verification {
            source: SourceKey::from_status(&stored.source),
            attempt: stored.attempt,
        }),
        gates: Vec::new(),
    }
}

fn hash(revision: Option<&RevisionStatus>) -> Option<RevisionHash> {
    RevisionHash::parse(&revision?.revision)
}

fn previous(stored: Option<&RevisionStatus>) -> Option<Previous> {
    Some(Previous {
        revision: hash(stored)?,
        // One of the first version is kept for no time.
        warm_until: stored
            .and_then(|stored| stored.warm_until.as_ref())
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
    })
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
        "SetWeight" | "Pause" | "Shadow" | "Gate" | "Next" => Stage::Step {
            index: usize::try_from(step.index - 1).unwrap_or(0),
            since: since(&step.started_at).unwrap_or(started_at),
        },
        "Approval" => Stage::Approval,
        "Promote" => Stage::Promote,
        "Retreat" => Stage::Retreat,
        "RollBack" => Stage::RollBack,
        // The first version was done with its revision by then.
        "Switch" | "Settle" => return Ok(None),
        word => return Err(format!("status.rollout.step.kind is {word:?}")),
    };
    // Statuses of the first version name no revision beside the step.
    let named = rollout.revision.as_deref().and_then(RevisionHash::parse);
    let Some(revision) = named.or_else(|| hash(status.canary.as_ref())) else {
        return Ok(None);
    };
    let share = status.traffic.iter().flatten().find(|share| {
        share.revision == revision.as_str() && fleet.stable.as_ref() != Some(&revision)
    });
    let percent = |value: Option<i32>| Percent::clamped(value.unwrap_or(0));
    let reasons = rollout.pause_reasons.iter().flatten();
    Ok(Some(Rollout {
        started_at,
        progressed_at: since(&rollout.progressed_at),
        weight: percent(share.and_then(|share| share.spec_weight)),
        applied: percent(share.and_then(|share| share.applied_weight)),
        stage,
        paused: reasons.into_iter().any(|reason| reason == USER_REQUESTED),
        fast: rollout.fast == Some(true),
        borrows: rollout.borrows == Some(true),
        stable_lost_at: since(&rollout.stable_lost_at),
        steps: rollout
            .steps
            .iter()
            .flatten()
            .map(|words| Step::from_words(words))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("status.rollout.steps: {error}"))?,
        revision,
    }))
}

fn rebuild(records: &[Record], table: Option<&Table>, steps: &[Step]) -> State {
    let with = |role| {
        let found = records.iter().filter(move |record| record.role == role);
        found.max_by_key(|record| record.number)
    };
    let hash = |role| with(role).map(|record| record.hash.clone());
    let failed = records.iter().filter(|record| record.role == Role::Failed);
    let (stable, previous) = (hash(Role::Stable), hash(Role::Previous));
    let rollout = hash(Role::Canary)
        .map(|canary| begun(canary, table, steps))
        .or_else(|| taken_back(records, stable.as_ref(), table?));
    State {
        fleet: Fleet {
            stable,
            previous: previous.map(|revision| Previous {
                revision,
                warm_until: Timestamp::UNIX_EPOCH,
            }),
            failed: failed.map(|record| record.hash.clone()).collect(),
        },
        rollout,
        retried: records
            .iter()
            .filter_map(|record| record.verified.clone())
            .filter(|verified| verified.attempt > 0)
            .max_by_key(|verified| verified.attempt),
        gates: Vec::new(),
    }
}

/// A rollout whose status is lost: the table says what share it had and when it began, and its steps
/// are gone through again from there, without a share being taken back.
fn begun(canary: RevisionHash, table: Option<&Table>, steps: &[Step]) -> Rollout {
    let id = table
        .and_then(|table| table.rollout.clone())
        .unwrap_or_default();
    let started_at = id
        .strip_prefix(&format!("{canary}-"))
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let mut rows = table.into_iter().flat_map(Table::revisions);
    let row = rows.find(|row| {
        row.role == traffic::table::Role::Canary && row.revision.as_str() == canary.as_str()
    });
    let Some(row) = row else {
        return Rollout::new(canary, Stage::Load, steps.to_vec(), started_at);
    };
    let weight = Percent::clamped(i32::from(row.weight.get()) / 100);
    let stage = Stage::Step {
        index: 0,
        since: Timestamp::UNIX_EPOCH,
    };
    Rollout {
        weight,
        applied: weight,
        ..Rollout::new(canary, stage, steps.to_vec(), started_at)
    }
}

/// One that failed, and that routers may still send something: it stays until they are seen not to.
fn taken_back(records: &[Record], stable: Option<&RevisionHash>, table: &Table) -> Option<Rollout> {
    let row = table.row(traffic::table::Role::Canary)?;
    let mut failed = records.iter().filter(|record| record.role == Role::Failed);
    let failed = failed.find(|record| record.hash.as_str() == row.revision.as_str())?;
    (Some(&failed.hash) != stable).then(|| {
        let started_at = begun(failed.hash.clone(), Some(table), &[]).started_at;
        Rollout::taken_back(failed.hash.clone(), started_at)
    })
}

/// The reading of a source that counts, as the status shows it.
pub fn store_retried(state: &State) -> Option<VerificationStatus> {
    let retried = state.retried.as_ref()?;
    Some(VerificationStatus {
        source: retried.source.as_str().to_owned(),
        attempt: retried.attempt,
    })
}

/// The gates as the status shows them.
pub fn store_gates(state: &State) -> Option<Vec<GateStatus>> {
    tracks::store(&state.gates)
}

/// The rollout as the status shows it: `before` is what it showed last, `patience` is how long it may
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
            pause_reasons: None,
            fast: None,
            borrows: None,
            stable_lost_at: None,
            steps: None,
            ..last.clone()
        });
    };
    let id = rollout.id();
    let ours = before.filter(|last| last.id == id);
    let wanted = step(rollout, now);
    // A step has its own time, which `resume` gives anew; what else there is began when it was first shown.
    let is_timed = matches!(rollout.stage, Stage::Step { .. });
    let same_step = ours
        .and_then(|last| last.step.clone())
        .filter(|step| !is_timed && step.kind == wanted.kind && step.index == wanted.index);
    Some(RolloutStatus {
        id,
        revision: Some(rollout.revision.to_string()),
        started_at: Some(Time(rollout.started_at)),
        step: Some(same_step.unwrap_or(wanted)),
        progressed_at: rollout.progressed_at.map(Time),
        deadline: rollout
            .progressed_at
            .and_then(|at| at.checked_add(patience).ok())
            .map(Time),
        pause_reasons: rollout.paused.then(|| vec![USER_REQUESTED.to_owned()]),
        fast: rollout.fast.then_some(true),
        borrows: rollout.borrows.then_some(true),
        stable_lost_at: rollout.stable_lost_at.map(Time),
        steps: (!rollout.steps.is_empty())
            .then(|| rollout.steps.iter().map(Step::to_words).collect()),
        ..ours.cloned().unwrap_or_default()
    })
}

fn step(rollout: &Rollout, now: Timestamp) -> StepStatus {
    let total = rollout.steps.len();
    let (index, kind, since) = match rollout.stage {
        Stage::Load => (0, "Load", now),
        Stage::Step { index, since } => {
            // Behind the last one stands what follows.
            let kind = rollout.step().map_or("Next", Step::as_str);
            (index + 1, kind, since)
        }
        Stage::Approval => (total, "Approval", now),
        Stage::Promote => (total, "Promote", now),
        Stage::Retreat => (0, "Retreat", now),
        Stage::RollBack => (0, "RollBack", now),
    };
    let progress = match rollout.step() {
        Some(step) => format!("{index}/{total} {}", step.to_short_words()),
        None => kind.to_owned(),
    };
    StepStatus {
        index: i32::try_from(index).unwrap_or(i32::MAX),
        total: i32::try_from(total).unwrap_or(i32::MAX),
        progress,
        kind: kind.to_owned(),
        started_at: Some(Time(since)),
    }
}
