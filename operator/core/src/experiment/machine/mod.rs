//! What happens next to an experiment: the one total function that moves its state.
//!
//! ```text
//! Pending ─ready, nobody else has the endpoint▶ Running(epoch) ─verdict▶ Decided ─done▶ Applied
//! Running ─what is compared changes▶ Running(next epoch)      Decided, Applied ─the same▶ Running(next epoch)
//! ```
//!
//! It must not know how evidence came to be. Invariants: an experiment that is out of force deals to nobody;
//! a verdict is terminal for its epoch; only a change of what is compared opens another; time that runs
//! backwards has not passed; a command is answered once, and one that makes no sense changes nothing.

mod conclude;
mod epoch;
mod obey;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::conditions::ExperimentStalledReason;
use crds::v1alpha1::ab_experiment::OnLoss;
use crds::v1alpha1::reward_model::status::LastCommand;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::seen::{Model, Rival, Seen};
use super::spec::Design;
use super::standing::Promotion;
use super::state::{Action, Conclusion, Epoch, State};

/// What an experiment waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// `schedule.startAt`.
    Start(Timestamp),
    /// A variant cannot serve yet, in words.
    Variants(String),
    /// The endpoint's own rollout.
    Rollout,
}

/// Where it stands, in the words of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun.
    Pending(Waiting),
    /// Users are dealt and counted.
    Running,
    /// A human has asked it to stay where it is.
    Paused,
    /// `spec.suspend`.
    Suspended,
    /// A verdict waits for a human.
    AwaitingApproval,
    /// What follows from a verdict is on its way.
    Applying,
    /// It is done.
    Applied,
    /// A human is needed.
    Stalled(ExperimentStalledReason, String),
}

/// What is to be told as an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// In one word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The next state.
    pub state: State,
    /// Where it stands then.
    pub standing: Standing,
    /// What was asked for, where it can be read.
    pub design: Option<Design>,
    /// Whether users are dealt by it.
    pub in_force: bool,
    /// A command that was answered.
    pub acknowledged: Option<LastCommand>,
    /// Events.
    pub notices: Vec<Notice>,
}

/// How long an analysis has run: never less than nothing.
pub fn elapsed(since: Option<Timestamp>, now: Timestamp) -> Duration {
    let passed = since.map(|since| now.duration_since(since));
    passed
        .and_then(|passed| Duration::try_from(passed).ok())
        .unwrap_or_default()
}

/// The next step.
pub fn step(seen: &Seen<'_>) -> Step {
    let status = seen.experiment.status.as_ref();
    let state = match State::read(status) {
        Ok(state) => state,
        Err(what) => {
            let message = format!(
                "the status was written by another version of the operator: {what}; run that version, or delete the experiment"
            );
            let standing = Standing::Stalled(ExperimentStalledReason::UnknownState, message);
            return stay(State::default(), standing, None);
        }
    };
    let endpoint = seen.models.get(&seen.experiment.spec.endpoint.name);
    let key = endpoint.and_then(|endpoint| endpoint.key.as_ref());
    let design = Design::read(seen.experiment, key).and_then(|design| supported(design, seen));
    let design = match design {
        Ok(design) => design,
        Err(why) => {
            let standing = Standing::Stalled(ExperimentStalledReason::InvalidSpec, why);
            return obey::refused(stay(state, standing, None), seen);
        }
    };
    let mut step = stay(state, Standing::Running, Some(design.clone()));
    let held = epoch::reopen(&mut step, seen, &design);
    epoch::retire(&mut step, seen, &design);
    step.standing = match (&step.state.conclusion, held) {
        (Some(_), Some(conflict)) => conflict,
        (Some(_), None) => concluded(&step.state),
        (None, _) => open(&mut step, seen, &design, endpoint),
    };
    obey::obey(&mut step, seen, &design);
    if step.standing == Standing::Running
        && let Some(look) = seen.look.filter(|_| !is_new(&step, seen))
    {
        lose(&mut step, look, &design);
        conclude::weigh(&mut step, look, &design, seen.now);
    }
    apply(&mut step, seen);
    step.in_force = is_in_force(&step);
    if let Some(why) = super::table::refusal(&step, seen) {
        step.standing = Standing::Stalled(ExperimentStalledReason::InvalidSpec, why);
        step.in_force = false;
    }
    step
}

