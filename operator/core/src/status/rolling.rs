//! What is said of a rollout in flight, and of those who carry it out.

use crds::conditions::{
    AS_EXPECTED, ConditionType, NOT_YET_KNOWN, PausedReason, ReadyReason, ReconcilingReason,
};
use crds::v1alpha1::reward_model::status::Phase;

use super::conditions::{Claim, Truth};
use super::summary::Summary;
use crate::reading::Reading;
use crate::reading::health::Health;
use crate::rollout::{self, Signals};
use crate::spec::Step;
use crate::state::{Rollout, Stage};

/// A rollout in one word and one sentence.
pub(super) fn of(reading: &Reading<'_>, rollout: &Rollout, signals: &Signals) -> Summary {
    if !rollout.stage.is_leaving()
        && let Some(summary) = stopped(reading, rollout, signals)
    {
        return summary;
    }
    let revision = &rollout.revision;
    let moving = |phase, message: String| {
        Summary::new(phase, ReadyReason::Progressing, message)
            .reconciling(ReconcilingReason::ShiftingTraffic)
    };
    match rollout.stage {
        Stage::Load => preparing(signals, rollout),
        Stage::Step { .. } => waiting(signals, rollout).unwrap_or_else(|| {
            let goal = rollout::goal(rollout);
            let message = format!(
                "revision {revision} has {} of the traffic, on its way to {goal}",
                rollout.weight
            );
            moving(Phase::Progressing, message)
        }),
        Stage::Approval => Summary::new(
            Phase::Paused,
            ReadyReason::Progressing,
            format!(
                "revision {revision} has {} of the traffic; say approve to promote it",
                rollout.weight
            ),
        )
        .paused(PausedReason::AwaitingApproval),
        Stage::Promote => waiting(signals, rollout).unwrap_or_else(|| {
            let message = format!("traffic moves to revision {revision}: {}", rollout.weight);
            moving(Phase::Promoting, message)
        }),
        Stage::Retreat => moving(
            Phase::RollingBack,
            format!(
                "revision {revision} is not wanted any more: it keeps {} of the traffic until the stable revision can carry it",
                rollout.weight
            ),
        ),
        Stage::RollBack => Summary::new(
            Phase::RollingBack,
            ReadyReason::RolledBack,
            format!("revision {revision} gets nothing any more"),
        )
        .reconciling(ReconcilingReason::RollingBack),
    }
}

/// Why it stays where it is on purpose.
fn stopped(reading: &Reading<'_>, rollout: &Rollout, signals: &Signals) -> Option<Summary> {
    let (revision, weight) = (&rollout.revision, rollout.weight);
    if reading.held() {
        let message = "suspend is true: the rollout in flight is held where it is";
        return Some(
            Summary::new(Phase::Paused, ReadyReason::Suspended, message)
                .paused(PausedReason::UserRequested),
        );
    }
    let pause = |reason, message: String| {
        Some(Summary::new(Phase::Paused, ReadyReason::Progressing, message).paused(reason))
    };
    if rollout.paused {
        let message = format!("revision {revision} stays at {weight} of the traffic until resume");
        return pause(PausedReason::UserRequested, message);
    }
    if rollout::is_short(rollout, signals) {
        let message = format!(
            "{} pods of revision {revision} are ready, fewer than its {weight} of the traffic needs: it goes on when they are back",
            signals.canary.pods.ready
        );
        return pause(PausedReason::CanaryUnavailable, message);
    }
    match rollout.step() {
        Some(Step::Pause(Some(duration))) => pause(
            PausedReason::PauseStep,
            format!(
                "revision {revision} stays at {weight} of the traffic for {} s",
                duration.as_secs()
            ),
        ),
        Some(Step::Pause(None)) => pause(
            PausedReason::PauseStep,
            format!("revision {revision} stays at {weight} of the traffic; say resume to go on"),
        ),
        Some(Step::SetWeight(_)) | None => None,
    }
}

fn preparing(signals: &Signals, rollout: &Rollout) -> Summary {
    let (reason, message) = match &signals.canary.health {
        Health::Unschedulable { message } => {
            (ReconcilingReason::WaitingForCapacity, message.clone())
        }
        Health::Starting { message, .. } => (ReconcilingReason::LoadingModel, message.clone()),
        Health::Absent | Health::Ready | Health::Failed(_) | Health::Refused { .. } => (
            ReconcilingReason::LoadingModel,
            "its pods are being made".to_owned(),
        ),
    };
    let message = format!("revision {} starts: {message}", rollout.revision);
    Summary::new(Phase::Preparing, ReadyReason::Progressing, message).reconciling(reason)
}

/// What the next share waits for, where it is a place.
fn waiting(signals: &Signals, rollout: &Rollout) -> Option<Summary> {
    let Health::Unschedulable { message } = &signals.canary.health else {
        return None;
    };
    let message = format!(
        "revision {} has {} of the traffic and waits for room: {message}",
        rollout.revision, rollout.weight
    );
    Some(
        Summary::new(Phase::Progressing, ReadyReason::Progressing, message)
            .reconciling(ReconcilingReason::WaitingForCapacity),
    )
}

/// Whether every router acts upon the table that was written last.
pub(super) fn routers(reading: &Reading<'_>) -> Option<Claim> {
    let all = reading.reports.acknowledged.as_ref()?;
    let claim = |status, reason, message: String| Claim {
        kind: ConditionType::RoutersInSync,
        status,
        reason,
        message,
    };
    Some(if all.of == 0 {
        claim(
            Truth::Unknown,
            NOT_YET_KNOWN,
            "no router is ready".to_owned(),
        )
    } else if all.by_all() {
        claim(
            Truth::True,
            AS_EXPECTED,
            format!(
                "{} of {} routers follow the traffic table",
                all.routers, all.of
            ),
        )
    } else {
        claim(
            Truth::False,
            "NotAcknowledged",
            format!(
                "routers that do not follow the traffic table yet: {}",
                all.missing.join(", ")
            ),
        )
    })
}

/// How the canary is doing.
pub(super) fn canary(rollout: &Rollout, signals: &Signals) -> Claim {
    let claim = |status, reason, message: String| Claim {
        kind: ConditionType::CanaryHealthy,
        status,
        reason,
        message,
    };
    match signals.harm() {
        Some(failure) => claim(
            Truth::False,
            failure.reason.as_str(),
            failure.message.clone(),
        ),
        None if rollout.stage == Stage::RollBack => claim(
            Truth::False,
            ReconcilingReason::RollingBack.as_str(),
            "it failed".to_owned(),
        ),
        None if signals.canary.serves() => claim(
            Truth::True,
            AS_EXPECTED,
            format!("{} pods are ready", signals.canary.pods.ready),
        ),
        None => claim(
            Truth::Unknown,
            NOT_YET_KNOWN,
            "none of its pods is ready yet".to_owned(),
        ),
    }
}
