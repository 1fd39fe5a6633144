//! Which gates are looked at in a state, and what a look at all of them leaves.
//!
//! Invariant: a gate is looked at from its first mention to the end of the rollback window; a golden one
//! from the start. What is not looked at stays as it was.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::gate::{Gate, Kind};
use super::measurement::Gathered;
use super::track::Track;
use crate::spec::Step;
use crate::state::{Stage, State};

/// Whether `gate` is looked at in `state`.
pub(crate) fn active(gate: &Gate, state: &State, now: Timestamp) -> bool {
    let begun = state.gates.iter().any(|track| track.gate == gate.name);
    let Some(rollout) = &state.rollout else {
        let window = state.fleet.previous.as_ref();
        return begun && window.is_some_and(|previous| now < previous.warm_until);
    };
    match rollout.stage {
        Stage::Load => matches!(gate.kind, Kind::Golden(_)),
        Stage::Step { index, .. } => {
            let so_far = rollout.steps.iter().take(index.saturating_add(1));
            begun || so_far.into_iter().any(|step| mentions(step, gate))
        }
        Stage::Approval | Stage::Promote => begun,
        Stage::Retreat | Stage::RollBack => false,
    }
}

fn mentions(step: &Step, gate: &Gate) -> bool {
    match step {
        Step::Gate { names, .. } => names.contains(&gate.name),
        Step::SetWeight(_) | Step::Pause(_) | Step::Shadow { .. } => false,
    }
}

/// The gates that are to be measured now, and until the next is.
pub fn due<'g>(
    gates: &'g [Gate],
    state: &State,
    now: Timestamp,
) -> (Vec<&'g Gate>, Option<Duration>) {
    let active: Vec<(&Gate, Duration)> = gates
        .iter()
        .filter(|gate| active(gate, state, now))
        .map(|gate| (gate, until(gate, state, now)))
        .collect();
    let next = active.iter().map(|(_, until)| *until);
    let next = next.filter(|until| !until.is_zero()).min();
    let due = active.into_iter().filter(|(_, until)| until.is_zero());
    (due.map(|(gate, _)| gate).collect(), next)
}

fn until(gate: &Gate, state: &State, now: Timestamp) -> Duration {
    let track = state.gates.iter().find(|track| track.gate == gate.name);
    track.map_or(Duration::ZERO, |track| track.next_look(gate, now))
}

/// The track of `gate` after a look at what was gathered; `None` where it is not looked at and never was.
pub(crate) fn look(
    gate: &Gate,
    state: &State,
    gathered: &Gathered,
    now: Timestamp,
) -> Option<Track> {
    let before = state.gates.iter().find(|track| track.gate == gate.name);
    if !active(gate, state, now) {
        return before.cloned();
    }
    let track = before
        .cloned()
        .unwrap_or_else(|| Track::new(&gate.name, now));
    Some(match gathered.measurements.get(&gate.name) {
        Some(measurement) => track.look(gate, measurement, now),
        None => track,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gates::{Labelled, Measurement, read};
    use crate::identity::RevisionHash;
    use crate::state::{Fleet, Previous, Rollout};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hash(digit: u8) -> RevisionHash {
        RevisionHash::parse(&format!("{digit:010x}")).unwrap()
    }

    /// A golden gate, and one that step 2 mentions.
    fn gates() -> Vec<Gate> {
        let written = json!({
            "gates": [
                {"name": "set", "golden": {"minAccuracy": "0.7"}},
                {"name": "people", "preferences": {"minAccuracy": "0.7"}},
            ],
            "steps": [{"setWeight": 10}, {"gate": {"names": ["people"]}}, {"pause": {}}],
            "goldenSet": {"configMapRef": {"name": "set", "key": "pairs.jsonl"}},
        });
        read(&serde_json::from_value(written).unwrap()).unwrap()
    }

    fn rolling(stage: Stage) -> State {
        let words = ["SetWeight 10", "Gate people within 60s", "Pause"];
        let steps = words.map(|words| Step::from_words(words).unwrap()).to_vec();
        State {
            fleet: Fleet {
                stable: Some(hash(1)),
                ..Fleet::default()
            },
            rollout: Some(Rollout::new(hash(2), stage, steps, at(0))),
            ..State::default()
        }
    }

    fn looked_at(state: &State, second: i64) -> Vec<String> {
        let gates = gates();
        let active = gates.iter().filter(|gate| active(gate, state, at(second)));
        active.map(|gate| gate.name.clone()).collect()
    }

    #[test]
    fn a_gate_is_looked_at_from_its_first_mention_and_a_golden_one_from_the_start() {
        let step = |index| Stage::Step {
            index,
            since: at(0),
        };
        assert_eq!(looked_at(&rolling(Stage::Load), 0), ["set"]);
        assert!(looked_at(&rolling(step(0)), 0).is_empty());
        assert_eq!(looked_at(&rolling(step(1)), 0), ["people"]);
        assert_eq!(looked_at(&rolling(step(2)), 0), ["people"]);
        // Who goes back to what was warm has mentioned none.
        assert!(looked_at(&rolling(Stage::Promote), 0).is_empty());
    }

    #[test]
    fn what_has_begun_goes_on_to_the_end_of_the_rollback_window() {
        let mut state = rolling(Stage::Promote);
        state.gates = vec![Track::new("people", at(0))];
        for stage in [Stage::Approval, Stage::Promote] {
            state.rollout.as_mut().unwrap().stage = stage;
            assert_eq!(looked_at(&state, 0), ["people"]);
        }
        state.rollout.as_mut().unwrap().stage = Stage::RollBack;
        assert!(looked_at(&state, 0).is_empty());
        state.rollout = None;
        assert!(looked_at(&state, 0).is_empty(), "nothing is warm");
        state.fleet.previous = Some(Previous {
            revision: hash(9),
            warm_until: at(900),
        });
        assert_eq!(looked_at(&state, 899), ["people"]);
        assert!(looked_at(&state, 900).is_empty());
    }

    #[test]
    fn a_gate_that_nothing_was_gathered_for_begins_and_says_so() {
        let state = rolling(Stage::Step {
            index: 1,
            since: at(0),
        });
        let gates = gates();
        let begun = look(&gates[1], &state, &Gathered::default(), at(5)).unwrap();
        assert_eq!((begun.started_at, begun.looked_at), (at(5), None));
        assert_eq!(look(&gates[0], &state, &Gathered::default(), at(5)), None);
        let mut gathered = Gathered::default();
        let measured = Measurement::Preferences(Labelled::default());
        gathered.measurements.insert("people".to_owned(), measured);
        let looked = look(&gates[1], &state, &gathered, at(5)).unwrap();
        assert_eq!((looked.looked_at, looked.missed), (Some(at(5)), 1));
    }
}
