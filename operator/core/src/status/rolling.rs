//! What is said of a rollout in flight, and of those who carry it out.

use crds::conditions::{
    AS_EXPECTED, ConditionType, NOT_YET_KNOWN, PausedReason, ReadyReason, ReconcilingReason,
};
use crds::v1alpha1::reward_model::status::Phase;

use k8s_openapi::jiff::Timestamp;

use super::conditions::{Claim, Truth};
use super::summary::Summary;
use crate::golden::Scoring;
use crate::reading::Reading;
use crate::reading::health::Health;
use crate::rollout::{self, Gating, Signals};
use crate::spec::Step;
use crate::state::{Rollout, Stage, State};

/// A rollout in one word and one sentence.
pub(super) fn of(
    reading: &Reading<'_>,
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Summary {
    let mut summary = so_far(reading, state, rollout, signals, now);
    let wanted = reading.target.revision() == Some(&rollout.revision);
    if wanted && !rollout.stage.is_leaving() && rollout.steps != signals.steps {
        summary.message +=
            "; the steps are those of its start, changed ones hold from the next rollout on";
    }
    // Whatever the revision's own pods do, nobody is answered without a router.
    if let Some(trouble) = reading.router_trouble() {
        let which = if reading.reports.live.is_empty() {
            "no router is ready"
        } else {
            "a router cannot start"
        };
        summary.message = format!("{}; {which}: {trouble}", summary.message);
    }
    summary
}

fn so_far(
    reading: &Reading<'_>,
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Summary {
    if !rollout.stage.is_leaving()
        && let Some(summary) = stopped(reading, rollout, signals, now)
    {
        return summary;
    }
    let revision = &rollout.revision;
    let moving = |phase, message: String| {
        Summary::new(phase, ReadyReason::Progressing, message)
            .reconciling(ReconcilingReason::ShiftingTraffic)
    };
    match rollout.stage {
        Stage::Load => preparing(reading, state, signals, rollout, now),
        Stage::Step { .. } if let Some(step) = measuring(rollout, signals) => step,
        Stage::Step { .. } => waiting(reading, signals, rollout).unwrap_or_else(|| {
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
                "revision {revision} has {} of the traffic; say approve to promote it: {}",
                rollout.weight,
                super::say(reading, "approve")
            ),
        )
        .paused(PausedReason::AwaitingApproval),
        Stage::Promote => waiting(reading, signals, rollout).unwrap_or_else(|| {
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
fn stopped(
    reading: &Reading<'_>,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Option<Summary> {
    let (revision, weight) = (&rollout.revision, rollout.weight);
    if reading.held() {
        let message = "suspend is true: the rollout in flight is held where it is; set spec.suspend to false to go on";
        return Some(
            Summary::new(Phase::Paused, ReadyReason::Suspended, message)
                .paused(PausedReason::UserRequested),
        );
    }
    let pause = |reason, message: String| {
        Some(Summary::new(Phase::Paused, ReadyReason::Progressing, message).paused(reason))
    };
    if rollout.paused {
        let message = format!(
            "revision {revision} stays at {weight} of the traffic until resume: {}",
            super::say(reading, "resume")
        );
        return pause(PausedReason::UserRequested, message);
    }
    if rollout::is_short(rollout, signals) {
        let message = format!(
            "{} pods of revision {revision} are ready, fewer than its {weight} of the traffic needs: it goes on when they are back",
            signals.canary.pods.ready
        );
        return pause(PausedReason::CanaryUnavailable, message);
    }
    if let Gating::Paused(reason, message) = rollout::gating(rollout, signals, now) {
        let how = super::say(reading, "VERB");
        return pause(reason, format!("{message} ({how})"));
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
            format!(
                "revision {revision} stays at {weight} of the traffic; say resume to go on: {}",
                super::say(reading, "resume")
            ),
        ),
        Some(Step::SetWeight(_) | Step::Shadow { .. } | Step::Gate { .. }) | None => None,
    }
}

/// A step that measures, while it does.
fn measuring(rollout: &Rollout, signals: &Signals) -> Option<Summary> {
    let (revision, weight) = (&rollout.revision, rollout.weight);
    let message = match rollout.step()? {
        Step::Shadow { percent, pairs, .. } => format!(
            "copies of {percent} of the requests go to revision {revision}: {} of {pairs} pairs of scores",
            signals.pairs
        ),
        Step::Gate { names, .. } => format!(
            "revision {revision} stays at {weight} of the traffic until it passes {}",
            names.join(", ")
        ),
        Step::SetWeight(_) | Step::Pause(_) => return None,
    };
    let reason = match rollout.step()? {
        Step::Shadow { .. } => ReconcilingReason::Shadowing,
        Step::Gate { .. } | Step::SetWeight(_) | Step::Pause(_) => {
            ReconcilingReason::ShiftingTraffic
        }
    };
    let summary = Summary::new(Phase::Progressing, ReadyReason::Progressing, message);
    Some(summary.reconciling(reason))
}

fn preparing(
    reading: &Reading<'_>,
    state: &State,
    signals: &Signals,
    rollout: &Rollout,
    now: Timestamp,
) -> Summary {
    let unproven = matches!(rollout::gating(rollout, signals, now), Gating::Waits(_));
    let (reason, message) = match &signals.canary.health {
        Health::Unschedulable { message, .. } => (
            ReconcilingReason::WaitingForCapacity,
            place(reading, message),
        ),
        Health::Starting { message, .. } => (ReconcilingReason::LoadingModel, message.clone()),
        Health::Ready if unproven => (
            ReconcilingReason::LoadingModel,
            Scoring::of(reading.observed, state)
                .map_or_else(|| "it scores the golden set".to_owned(), |it| it.words()),
        ),
        Health::Absent | Health::Ready | Health::Failed(_) | Health::Refused { .. } => (
            ReconcilingReason::LoadingModel,
            "its pods are being made".to_owned(),
        ),
    };
    let message = format!("revision {} starts: {message}", rollout.revision);
    Summary::new(Phase::Preparing, ReadyReason::Progressing, message).reconciling(reason)
}

/// The scheduler's words, and who has what pods wait for.
fn place(reading: &Reading<'_>, message: &str) -> String {
    match reading.holders() {
        Some(holders) => format!("{message} {holders}"),
        None => message.to_owned(),
    }
}

/// What the next share waits for, where it is a place.
fn waiting(reading: &Reading<'_>, signals: &Signals, rollout: &Rollout) -> Option<Summary> {
    let Health::Unschedulable { message, .. } = &signals.canary.health else {
        return None;
    };
    let message = format!(
        "revision {} has {} of the traffic and waits for room: {}",
        rollout.revision,
        rollout.weight,
        place(reading, message)
    );
    Some(
        Summary::new(Phase::Progressing, ReadyReason::Progressing, message)
            .reconciling(ReconcilingReason::WaitingForCapacity),
    )
}

/// Whether every router acts upon the table that was written last.
pub(super) fn routers(reading: &Reading<'_>, state: &State) -> Option<Claim> {
    // What a user has changed and does not see at work is said.
    let held_back = if state.rollout.is_some() && reading.router_differs() {
        "; what changed in spec.traffic or in the router's image waits for the end of the rollout"
    } else {
        ""
    };
    let claim = |status, reason, message: String| Claim {
        kind: ConditionType::RoutersInSync,
        status,
        reason,
        message,
    };
    let trouble = reading.router_trouble();
    if reading.reports.live.is_empty()
        && let Some(trouble) = &trouble
    {
        let message = format!("no router is ready: {trouble}");
        return Some(claim(Truth::False, "RoutersNotReady", message));
    }
    let also = trouble.map_or_else(String::new, |trouble| {
        format!("; another cannot start: {trouble}")
    });
    let all = reading.reports.acknowledged.as_ref()?;
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
                "{} of {} routers follow the traffic table{held_back}{also}",
                all.routers, all.of
            ),
        )
    } else {
        claim(
            Truth::False,
            "NotAcknowledged",
            format!(
                "routers that do not follow the traffic table yet: {}{also}",
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
