//! The whole in one word and one sentence, and the conditions that follow from it.
//!
//! Invariant: Ready is True only while nothing is in flight and nothing is wrong, so that
//! `kubectl wait` and Argo CD may rely on it alone.

use crds::conditions::{
    AS_EXPECTED, AvailableReason, ConditionType, NOT_YET_KNOWN, PausedReason, ReadyReason,
    ReconcilingReason, StalledReason,
};
use crds::v1alpha1::reward_model::status::Phase;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::{Claim, Truth};
use super::rolling;
use crate::Failure;
use crate::capacity::Percent;
use crate::reading::health::Health;
use crate::reading::resolution::Resolution;
use crate::reading::{Reading, Route};
use crate::rollout::{Decision, Signals, commands};
use crate::state::{State, Target};

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
    pub(super) fn new(phase: Phase, ready: ReadyReason, message: impl Into<String>) -> Self {
        Self {
            phase,
            message: message.into(),
            ready,
            reconciling: None,
            paused: None,
        }
    }

    pub(super) fn reconciling(mut self, reason: ReconcilingReason) -> Self {
        self.reconciling = Some(reason);
        self
    }

    pub(super) fn paused(mut self, reason: PausedReason) -> Self {
        self.paused = Some(reason);
        self
    }
}

/// Sums `reading` and what was decided up.
pub(super) fn of(
    reading: &Reading<'_>,
    decision: &Decision,
    signals: &Signals,
    problem: Option<&Failure>,
    now: Timestamp,
) -> Summary {
    let state = &decision.state;
    if let Some(failure) = problem {
        return stalled(reading, state, failure);
    }
    match &state.rollout {
        None => at_rest(reading, state),
        Some(rollout) => rolling::of(reading, state, rollout, signals, now),
    }
}

/// What is claimed of a resource whose status has the unknown `word`.
pub(super) fn held(word: &str) -> Vec<Claim> {
    let message = format!(
        "{word}, a word of another version of the operator: weights and pods stay as they are; upgrade this operator, or give the rollout up with the command abort"
    );
    let claim = |kind, status, reason| Claim {
        kind,
        status,
        reason,
        message: message.clone(),
    };
    vec![
        claim(
            ConditionType::Ready,
            Truth::False,
            ReadyReason::Stalled.as_str(),
        ),
        claim(
            ConditionType::Stalled,
            Truth::True,
            StalledReason::UnknownState.as_str(),
        ),
    ]
}

fn suspended(message: &str) -> Summary {
    Summary::new(Phase::Paused, ReadyReason::Suspended, message).paused(PausedReason::UserRequested)
}

fn stalled(reading: &Reading<'_>, state: &State, failure: &Failure) -> Summary {
    let target = reading.target.revision();
    let taken_back = target.is_some_and(|hash| state.fleet.failed.contains(hash));
    let ready = if taken_back && state.stable().is_some() {
        ReadyReason::RolledBack
    } else {
        ReadyReason::Stalled
    };
    let message = match state.stable() {
        Some(stable) if target != Some(stable) => {
            format!("{failure}; revision {stable} keeps serving")
        }
        Some(_) | None => failure.to_string(),
    };
    let flight = state
        .rollout
        .as_ref()
        .filter(|flight| flight.weight > Percent::NONE);
    let message = match flight {
        Some(flight) => format!(
            "{message}, and revision {} its {} % of the traffic",
            flight.revision,
            flight.weight.get()
        ),
        None => message,
    };
    Summary::new(Phase::Degraded, ready, message)
}

fn at_rest(reading: &Reading<'_>, state: &State) -> Summary {
    let stable = state.stable();
    if stable.is_some() && stable == reading.target.revision() {
        return serving(reading, state);
    }
    if reading.held() {
        return suspended(
            "suspend is true: the new revision is not started; set spec.suspend to false to start it",
        );
    }
    if let Some(name) = reading
        .experiment()
        .filter(|_| reading.waits_to_begin(state))
    {
        let message = format!(
            "experiment {name} compares models here: the new revision starts when it is over; abort ends it: {}",
            commands::line(
                "abx",
                &reading.observed.model.namespace().unwrap_or_default(),
                name,
                "abort"
            )
        );
        return Summary::new(Phase::Paused, ReadyReason::Progressing, message)
            .paused(PausedReason::ExperimentRunning);
    }
    if reading.waits_its_turn(state) {
        let message = format!(
            "{} other RewardModels load a model, as many as may at once: the new revision starts when one is done",
            reading.observed.elsewhere.loading
        );
        return Summary::new(Phase::Pending, ReadyReason::Progressing, message)
            .reconciling(ReconcilingReason::WaitingForCapacity);
    }
    match (&reading.target, &reading.resolution) {
        (
            Target::BeingRead,
            Resolution::Running {
                message,
                unschedulable,
                ..
            },
        ) => {
            let reason = if *unschedulable {
                ReconcilingReason::WaitingForCapacity
            } else {
                ReconcilingReason::Resolving
            };
            Summary::new(Phase::Resolving, ReadyReason::Progressing, message.clone())
                .reconciling(reason)
        }
        (Target::BeingRead | Target::Unavailable | Target::Revision { .. }, _) => Summary::new(
            Phase::Pending,
            ReadyReason::Progressing,
            "the new revision is going to start",
        )
        .reconciling(ReconcilingReason::LoadingModel),
    }
}