/// A design whose metrics somebody can be asked for.
fn supported(design: Design, seen: &Seen<'_>) -> Result<Design, String> {
    let mut metrics = design.metrics.iter();
    let asks = metrics.find(|metric| metric.source.query().is_some());
    match asks.filter(|_| !seen.asks_prometheus) {
        None => Ok(design),
        Some(metric) => Err(format!(
            "metric {} asks a Prometheus, and this operator was told of none: set its flag --prometheus-url",
            metric.name
        )),
    }
}

fn stay(state: State, standing: Standing, design: Option<Design>) -> Step {
    Step {
        state,
        standing,
        design,
        in_force: false,
        acknowledged: None,
        notices: Vec::new(),
    }
}

/// Whether the epoch is another than the look is of.
fn is_new(step: &Step, seen: &Seen<'_>) -> bool {
    let status = seen.experiment.status.as_ref();
    let before = status.and_then(|status| status.epoch.as_ref());
    let before = before.and_then(|epoch| u64::try_from(epoch.id).ok());
    before != step.state.epoch.as_ref().map(|epoch| epoch.id)
}

/// Where one without a verdict stands; opens its epoch where it can begin.
fn open(step: &mut Step, seen: &Seen<'_>, design: &Design, endpoint: Option<&Model>) -> Standing {
    let invalid = |message| Standing::Stalled(ExperimentStalledReason::InvalidVariant, message);
    let Some(endpoint) = endpoint else {
        return invalid(format!(
            "the endpoint {} is not there: create the RewardModel, or delete this experiment",
            design.endpoint
        ));
    };
    if design.suspend {
        return Standing::Suspended;
    }
    if let Some(first) = first(seen, step.state.epoch.is_some()) {
        return conflict(first, design);
    }
    if step.state.epoch.is_none() {
        if let Some(start) = design.start_at.filter(|start| *start > seen.now) {
            return Standing::Pending(Waiting::Start(start));
        }
        if endpoint.rolling {
            return Standing::Pending(Waiting::Rollout);
        }
        for variant in &design.variants {
            match seen.models.get(&variant.model) {
                None => {
                    return invalid(format!(
                        "variant {}: the RewardModel {} is not there: create it, or name another",
                        variant.name, variant.model
                    ));
                }
                Some(model) if model.revision.is_none() || !model.ready => {
                    return Standing::Pending(Waiting::Variants(format!(
                        "variant {} waits for the RewardModel {} to have a ready stable revision",
                        variant.name, variant.model
                    )));
                }
                Some(_) => {}
            }
        }
    }
    epoch::advance(step, seen, design);
    if let Some(gone) = deserted(step, seen, design) {
        return invalid(gone);
    }
    if step.state.paused {
        Standing::Paused
    } else {
        Standing::Running
    }
}

/// Why nobody is left to be compared: RewardModels that are gone, or were. Others that are left go on without
/// them.
fn deserted(step: &Step, seen: &Seen<'_>, design: &Design) -> Option<String> {
    let gone = epoch::deserter(&step.state, seen, design)?;
    Some(format!(
        "variant {}: the RewardModel {} is gone, and no other variant is left to compare: everybody is control's; create it again, and the experiment begins anew, or end it with the command abort",
        gone.name, gone.model
    ))
}

fn conflict(first: &Rival, design: &Design) -> Standing {
    let message = format!(
        "the experiment {} has the endpoint {}: this one waits until that one has a verdict or is deleted",
        first.name, design.endpoint
    );
    Standing::Stalled(ExperimentStalledReason::EndpointConflict, message)
}

