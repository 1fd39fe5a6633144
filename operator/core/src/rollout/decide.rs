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
use super::{Ending, Signals, Watched, advance};
use crate::gates::{self, Gate, Kind};
use crate::golden;
use crate::identity::{RevisionHash, Verification};
use crate::observed::annotation;
use crate::reading::resolution::Resolution;
use crate::reading::{Reading, Side};
use crate::spec;
use crate::state::{Rollout, Stage, State, stored};

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
                let signals = signals(reading, state, now);
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
    let command = commands::read(text, reading.before.last_command.as_ref());
    // With the status its answer is lost: nobody knows whether it was carried out.
    let is_lost = reading.before.phase.is_none() && !reading.records.is_empty();
    match command {
        Command::Given(_, given) if is_lost => Command::Refused(given.refuse(
            "the status was lost, and with it whether this was carried out: give it again with another nonce",
        )),
        Command::Given(..) | Command::Refused(_) | Command::None => command,
    }
}

fn step(
    reading: &Reading<'_>,
    state: &State,
    acknowledged: Option<LastCommand>,
    now: Timestamp,
) -> Decision {
    let transition = advance(state, &signals(reading, state, now), now);
    Decision {
        moved: transition.next != *state,
        state: transition.next,
        ending: transition.ending,
        wake_after: transition.wake_after,
        acknowledged,
        unknown: None,
    }
}

/// Whether the new revision takes its share beside the old one: a rollout that began so ends so, whatever
/// strategy the spec asks for now. That is the next one's.
pub(super) fn is_beside(state: &State, stable: &Side) -> bool {
    match state.rollout.as_ref().map(|rollout| rollout.stage) {
        // Who is on its way out has served beside the other.
        Some(Stage::Step { .. } | Stage::Approval | Stage::Retreat | Stage::RollBack) => true,
        Some(Stage::Promote) => stable.pods.wanted > 0,
        Some(Stage::Load) | None => false,
    }
}

/// What `state` is held against.
pub(crate) fn signals(reading: &Reading<'_>, state: &State, now: Timestamp) -> Signals {
    let stable = reading.side(state.stable(), false);
    let recreates = reading.strategy == Strategy::Recreate && !is_beside(state, &stable);
    let alone = recreates || state.stable().is_none();
    let read = reading.gates();
    let mut gathered = reading.observed.gathered.clone();
    gathered.measurements.extend(read.iter().filter_map(|gate| {
        let measured = golden::measurement(gate, reading.observed, state)?;
        Some((gate.name.clone(), measured))
    }));
    // A golden gate is looked at again when something is there to see, of which its Job tells.
    let timed: Vec<Gate> = read
        .iter()
        .filter(|gate| {
            !matches!(gate.kind, Kind::Golden(_)) || gathered.measurements.contains_key(&gate.name)
        })
        .cloned()
        .collect();
    let looked = read.iter().filter_map(|gate| {
        let track = gates::look(gate, state, &gathered, now)?;
        Some(Watched::of(gate, track))
    });
    let watched: Vec<Watched> = looked.collect();
    // A gate that was looked at just now is looked at again an interval later.
    let after = State {
        gates: watched.iter().map(|gate| gate.track.clone()).collect(),
        ..state.clone()
    };
    Signals {
        target: reading.target.clone(),
        held: reading.held(),
        waits_its_turn: !reading.observed.elsewhere.lets_one_start()
            || (reading.experiment().is_some() && state.stable().is_some()),
        recreates,
        steps: spec::steps(&reading.observed.model.spec),
        requires_approval: reading.requires_approval(),
        limits: reading.scale.limits,
        stable,
        canary: reading.side(state.canary(), alone),
        canary_is_made: state
            .canary()
            .is_some_and(|hash| reading.observed.children.deployment(hash).is_some()),
        routers: reading.routers(state),
        no_room: reading.scale.no_room,
        patience: reading.scale.progress_deadline,
        warm_for: reading.scale.warm_for,
        gates: watched,
        pairs: gathered.pairs,
        next_look: gates::due(&timed, &after, now).1,
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

fn canary(reading: &Reading<'_>) -> Option<RevisionHash> {
    let canary = reading.before.canary.as_ref()?;
    RevisionHash::parse(&canary.revision)
}

/// The state in which what another version has brought is taken back, as far as it is known.
fn taken_back(state: &State, reading: &Reading<'_>, now: Timestamp) -> State {
    let mut next = state.clone();
    let Some(canary) = canary(reading).filter(|canary| state.stable() != Some(canary)) else {
        return next;
    };
    next.fleet.brand(&canary);
    if state.stable().is_some() {
        let begun = reading.before.rollout.as_ref();
        let begun = begun.and_then(|rollout| rollout.started_at.as_ref());
        next.rollout = Some(Rollout::taken_back(
            canary,
            begun.map_or(now, |time| time.0),
        ));
    }
    next
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
            state: taken_back(&state, reading, now),
            ending: canary(reading).map(Ending::Aborted),
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