fn serving(reading: &Reading<'_>, state: &State) -> Summary {
    let scale = &reading.scale;
    let ready = state.stable().map_or(0, |hash| super::ready(reading, hash));
    let enough = ready >= scale.min_available.max(1).min(scale.replicas);
    let degraded = |message| Summary::new(Phase::Degraded, ReadyReason::ReplicasNotReady, message);
    let growing = |message, reason| {
        Summary::new(Phase::Progressing, ReadyReason::ReplicasNotReady, message).reconciling(reason)
    };
    match reading.health(state.stable()) {
        Health::Ready if reading.traffic_differs() => {
            let message = if reading.observed.elsewhere.lets_one_start() {
                "the routers are exchanged for what spec.traffic says now"
            } else {
                "what spec.traffic says now is not in force yet: as many other RewardModels are at work as may at once"
            };
            growing(message.to_owned(), ReconcilingReason::WaitingForCapacity)
        }
        Health::Ready if let Some(message) = reading.router_waits() => {
            growing(message, ReconcilingReason::LoadingModel)
        }
        Health::Ready if let Route::Waits(message) = reading.route() => {
            Summary::new(Phase::Progressing, ReadyReason::Progressing, message)
                .reconciling(ReconcilingReason::ShiftingTraffic)
        }
        Health::Ready => {
            let message = match scale.replicas {
                0 => "scaled to zero".to_owned(),
                1 => "1 replica serves".to_owned(),
                count => format!("{count} replicas serve"),
            };
            if reading.is_ahead {
                let message = format!(
                    "{message}; an experiment has promoted this model ahead of spec.model: write it there"
                );
                return Summary::new(Phase::Ready, ReadyReason::PromotedAheadOfSpec, message);
            }
            Summary::new(Phase::Ready, ReadyReason::RolloutComplete, message)
        }
        Health::Starting { message, fresh, .. } if enough && fresh => {
            growing(message, ReconcilingReason::LoadingModel)
        }
        Health::Unschedulable { message, .. } if enough => {
            growing(message, ReconcilingReason::WaitingForCapacity)
        }
        Health::Starting { message, .. }
        | Health::Unschedulable { message, .. }
        | Health::Refused { message }
        | Health::Failed(Failure { message, .. }) => degraded(message),
        Health::Absent => degraded("the Deployment is being made again".to_owned()),
    }
}

impl Summary {
    /// The conditions.
    pub(super) fn conditions(
        &self,
        reading: &Reading<'_>,
        state: &State,
        signals: &Signals,
        problem: Option<&Failure>,
    ) -> Vec<Claim> {
        let mut claims = vec![
            Claim {
                kind: ConditionType::Ready,
                status: Truth::of(matches!(
                    self.ready,
                    ReadyReason::RolloutComplete | ReadyReason::PromotedAheadOfSpec
                )),
                reason: self.ready.as_str(),
                message: self.message.clone(),
            },
            available(reading, state),
            verified(reading, state),
        ];
        claims.extend(rolling::routers(reading, state));
        claims.extend(
            state
                .rollout
                .as_ref()
                .map(|rollout| rolling::canary(rollout, signals)),
        );
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

fn available(reading: &Reading<'_>, state: &State) -> Claim {
    let wanted = reading.scale.replicas;
    let least = reading.scale.min_available.max(1).min(wanted);
    let serving = state.serving();
    let ready: i32 = serving.iter().map(|hash| super::ready(reading, hash)).sum();
    let unreachable = wanted > 0 && reading.has_no_router_yet(state);
    let serves = !serving.is_empty() && ready >= least && !unreachable;
    let reason = match (wanted, serves) {
        (0, true) => AvailableReason::ScaledToZero,
        (_, true) => AvailableReason::MinimumReplicas,
        (_, false) => AvailableReason::NoReadyReplicas,
    };
    Claim {
        kind: ConditionType::Available,
        status: Truth::of(serves),
        reason: reason.as_str(),
        message: if unreachable && ready >= least && !serving.is_empty() {
            format!(
                "{ready} replicas are ready, and no router has been yet: nobody is answered; RoutersInSync says what the routers wait for"
            )
        } else {
            counted(ready, wanted, least)
        },
    }
}

/// How many serve. More than are wanted is no fault: a rollout has both revisions, and who leaves takes its time.
fn counted(ready: i32, wanted: i32, least: i32) -> String {
    if ready > wanted {
        return format!(
            "{ready} replicas are ready, {} more than the {wanted} that are wanted: while a rollout or a scale-down is under way; {least} have to be",
            ready.saturating_sub(wanted)
        );
    }
    format!("{ready} replicas are ready of {wanted} that are wanted; {least} have to be")
}

/// The digest that is told is of what serves: one that was given up serves nobody.
fn verified(reading: &Reading<'_>, state: &State) -> Claim {
    let claim = |status, reason, message: &str| Claim {
        kind: ConditionType::ModelVerified,
        status,
        reason,
        message: message.to_owned(),
    };
    let target = reading.target.revision();
    let given_up = target.is_some_and(|hash| state.fleet.failed.contains(hash));
    let stable = state
        .stable()
        .filter(|stable| given_up && target != Some(*stable));
    let served = stable.and_then(|stable| {
        let digest = reading.record(stable)?.digest.as_ref()?;
        Some(format!(
            "the files of revision {stable}, which serves, are {digest}"
        ))
    });
    match (&reading.resolution, &reading.source) {
        (Resolution::Known { .. }, _) if let Some(served) = &served => {
            claim(Truth::True, AS_EXPECTED, served)
        }
        (Resolution::Known { digest, .. }, _) => {
            claim(Truth::True, AS_EXPECTED, &format!("the files are {digest}"))
        }
        (Resolution::Failed(failure), _) | (Resolution::Running { .. }, Err(failure)) => {
            claim(Truth::False, failure.reason.as_str(), &failure.message)
        }
        (Resolution::Running { message, .. }, Ok(_)) => {
            claim(Truth::Unknown, NOT_YET_KNOWN, message)
        }
        (Resolution::Late(failure), _) => claim(Truth::Unknown, NOT_YET_KNOWN, &failure.message),
    }
}