/// The one of several that has the endpoint, where it is another: one that has begun, else the oldest.
fn first<'a>(seen: &'a Seen<'_>, has_begun: bool) -> Option<&'a Rival> {
    let created = seen.experiment.creation_timestamp().map(|time| time.0);
    let ours = Rival {
        name: seen.experiment.name_any(),
        created,
        has_begun,
    };
    let order = |rival: &Rival| {
        let created = rival.created.unwrap_or(Timestamp::MAX);
        (!rival.has_begun, created, rival.name.clone())
    };
    let others = seen.rivals.iter().filter(|rival| rival.name != ours.name);
    others
        .min_by_key(|rival| order(rival))
        .filter(|rival| order(rival) < order(&ours))
}

/// Candidates that harm, or are gone, are out: their users are control's.
fn lose(step: &mut Step, look: &super::analysis::Look, design: &Design) {
    if design.policy.on_loss == OnLoss::Report {
        return;
    }
    for out in &look.out {
        let before = step
            .state
            .out
            .insert(out.candidate.clone(), out.why.clone());
        if before.is_none() {
            step.notices.push(Notice {
                reason: "VariantRolledBack",
                message: format!("variant {}: {}", out.candidate, out.why),
            });
        }
    }
}

fn concluded(state: &State) -> Standing {
    match &state.conclusion {
        Some(conclusion) if conclusion.applied_at.is_some() => Standing::Applied,
        Some(conclusion) if conclusion.approved_at.is_none() => Standing::AwaitingApproval,
        Some(_) => Standing::Applying,
        None => Standing::Running,
    }
}

/// Notes when what follows from a verdict is done.
fn apply(step: &mut Step, seen: &Seen<'_>) {
    let Some(conclusion) = &mut step.state.conclusion else {
        return;
    };
    let done = match conclusion.action {
        Action::Report => true,
        Action::ReturnToControl => !seen.dealt,
        Action::Promote => match seen.promotion {
            Promotion::Done(variant) => Some(variant) == conclusion.variant.as_ref(),
            Promotion::UnderWay | Promotion::GivenUp(_) | Promotion::Overtaken(_) => false,
        },
    };
    if done && conclusion.approved_at.is_some() && conclusion.applied_at.is_none() {
        conclusion.applied_at = Some(seen.now);
        step.notices.push(Notice {
            reason: "Applied",
            message: conclusion.message.clone(),
        });
    }
    step.standing = match &step.standing {
        Standing::Stalled(reason, message) => Standing::Stalled(*reason, message.clone()),
        Standing::Pending(_)
        | Standing::Running
        | Standing::Paused
        | Standing::Suspended
        | Standing::AwaitingApproval
        | Standing::Applying
        | Standing::Applied => concluded(&step.state),
    };
    if step.standing == Standing::Applying
        && let Some(message) = seen.promotion.failure(&seen.experiment.spec.endpoint.name)
    {
        step.standing = Standing::Stalled(ExperimentStalledReason::PromotionFailed, message);
    }
}

/// Users stay in their arms while a promotion is on its way, so that nobody goes back to control and comes
/// again; and where only a report was asked for.
fn is_in_force(step: &Step) -> bool {
    let suspended = step.design.as_ref().is_none_or(|design| design.suspend);
    let splits = match (&step.standing, &step.state.conclusion) {
        (Standing::Running | Standing::Paused, None) => true,
        (_, Some(conclusion)) => match conclusion.action {
            Action::Report => true,
            Action::ReturnToControl => false,
            Action::Promote => conclusion.applied_at.is_none(),
        },
        (_, None) => false,
    };
    let stalled = matches!(step.standing, Standing::Stalled(..));
    splits && !suspended && !stalled && step.state.epoch.is_some()
}
