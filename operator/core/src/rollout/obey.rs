//! What a command does to a state.
//!
//! Invariants: a command that makes no sense now changes nothing and says why; one that names a
//! revision that is not the one in question is a stale click.

use crds::conditions::StalledReason;
use k8s_openapi::jiff::Timestamp;

use super::advance::{beyond, entered, started, with};
use super::commands::{Acknowledgement, Verb};
use super::leave::{self, Manner};
use super::{Ending, Signals};
use crate::Failure;
use crate::identity::RevisionHash;
use crate::spec::Step;
use crate::state::{Rollout, Stage, State};

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obeyed {
    pub(super) next: State,
    pub(super) ending: Option<Ending>,
    /// What was done, for whoever gave it.
    pub(super) said: String,
}

impl Obeyed {
    fn to(next: State, said: impl Into<String>) -> Self {
        Self {
            next,
            ending: None,
            said: said.into(),
        }
    }
}

/// What `verb` makes of `state`, or why nothing. `retry` is none of these: it is about a reading.
pub(super) fn obey(
    verb: Verb,
    given: &Acknowledgement,
    state: &State,
    signals: &Signals,
    now: Timestamp,
) -> Result<Obeyed, String> {
    if verb == Verb::Rollback {
        return roll_back(given, state, signals, now);
    }
    let Some(rollout) = &state.rollout else {
        return Err("no rollout is in flight".to_owned());
    };
    let revision = &rollout.revision;
    if given.means_another(Some(revision)) {
        return Err(format!(
            "the revision in flight is {revision}, another one than the command names"
        ));
    }
    if rollout.stage.is_leaving() {
        return Err(format!("revision {revision} is being taken back already"));
    }
    match verb {
        Verb::Abort => Ok(abort(state, revision)),
        Verb::Promote => promote(state, rollout, now),
        Verb::Pause if rollout.paused => Err("the rollout is paused already".to_owned()),
        Verb::Pause => Ok(Obeyed::to(
            with(state, |rollout| rollout.paused = true),
            "the rollout stays where it is until resume",
        )),
        Verb::Resume => resume(state, rollout, now),
        Verb::Approve => approve(state, rollout, now),
        Verb::SkipStep => skip(state, rollout, now),
        Verb::Rollback | Verb::Retry => Err("it is about no rollout in flight".to_owned()),
    }
}

fn abort(state: &State, revision: &RevisionHash) -> Obeyed {
    let ended = leave::begin(state, Manner::AtOnce, Ending::Aborted(revision.clone()));
    Obeyed {
        next: ended.next,
        ending: ended.ending,
        said: "the rollout is given up".to_owned(),
    }
}

fn promote(state: &State, rollout: &Rollout, now: Timestamp) -> Result<Obeyed, String> {
    if rollout.stage == Stage::Promote {
        return Err("the revision is being promoted already".to_owned());
    }
    let next = with(state, |rollout| {
        rollout.fast = true;
        rollout.paused = false;
    });
    if rollout.stage == Stage::Load {
        return Ok(Obeyed::to(
            next,
            "its steps are skipped once its pods are ready",
        ));
    }
    Ok(Obeyed::to(
        entered(&next, Stage::Promote, now),
        "what was left of the steps is skipped, without a verdict",
    ))
}

fn resume(state: &State, rollout: &Rollout, now: Timestamp) -> Result<Obeyed, String> {
    if rollout.paused {
        let next = with(state, |rollout| rollout.paused = false);
        return Ok(Obeyed::to(next, "the rollout goes on"));
    }
    match (rollout.stage, rollout.step()) {
        (Stage::Step { index, .. }, Some(Step::Pause(_))) => {
            Ok(Obeyed::to(beyond(state, index, now), "the pause is over"))
        }
        (Stage::Approval, _) => Err("it waits for approval: say approve".to_owned()),
        (
            Stage::Step { .. } | Stage::Load | Stage::Promote | Stage::Retreat | Stage::RollBack,
            _,
        ) => Err("the rollout is not paused".to_owned()),
    }
}

fn approve(state: &State, rollout: &Rollout, now: Timestamp) -> Result<Obeyed, String> {
    if rollout.stage != Stage::Approval {
        return Err("the rollout does not wait for approval (yet)".to_owned());
    }
    Ok(Obeyed::to(entered(state, Stage::Promote, now), "approved"))
}

fn skip(state: &State, rollout: &Rollout, now: Timestamp) -> Result<Obeyed, String> {
    match (rollout.stage, rollout.step()) {
        (Stage::Step { index, .. }, Some(step)) => Ok(Obeyed::to(
            beyond(state, index, now),
            format!("step {} ({}) is skipped", index + 1, step.as_str()),
        )),
        (
            Stage::Step { .. }
            | Stage::Load
            | Stage::Approval
            | Stage::Promote
            | Stage::Retreat
            | Stage::RollBack,
            _,
        ) => Err("the rollout is at no step".to_owned()),
    }
}

/// Back to the revision before; the one that serves is not tried again.
fn roll_back(
    given: &Acknowledgement,
    state: &State,
    signals: &Signals,
    now: Timestamp,
) -> Result<Obeyed, String> {
    if state.rollout.is_some() {
        return Err("a rollout is in flight: say abort".to_owned());
    }
    let (Some(previous), Some(stable)) = (state.previous(), state.stable()) else {
        return Err(
            "no earlier revision is kept warm: apply the manifest of the one that you want"
                .to_owned(),
        );
    };
    if given.means_another(Some(stable)) {
        return Err(format!(
            "the revision that serves is {stable}, another one than the command names"
        ));
    }
    let mut next = started(state, previous, Stage::Promote, signals, now);
    next.fleet.failed.retain(|hash| hash != previous);
    next.fleet.brand(stable);
    let failure = Failure::new(
        StalledReason::AbortedByUser,
        format!("taken back to revision {previous} by the command rollback"),
    );
    Ok(Obeyed {
        next,
        ending: Some(Ending::Failed(stable.clone(), failure)),
        said: format!("back to revision {previous}"),
    })
}
