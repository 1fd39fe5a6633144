//! What a command does to a state.
//!
//! Invariants: a command that makes no sense now changes nothing and says why; one that names a
//! revision that is not the one in question is a stale click.

use crds::conditions::StalledReason;
use k8s_openapi::jiff::Timestamp;

use super::advance::{beyond, entered, with};
use super::commands::{Acknowledgement, Verb};
use super::gating::{Gating, gating};
use super::leave::{self, Manner};
use super::rest::sent_back;
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
        Verb::Promote => promote(state, rollout, signals, now),
        Verb::Pause => pause(state, rollout),
        Verb::Resume => resume(state, rollout, signals, now),
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

fn promote(
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Result<Obeyed, String> {
    if let Some(failure) = signals.failed_gate() {
        return Err(format!("it is going back: {}", failure.message));
    }
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
            format!(
                "its steps are skipped once its pods are ready{}",
                skipped(rollout, signals)
            ),
        ));
    }
    Ok(Obeyed::to(
        entered(&next, Stage::Promote, now),
        format!(
            "what was left of the steps is skipped, without a verdict{}",
            skipped(rollout, signals)
        ),
    ))
}

/// The gates that a promotion goes past without their having passed: those that are looked at, and those
/// that only a later step would have mentioned.
fn skipped(rollout: &Rollout, signals: &Signals) -> String {
    let mentioned = rollout.steps.iter().flat_map(|step| match step {
        Step::Gate { names, .. } => names.as_slice(),
        Step::SetWeight(_) | Step::Pause(_) | Step::Shadow { .. } => &[],
    });
    let unseen = mentioned
        .map(String::as_str)
        .filter(|name| signals.gates.iter().all(|gate| gate.track.gate != *name));
    let mut names: Vec<&str> = signals.without_pass();
    names.extend(unseen);
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        String::new()
    } else {
        format!(" of the gates {}", names.join(", "))
    }
}

fn pause(state: &State, rollout: &Rollout) -> Result<Obeyed, String> {
    if rollout.paused {
        return Err("the rollout is paused already".to_owned());
    }
    // A second pause on top would take two words to end.
    match (rollout.stage, rollout.step()) {
        (Stage::Step { .. }, Some(Step::Pause(None))) => {
            return Err("it is at a pause already: say resume to go on".to_owned());
        }
        (Stage::Approval, _) => return Err("it waits for approval already".to_owned()),
        (
            Stage::Step { .. } | Stage::Load | Stage::Promote | Stage::Retreat | Stage::RollBack,
            _,
        ) => {}
    }
    Ok(Obeyed::to(
        with(state, |rollout| rollout.paused = true),
        "the rollout stays where it is until resume",
    ))
}

fn resume(
    state: &State,
    rollout: &Rollout,
    signals: &Signals,
    now: Timestamp,
) -> Result<Obeyed, String> {
    let stopped = match gating(rollout, signals, now) {
        Gating::Paused(_, why) => Some(why),
        Gating::Open | Gating::Waits(_) => None,
    };
    if rollout.paused {
        let next = with(state, |rollout| rollout.paused = false);
        return Ok(Obeyed::to(next, "the rollout goes on"));
    }
    if let Some(why) = stopped {
        let next = anew(state, now);
        // What no time can mend is said.
        return match gating_of(&next, signals, now) {
            Some(Gating::Paused(..)) => Err(why),
            Some(Gating::Open | Gating::Waits(_)) | None => Ok(Obeyed::to(
                next,
                "the step and its gates have their time again",
            )),
        };
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

/// The state in which the step that is stopped begins anew, and its gates' missed looks are forgiven.
fn anew(state: &State, now: Timestamp) -> State {
    let mut next = with(state, |rollout| {
        if let Stage::Step { since, .. } = &mut rollout.stage {
            *since = now;
        }
    });
    next.gates = next
        .gates
        .into_iter()
        .map(|track| track.forgiven(now))
        .collect();
    next
}

/// What the gates make of `state` once its tracks are what is known.
fn gating_of(state: &State, signals: &Signals, now: Timestamp) -> Option<Gating> {
    let mut signals = signals.clone();
    for gate in &mut signals.gates {
        let mut tracks = state.gates.iter();
        if let Some(track) = tracks.find(|track| track.gate == gate.track.gate) {
            gate.track = track.clone();
        }
    }
    Some(gating(state.rollout.as_ref()?, &signals, now))
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
    let next = sent_back(state, previous, signals, now);
    let failure = Failure::new(
        StalledReason::AbortedByUser,
        format!("taken back to revision {previous} by the command rollback; retry tries it again"),
    );
    Ok(Obeyed {
        next,
        ending: Some(Ending::Failed(stable.clone(), failure)),
        said: format!("back to revision {previous}"),
    })
}
