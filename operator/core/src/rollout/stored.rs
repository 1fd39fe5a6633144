//! The state of a rollout as status stores it, and how it is rebuilt when a status is lost.
//!
//! Invariant: `load(store(state)) == state`.

use crds::v1alpha1::reward_model::status::{RewardModelStatus, RolloutStatus, StepStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::State;
use crate::identity::RevisionHash;
use crate::observed::record::{Record, Role};

/// What a rollout without steps does, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The new revision's pods start.
    Load,
    /// The Service leads to them.
    Switch,
    /// The node proxies follow.
    Settle,
}

impl StepKind {
    const ALL: [Self; 3] = [Self::Load, Self::Switch, Self::Settle];

    /// The word as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "Load",
            Self::Switch => "Switch",
            Self::Settle => "Settle",
        }
    }

    /// The step that a state is in.
    pub const fn of(state: &State) -> Option<Self> {
        match state {
            State::Empty | State::Steady { .. } => None,
            State::Preparing { .. } => Some(Self::Load),
            State::Promoting {
                settled_since: None,
                ..
            } => Some(Self::Switch),
            State::Promoting {
                settled_since: Some(_),
                ..
            } => Some(Self::Settle),
        }
    }
}

/// The state that a status tells of; where it has none, the one that the records tell of.
pub fn load(status: Option<&RewardModelStatus>, records: &[Record]) -> State {
    let hash = |revision: Option<&crds::v1alpha1::reward_model::status::RevisionStatus>| {
        revision.and_then(|revision| RevisionHash::parse(&revision.revision))
    };
    let stable = status.and_then(|status| hash(status.stable.as_ref()));
    let canary = status.and_then(|status| hash(status.canary.as_ref()));
    let previous = status.and_then(|status| hash(status.previous.as_ref()));
    if status.is_none_or(|status| status.phase.is_none()) {
        return rebuild(records);
    }
    match (stable, canary, previous) {
        (stable, Some(canary), _) => State::Preparing { stable, canary },
        (Some(stable), None, Some(previous)) => State::Promoting {
            stable,
            previous,
            settled_since: status.and_then(settled_since),
        },
        (Some(stable), None, None) => State::Steady { stable },
        (None, None, _) => State::Empty,
    }
}

fn settled_since(status: &RewardModelStatus) -> Option<Timestamp> {
    let step = status.rollout.as_ref()?.step.as_ref()?;
    (step.kind == StepKind::Settle.as_str()).then_some(step.started_at.as_ref()?.0)
}

fn rebuild(records: &[Record]) -> State {
    let with = |role| {
        let mut found: Vec<_> = records
            .iter()
            .filter(|record| record.role == role)
            .collect();
        found.sort_by_key(|record| record.number);
        found.last().map(|record| record.hash.clone())
    };
    match (with(Role::Stable), with(Role::Canary), with(Role::Previous)) {
        (stable, Some(canary), _) => State::Preparing { stable, canary },
        (Some(stable), None, Some(previous)) => State::Promoting {
            stable,
            previous,
            settled_since: None,
        },
        (Some(stable), None, None) => State::Steady { stable },
        (None, None, _) => State::Empty,
    }
}

/// The rollout as the status shows it: `before` is what it showed last, and `now` is taken for what
/// begins.
pub fn store(
    state: &State,
    before: Option<&RolloutStatus>,
    now: Timestamp,
) -> Option<RolloutStatus> {
    let Some(kind) = StepKind::of(state) else {
        // The last rollout stays to be read, without a step.
        return before.map(|last| RolloutStatus {
            step: None,
            ..last.clone()
        });
    };
    let revision = state
        .canary()
        .or_else(|| state.stable())
        .map(ToString::to_string)
        .unwrap_or_default();
    let ours = before.filter(|last| last.step.is_some() && last.id.starts_with(&revision));
    let started_at = ours
        .and_then(|last| last.started_at.clone())
        .unwrap_or(Time(now));
    let step = ours
        .and_then(|last| last.step.clone())
        .filter(|step| step.kind == kind.as_str())
        .unwrap_or_else(|| new_step(kind, state, now));
    Some(RolloutStatus {
        id: format!("{revision}-{}", started_at.0.as_second()),
        started_at: Some(started_at),
        step: Some(step),
        ..ours.cloned().unwrap_or_default()
    })
}

fn new_step(kind: StepKind, state: &State, now: Timestamp) -> StepStatus {
    let since = match state {
        State::Promoting {
            settled_since: Some(since),
            ..
        } => *since,
        State::Empty | State::Steady { .. } | State::Preparing { .. } | State::Promoting { .. } => {
            now
        }
    };
    let position = StepKind::ALL
        .iter()
        .position(|other| *other == kind)
        .unwrap_or_default();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    StepStatus {
        index: count(position + 1),
        total: count(StepKind::ALL.len()),
        kind: kind.as_str().to_owned(),
        started_at: Some(Time(since)),
    }
}
