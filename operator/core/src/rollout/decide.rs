//! What a reading leads to: the command is obeyed, else the machine takes a step.
//!
//! Invariant: a command and a step of the machine are never one decision, so that what a command
//! changes is in the status before anything follows from it.

use std::time::Duration;

use crds::v1alpha1::reward_model::status::LastCommand;
use k8s_openapi::jiff::Timestamp;

use super::commands::{self, Acknowledgement, Command};
use super::{Ending, Signals, advance};
use crate::identity::{RevisionHash, Verification};
use crate::observed::annotation;
use crate::reading::Reading;
use crate::reading::resolution::Resolution;
use crate::state::{State, stored};

/// What was decided.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The state that is to be.
    pub(crate) state: State,
    /// The rollout that ended.
    pub(crate) ending: Option<Ending>,
    /// When to look again although nothing changes.
    pub(crate) wake_after: Option<Duration>,
    /// The command that was answered.
    pub(crate) acknowledged: Option<LastCommand>,
    /// Whether the state is another one than before.
    pub(crate) moved: bool,
    /// The word of the status that this version does not know; then nothing is done.
    pub(crate) unknown: Option<String>,
}

/// What `reading` leads to.
pub(crate) fn decide(reading: &Reading<'_>, now: Timestamp) -> Decision {
    match &reading.state {
        Err(word) => hold(reading, word, now),
        Ok(state) => match command(reading) {
            Command::None => step(reading, state, None, now),
            Command::Refused(refused) => step(reading, state, Some(refused.answer("", now)), now),
            Command::Abort(abort) => {
                let why = "this version of the operator aborts nothing but a rollout that another version has begun";
                step(reading, state, Some(abort.refuse(why).answer("", now)), now)
            }
            Command::Retry(retry) => match retried(reading, state, &retry) {
                Ok(state) => Decision {
                    state,
                    ending: None,
                    wake_after: None,
                    acknowledged: Some(retry.answer("the model is read and tried again", now)),
                    moved: true,
                    unknown: None,
                },
                Err(why) => step(
                    reading,
                    state,
                    Some(retry.refuse(&why).answer("", now)),
                    now,
                ),
            },
        },
    }
}

fn command(reading: &Reading<'_>) -> Command {
    let text = annotation(&reading.observed.model.metadata, crds::labels::COMMAND);
    commands::read(text, reading.before.last_command.as_ref())
}

fn step(
    reading: &Reading<'_>,
    state: &State,
    acknowledged: Option<LastCommand>,
    now: Timestamp,
) -> Decision {
    let transition = advance(state, &signals(reading, state), now);
    Decision {
        moved: transition.next != *state,
        state: transition.next,
        ending: transition.ending,
        wake_after: transition.wake_after,
        acknowledged,
        unknown: None,
    }
}

fn signals(reading: &Reading<'_>, state: &State) -> Signals {
    let scale = &reading.scale;
    // The old pods may hold the room that the last new ones wait for.
    let least = if state.previous().is_some() {
        scale.min_available.max(1).min(scale.replicas)
    } else {
        scale.replicas
    };
    let serves = |hash| reading.endpoints.only(hash, least);
    Signals {
        target: reading.target.clone(),
        held: reading.held(),
        canary: reading.health(state.canary()),
        previous: reading.health(state.previous()),
        stable_is_down: state
            .stable()
            .is_some_and(|hash| scale.replicas > 0 && !reading.has_ready_pods(hash)),
        only_stable_serves: state.stable().is_some_and(serves),
        patience: scale.progress_deadline,
    }
}

/// The state in which what failed is tried again, or why it is not.
fn retried(
    reading: &Reading<'_>,
    state: &State,
    command: &Acknowledgement,
) -> Result<State, String> {
    let target = reading.target.revision();
    if let Some(named) = command.revision()
        && target.is_none_or(|target| target.as_str() != named)
    {
        return Err(format!(
            "revision {named} is not the one that the spec asks for"
        ));
    }
    let failed = target.filter(|target| state.fleet.failed.contains(target));
    let unread = matches!(
        reading.resolution,
        Resolution::Failed(_) | Resolution::Late(_)
    );
    if failed.is_none() && !unread {
        return Err("nothing has failed that could be tried again".to_owned());
    }
    // The files may have been mended in place: nothing that is known of them counts any more.
    let mut next = state.clone();
    next.fleet.failed.retain(|hash| Some(hash) != failed);
    next.retried = Some(Verification {
        source: reading.wanted.source.clone(),
        attempt: reading.wanted.attempt.saturating_add(1),
    });
    Ok(next)
}

/// Another version has written a state that this one does not know: only a human's `abort` acts.
fn hold(reading: &Reading<'_>, word: &str, now: Timestamp) -> Decision {
    let state = stored::certain(&reading.before);
    let held = |acknowledged| Decision {
        state: state.clone(),
        ending: None,
        wake_after: None,
        acknowledged,
        moved: false,
        unknown: Some(word.to_owned()),
    };
    match command(reading) {
        Command::None => held(None),
        Command::Refused(refused) => held(Some(refused.answer("", now))),
        Command::Retry(retry) => {
            let why = "the status was written by another version of the operator: only abort acts";
            held(Some(retry.refuse(why).answer("", now)))
        }
        Command::Abort(abort) => Decision {
            ending: reading
                .before
                .canary
                .as_ref()
                .and_then(|canary| RevisionHash::parse(&canary.revision))
                .map(Ending::Aborted),
            acknowledged: Some(abort.answer("the rollout is given up", now)),
            moved: true,
            unknown: None,
            ..held(None)
        },
    }
}
