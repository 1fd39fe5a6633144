//! What a reading leads to: the command is obeyed, else the machine takes a step.
//!
//! Invariant: a command and a step of the machine are never one decision, so that what a command
//! changes is in the status before anything follows from it.

use std::time::Duration;

use crds::v1alpha1::reward_model::rollout::Strategy;
use crds::v1alpha1::reward_model::status::LastCommand;
use k8s_openapi::jiff::Timestamp;

use super::commands::{self, Acknowledgement, Command, Verb};
use super::obey::obey;
use super::{Ending, Signals, advance};
use crate::identity::{RevisionHash, Verification};
use crate::observed::annotation;
use crate::reading::Reading;
use crate::reading::resolution::Resolution;
use crate::spec;
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
            Command::Given(Verb::Retry, given) => match retried(reading, state, &given) {
                Ok(next) => done(next, None, &given, "the model is read and tried again", now),
                Err(why) => refuse(reading, state, given, &why, now),
            },
            Command::Given(verb, given) => {
                let signals = signals(reading, state);
                match obey(verb, &given, state, &signals, now) {
                    Ok(obeyed) => done(obeyed.next, obeyed.ending, &given, &obeyed.said, now),
                    Err(why) => refuse(reading, state, given, &why, now),
                }
            }
        },
    }
}

/// A command that was carried out: nothing else happens in this decision.
fn done(
    state: State,
    ending: Option<Ending>,
    given: &Acknowledgement,
    said: &str,
    now: Timestamp,
) -> Decision {
    Decision {
        state,
        ending,
        wake_after: None,
        acknowledged: Some(given.answer(said, now)),
        moved: true,
        unknown: None,
    }
}

fn refuse(
    reading: &Reading<'_>,
    state: &State,
    given: Acknowledgement,
    why: &str,
    now: Timestamp,
) -> Decision {
    step(reading, state, Some(given.refuse(why).answer("", now)), now)
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

/// What `state` is held against.
pub(crate) fn signals(reading: &Reading<'_>, state: &State) -> Signals {
    let recreates = reading.strategy == Strategy::Recreate;
    let alone = recreates || state.stable().is_none();
    Signals {
        target: reading.target.clone(),
        held: reading.held(),
        recreates,
        steps: spec::steps(&reading.observed.model.spec),
        requires_approval: reading.requires_approval(),
        limits: reading.scale.limits,
        stable: reading.side(state.stable(), false),
        canary: reading.side(state.canary(), alone),
        canary_is_made: state
            .canary()
            .is_some_and(|hash| reading.observed.children.deployment(hash).is_some()),
        routers: reading.routers(state),
        patience: reading.scale.progress_deadline,
        warm_for: reading.scale.warm_for,
    }
}

/// The state in which what failed is tried again, or why it is not.
fn retried(
    reading: &Reading<'_>,
    state: &State,
    command: &Acknowledgement,
) -> Result<State, String> {
    let target = reading.target.revision();
    if command.means_another(target) {
        return Err(format!(
            "revision {} is not the one that the spec asks for",
            command.revision().unwrap_or_default()
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
        Command::Given(Verb::Abort, abort) => Decision {
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
        Command::Given(_, given) => {
            let why = "the status was written by another version of the operator: only abort acts";
            held(Some(given.refuse(why).answer("", now)))
        }
    }
}
