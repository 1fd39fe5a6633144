//! Commands: `approve | abort | pause | resume`, each answered once.

use std::time::Duration;

use crds::labels;
use crds::v1alpha1::ab_experiment::status::Verdict;
use kube::ResourceExt;

use super::super::seen::Seen;
use super::super::spec::Design;
use super::super::state::ABORTED;
use super::conclude::conclude;
use super::{Action, Standing, Step, concluded, elapsed, epoch};
use crate::rollout::commands::{self, Acknowledgement, Command, Verb};

/// How long an approved promotion may be at rest before it can be given up: it begins within seconds.
const STUCK: Duration = Duration::from_mins(1);

fn given(seen: &Seen<'_>) -> Command {
    let annotation = seen.experiment.annotations().get(labels::COMMAND);
    let status = seen.experiment.status.as_ref();
    let last = status.and_then(|status| status.last_command.as_ref());
    match commands::read(annotation.map(String::as_str), last) {
        // With the status its answer is lost: nobody knows whether it was carried out.
        Command::Given(_, given) if status.is_none_or(|status| status.phase.is_none()) => {
            Command::Refused(given.refuse(
                "there was no status yet, or it was lost, and with it whether this was carried out: give it again with another nonce",
            ))
        }
        command @ (Command::Given(..) | Command::Refused(_) | Command::None) => command,
    }
}

/// Nothing can be done where the spec cannot be read.
pub(super) fn refused(mut step: Step, seen: &Seen<'_>) -> Step {
    step.acknowledged = match given(seen) {
        Command::None => None,
        Command::Given(_, given) => Some(
            given
                .refuse("the spec cannot be read: repair it first, or delete the experiment")
                .answer("", seen.now),
        ),
        Command::Refused(given) => Some(given.answer("", seen.now)),
    };
    step
}

/// Does what is asked for, or says why not.
pub(super) fn obey(step: &mut Step, seen: &Seen<'_>, design: &Design) {
    let (verb, given) = match given(seen) {
        Command::None => return,
        Command::Refused(given) => {
            step.acknowledged = Some(given.answer("", seen.now));
            return;
        }
        Command::Given(verb, given) => (verb, given),
    };
    let done = match verb {
        Verb::Approve => approve(step, seen, design, &given).map(str::to_owned),
        Verb::Abort => abort(step, seen, design),
        Verb::Pause => pause(step).map(str::to_owned),
        Verb::Resume => resume(step).map(str::to_owned),
        Verb::Promote | Verb::Rollback | Verb::Retry | Verb::SkipStep => {
            Err("an experiment knows approve, abort, pause and resume".to_owned())
        }
    };
    step.acknowledged = Some(match done {
        Ok(said) => given.answer(&said, seen.now),
        Err(why) => given.refuse(&why).answer("", seen.now),
    });
}

fn approve(
    step: &mut Step,
    seen: &Seen<'_>,
    design: &Design,
    given: &Acknowledgement,
) -> Result<&'static str, String> {
    let conclusion = step.state.conclusion.as_mut();
    let conclusion = conclusion.filter(|conclusion| conclusion.approved_at.is_none());
    let Some(conclusion) = conclusion else {
        return Err("nothing waits for an approval".to_owned());
    };
    let variant = conclusion.variant.clone().unwrap_or_default();
    if given.revision().is_some_and(|named| named != variant) {
        return Err(format!(
            "{variant} is to be promoted, another one than the command names"
        ));
    }
    let of = design.variants.iter().find(|one| one.name == variant);
    let model = of.and_then(|one| seen.models.get(&one.model));
    let now = model.and_then(|model| model.revision.as_ref());
    let epoch = step.state.epoch.as_ref();
    if now.is_none() || now != epoch.and_then(|epoch| epoch.revisions.get(&variant)) {
        return Err(format!(
            "the RewardModel of {variant} has another revision than the one that won: compare that one in another epoch"
        ));
    }
    conclusion.approved_at = Some(seen.now);
    step.standing = concluded(&step.state);
    Ok("approved")
}

fn abort(step: &mut Step, seen: &Seen<'_>, design: &Design) -> Result<String, String> {
    let done = step.state.conclusion.as_ref();
    if done.is_some_and(|conclusion| conclusion.applied_at.is_some()) {
        return Err("the experiment is over: delete it".to_owned());
    }
    let is_approved = done.is_some_and(|conclusion| conclusion.approved_at.is_some());
    let endpoint = &seen.experiment.spec.endpoint.name;
    // Where nothing moves there is no rollout that could be aborted instead.
    let approved = done.and_then(|conclusion| conclusion.approved_at);
    let waits = elapsed(approved, seen.now) > STUCK
        && seen
            .models
            .get(endpoint)
            .is_none_or(|endpoint| !endpoint.rolling);
    if is_approved && !waits && seen.promotion.failure(endpoint).is_none() {
        return Err(
            "its verdict is being applied: abort the endpoint's rollout instead".to_owned(),
        );
    }
    // What is let go by it is said, or nobody would expect it.
    let waiting = seen.models.get(endpoint).filter(|endpoint| endpoint.waits);
    let waiting = waiting.map_or_else(String::new, |_| {
        format!(
            "; the spec of the RewardModel {endpoint} asks for another revision, which has waited for the end of this experiment and is rolled out now"
        )
    });
    let outcome = (
        Verdict::Inconclusive,
        None,
        ABORTED,
        format!("aborted by a human: everybody is control's{waiting}"),
        Action::ReturnToControl,
    );
    epoch::settle(step, design);
    conclude(step, design, seen.now, outcome);
    step.standing = concluded(&step.state);
    Ok(format!("aborted: everybody is control's{waiting}"))
}

fn pause(step: &mut Step) -> Result<&'static str, String> {
    if step.state.conclusion.is_some() {
        return Err("it has a verdict: there is nothing to pause".to_owned());
    }
    if step.state.paused {
        return Err("it is paused already".to_owned());
    }
    step.state.paused = true;
    if step.standing == Standing::Running {
        step.standing = Standing::Paused;
    }
    Ok("paused: users stay in their arms, and nothing is decided")
}

fn resume(step: &mut Step) -> Result<&'static str, String> {
    if !step.state.paused {
        return Err("it is not paused".to_owned());
    }
    step.state.paused = false;
    if step.standing == Standing::Paused {
        step.standing = Standing::Running;
    }
    Ok("resumed")
}
