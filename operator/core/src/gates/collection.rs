//! What the routers are to collect for the gates of a state.
//!
//! Invariant: nothing is collected for a revision that stands alone, and nothing is shadowed once users'
//! requests come in the shadow's place.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::gate::{Gate, Kind};
use crate::capacity::Percent;
use crate::spec::Step;
use crate::state::{Rollout, Stage, State};

/// What the routers are to collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Whose copies of requests go to the new revision.
    pub shadow: Option<Shadow>,
    /// From when on a request is slow, each of which is counted; in rising order.
    pub slower_than: Vec<Duration>,
}

/// Copies of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The part of the requests.
    pub percent: Percent,
}

/// What is to be collected in `state`; `None` where there is nobody to compare with.
pub fn collection(state: &State, gates: &[Gate], now: Timestamp) -> Option<Collection> {
    state.stable()?;
    let shadow = match &state.rollout {
        Some(rollout) if !rollout.stage.is_public() || rollout.stage.is_leaving() => return None,
        Some(rollout) => shadow(rollout),
        // After promotion what the gates are about goes on to be counted.
        None => {
            let window = state.fleet.previous.as_ref()?;
            (now < window.warm_until && !state.gates.is_empty()).then_some(())?;
            None
        }
    };
    let slow = gates.iter().filter_map(|gate| match &gate.kind {
        Kind::Router(rule) => rule.slower_than,
        Kind::Golden(_) | Kind::Paired(_) | Kind::Preferences(_) | Kind::Prometheus { .. } => None,
    });
    let mut slower_than: Vec<Duration> = slow.collect();
    slower_than.sort_unstable();
    slower_than.dedup();
    Some(Collection {
        shadow,
        slower_than,
    })
}

/// The last shadow step so far, unless a share of the users came after it.
fn shadow(rollout: &Rollout) -> Option<Shadow> {
    let Stage::Step { index, .. } = rollout.stage else {
        return None;
    };
    let so_far = rollout.steps.iter().take(index.saturating_add(1));
    so_far.fold(None, |before, step| match step {
        Step::Shadow { percent, .. } => Some(Shadow { percent: *percent }),
        Step::SetWeight(_) => None,
        Step::Pause(_) | Step::Gate { .. } => before,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::gates::{Track, read};
    use crate::identity::RevisionHash;
    use crate::state::{Fleet, Previous};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hash(digit: u8) -> RevisionHash {
        RevisionHash::parse(&format!("{digit:010x}")).unwrap()
    }

    fn gates() -> (Vec<Gate>, Vec<Step>) {
        let slow = |name: &str, time: &str| json!({"name": name, "router": {"metric": "SlowFraction", "slowerThan": time, "threshold": {"max": "0.1"}}});
        let written = json!({
            "gates": [slow("a", "1s"), slow("b", "250ms"), slow("c", "1000ms")],
            "steps": [
                {"shadow": {"percent": 20}}, {"pause": {}}, {"setWeight": 10},
                {"gate": {"names": ["a", "b", "c"]}}, {"shadow": {"percent": 5}},
            ],
        });
        let rollout = serde_json::from_value(written).unwrap();
        let gates = read(&rollout).unwrap();
        let steps = rollout.steps.iter().flatten();
        (gates, steps.map(|step| Step::read(step).unwrap()).collect())
    }

    fn rolling(stage: Stage) -> State {
        State {
            fleet: Fleet {
                stable: Some(hash(1)),
                ..Fleet::default()
            },
            rollout: Some(Rollout::new(hash(2), stage, gates().1, at(0))),
            ..State::default()
        }
    }

    fn collected(state: &State) -> Option<Collection> {
        collection(state, &gates().0, at(60))
    }

    #[test]
    fn requests_are_shadowed_until_those_of_users_come() {
        for (index, percent) in [
            (0, Some(20)),
            (1, Some(20)),
            (2, None),
            (3, None),
            (4, Some(5)),
            (5, Some(5)),
        ] {
            let stage = Stage::Step {
                index,
                since: at(0),
            };
            let shadow = collected(&rolling(stage)).unwrap().shadow;
            assert_eq!(
                shadow.map(|shadow| shadow.percent.get()),
                percent,
                "{index}"
            );
        }
        assert_eq!(collected(&rolling(Stage::Promote)).unwrap().shadow, None);
    }

    #[test]
    fn each_time_from_which_a_request_is_slow_is_counted_once() {
        let collected = collected(&rolling(Stage::Approval)).unwrap();
        assert_eq!(
            collected.slower_than,
            [Duration::from_millis(250), Duration::from_secs(1)]
        );
    }

    #[test]
    fn nothing_is_collected_of_what_nobody_compares() {
        for stage in [Stage::Load, Stage::Retreat, Stage::RollBack] {
            assert_eq!(collected(&rolling(stage)), None, "{stage:?}");
        }
        let mut alone = rolling(Stage::Promote);
        alone.fleet.stable = None;
        assert_eq!(collected(&alone), None);
    }

    #[test]
    fn after_promotion_it_goes_on_to_the_end_of_the_window() {
        let mut state = rolling(Stage::Promote);
        state.rollout = None;
        state.fleet.previous = Some(Previous {
            revision: hash(9),
            warm_until: at(61),
        });
        assert_eq!(collected(&state), None, "there are no gates");
        state.gates = vec![Track::new("a", at(0))];
        assert!(collected(&state).is_some());
        assert_eq!(collection(&state, &gates().0, at(61)), None);
    }
}
