//! The whole in one word and one sentence, and the conditions that follow from it.
//!
//! Invariant: Ready is True only while nothing is in flight and nothing is wrong, so that
//! `kubectl wait` and Argo CD may rely on it alone.

use crds::conditions::{
    AS_EXPECTED, AvailableReason, ConditionType, NOT_YET_KNOWN, PausedReason, ReadyReason,
    ReconcilingReason,
};
use crds::v1alpha1::reward_model::status::Phase;

use super::conditions::{Claim, Truth};
use crate::Failure;
use crate::observed::health::Health;
use crate::observed::record::Role;
use crate::plan::Reading;
use crate::resolve::Resolution;
use crate::rollout::State;

/// The whole in one word and one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) phase: Phase,
    pub(super) message: String,
    ready: ReadyReason,
    reconciling: Option<ReconcilingReason>,
    paused: Option<PausedReason>,
}

impl Summary {
    fn new(phase: Phase, ready: ReadyReason, message: impl Into<String>) -> Self {
        Self {
            phase,
            message: message.into(),
            ready,
            reconciling: None,
            paused: None,
        }
    }

    fn reconciling(mut self, reason: ReconcilingReason) -> Self {
        self.reconciling = Some(reason);
        self
    }
}

/// Sums `reading` up.
pub(super) fn of(reading: &Reading<'_>, problem: Option<&Failure>) -> Summary {
    if let Some(failure) = problem {
        return stalled(reading, failure);
    }
    match &reading.state {
        State::Preparing { canary, .. } => preparing(reading, canary.as_str()),
        State::Promoting { stable, .. } => Summary::new(
            Phase::Promoting,
            ReadyReason::Progressing,
            format!("traffic moves to revision {stable}"),
        )
        .reconciling(ReconcilingReason::ShiftingTraffic),
        State::Empty | State::Steady { .. } => at_rest(reading),
    }
}

fn stalled(reading: &Reading<'_>, failure: &Failure) -> Summary {
    let target = reading.target.as_ref();
    let taken_back = target
        .and_then(|hash| reading.record(hash))
        .is_some_and(|record| record.role == Role::Failed);
    let serves = reading.state.stable().is_some();
    let ready = if taken_back && serves {
        ReadyReason::RolledBack
    } else {
        ReadyReason::Stalled
    };
    let message = match reading.state.stable() {
        Some(stable) if target != Some(stable) => {
            format!(
                "{}: {}; revision {stable} keeps serving",
                failure.reason, failure.message
            )
        }
        Some(_) | None => format!("{}: {}", failure.reason, failure.message),
    };
    Summary::new(Phase::Degraded, ready, message)
}

fn preparing(reading: &Reading<'_>, canary: &str) -> Summary {
    let (reason, message) = match reading.health(reading.state.canary()) {
        Health::Unschedulable { message } => (ReconcilingReason::WaitingForCapacity, message),
        Health::Starting { message } => (ReconcilingReason::LoadingModel, message),
        Health::Absent | Health::Ready | Health::Failed(_) | Health::Refused { .. } => (
            ReconcilingReason::LoadingModel,
            "its pods are being made".to_owned(),
        ),
    };
    let message = format!("revision {canary} starts: {message}");
    Summary::new(Phase::Preparing, ReadyReason::Progressing, message).reconciling(reason)
}

fn at_rest(reading: &Reading<'_>) -> Summary {
    let stable = reading.state.stable();
    if stable.is_some() && stable == reading.target.as_ref() {
        return serving(reading);
    }
    if reading.held() {
        let message = "suspend is true: the new revision is not started";
        let mut summary = Summary::new(Phase::Paused, ReadyReason::Suspended, message);
        summary.paused = Some(PausedReason::UserRequested);
        return summary;
    }
    match &reading.resolution {
        Resolution::Running {
            message,
            unschedulable,
        } => {
            let reason = if *unschedulable {
                ReconcilingReason::WaitingForCapacity
            } else {
                ReconcilingReason::Resolving
            };
            Summary::new(Phase::Resolving, ReadyReason::Progressing, message.clone())
                .reconciling(reason)
        }
        Resolution::Known(_) | Resolution::Failed(_) => Summary::new(
            Phase::Pending,
            ReadyReason::Progressing,
            "the new revision is going to start",
        )
        .reconciling(ReconcilingReason::LoadingModel),
    }
}

fn serving(reading: &Reading<'_>) -> Summary {
    let wanted = reading.scale.replicas;
    match reading.health(reading.state.stable()) {
        Health::Ready => {
            let message = match wanted {
                0 => "scaled to zero".to_owned(),
                1 => "1 replica serves".to_owned(),
                _ => format!("{wanted} replicas serve"),
            };
            Summary::new(Phase::Ready, ReadyReason::RolloutComplete, message)
        }
        Health::Starting { message }
        | Health::Unschedulable { message }
        | Health::Refused { message }
        | Health::Failed(Failure { message, .. }) => {
            Summary::new(Phase::Degraded, ReadyReason::ReplicasNotReady, message)
        }
        Health::Absent => Summary::new(
            Phase::Degraded,
            ReadyReason::ReplicasNotReady,
            "the Deployment is being made again",
        ),
    }
}

impl Summary {
    /// The conditions.
    pub(super) fn conditions(
        &self,
        reading: &Reading<'_>,
        problem: Option<&Failure>,
    ) -> Vec<Claim> {
        let mut claims = vec![
            Claim {
                kind: ConditionType::Ready,
                status: Truth::of(self.ready == ReadyReason::RolloutComplete),
                reason: self.ready.as_str(),
                message: self.message.clone(),
            },
            available(reading),
            verified(reading),
        ];
        let present = [
            (
                ConditionType::Reconciling,
                self.reconciling.map(ReconcilingReason::as_str),
            ),
            (ConditionType::Paused, self.paused.map(PausedReason::as_str)),
        ];
        claims.extend(present.into_iter().filter_map(|(kind, reason)| {
            Some(Claim {
                kind,
                status: Truth::True,
                reason: reason?,
                message: self.message.clone(),
            })
        }));
        claims.extend(problem.map(|failure| Claim {
            kind: ConditionType::Stalled,
            status: Truth::True,
            reason: failure.reason.as_str(),
            message: failure.message.clone(),
        }));
        claims
    }
}

fn available(reading: &Reading<'_>) -> Claim {
    let wanted = reading.scale.replicas;
    let least = reading.scale.min_available.max(1).min(wanted);
    let ready = reading
        .state
        .stable()
        .map_or(0, |hash| super::ready(reading, hash));
    let serves = reading.state.stable().is_some() && ready >= least;
    let reason = match (wanted, serves) {
        (0, true) => AvailableReason::ScaledToZero,
        (_, true) => AvailableReason::MinimumReplicas,
        (_, false) => AvailableReason::NoReadyReplicas,
    };
    Claim {
        kind: ConditionType::Available,
        status: Truth::of(serves),
        reason: reason.as_str(),
        message: format!("{ready} of {wanted} replicas are ready; {least} have to be"),
    }
}

fn verified(reading: &Reading<'_>) -> Claim {
    let kind = ConditionType::ModelVerified;
    match (&reading.resolution, &reading.source) {
        (Resolution::Known(facts), _) => Claim {
            kind,
            status: Truth::True,
            reason: AS_EXPECTED,
            message: format!("the files are {}", facts.digest),
        },
        (Resolution::Failed(failure), _) | (Resolution::Running { .. }, Err(failure)) => Claim {
            kind,
            status: Truth::False,
            reason: failure.reason.as_str(),
            message: failure.message.clone(),
        },
        (Resolution::Running { message, .. }, Ok(_)) => Claim {
            kind,
            status: Truth::Unknown,
            reason: NOT_YET_KNOWN,
            message: message.clone(),
        },
    }
}
