//! The transition table, and what must hold on every path through it.

use std::time::Duration;

use crds::conditions::StalledReason;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::reading::health::Health;
use crate::state::{Fleet, Rollout, Stage, State, Target, stored};

fn hash(digit: u8) -> RevisionHash {
    RevisionHash::parse(&format!("{digit:010x}")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn wanting(target: u8) -> Signals {
    Signals {
        target: Target::Revision {
            hash: hash(target),
            failed_before: false,
        },
        held: false,
        canary: Health::Absent,
        previous: Health::Absent,
        stable_is_down: false,
        only_stable_serves: false,
        patience: Duration::from_mins(15),
    }
}

fn failure() -> Failure {
    Failure::new(StalledReason::LoadFailed, "no")
}

fn starting(progressed_at: Option<Timestamp>) -> Health {
    Health::Starting {
        message: "it starts".to_owned(),
        progressed_at,
        fresh: true,
    }
}

fn steady(stable: u8) -> State {
    State {
        fleet: Fleet {
            stable: Some(hash(stable)),
            ..Fleet::default()
        },
        ..State::default()
    }
}

fn rolling(stable: u8, previous: Option<u8>, revision: u8, stage: Stage) -> State {
    let mut rolling = steady(stable);
    rolling.fleet.previous = previous.map(hash);
    rolling.rollout = Some(Rollout {
        revision: hash(revision),
        started_at: at(0),
        progressed_at: None,
        stage,
    });
    rolling
}

fn loading() -> State {
    rolling(1, None, 2, Stage::Load)
}

fn stage(state: &State) -> Option<Stage> {
    state.rollout.as_ref().map(|rollout| rollout.stage)
}

#[test]
fn a_new_revision_starts_beside_the_stable_one() {
    assert_eq!(advance(&steady(1), &wanting(2), at(0)).next, loading());
}

#[test]
fn nothing_starts_where_it_is_held_or_failed_before() {
    let failed = Target::Revision {
        hash: hash(2),
        failed_before: true,
    };
    for signals in [
        Signals {
            held: true,
            ..wanting(2)
        },
        Signals {
            target: failed,
            ..wanting(2)
        },
    ] {
        assert_eq!(advance(&steady(1), &signals, at(0)).next, steady(1));
    }
}

#[test]
fn a_canary_that_fails_leaves_the_stable_revision_alone_and_is_remembered() {
    let signals = Signals {
        canary: Health::Failed(failure()),
        ..wanting(2)
    };
    let transition = advance(&loading(), &signals, at(0));
    let mut expected = steady(1);
    expected.fleet.failed = vec![hash(2)];
    assert_eq!(transition.next, expected);
    assert_eq!(transition.ending, Some(Ending::Failed(hash(2), failure())));
}

#[test]
fn a_canary_is_superseded_as_soon_as_the_spec_asks_for_another_or_for_what_cannot_be() {
    for signals in [
        wanting(3),
        wanting(1),
        Signals {
            target: Target::Unavailable,
            ..wanting(2)
        },
    ] {
        // Even a ready one: nobody wants it any more.
        let signals = Signals {
            canary: Health::Ready,
            ..signals
        };
        let transition = advance(&loading(), &signals, at(0));
        assert_eq!(transition.next, steady(1));
        assert_eq!(transition.ending, Some(Ending::Superseded(hash(2))));
    }
}

#[test]
fn a_canary_waits_where_the_target_is_being_read_or_all_is_held() {
    for signals in [
        Signals {
            target: Target::BeingRead,
            ..wanting(2)
        },
        Signals {
            held: true,
            ..wanting(2)
        },
    ] {
        for canary in [Health::Ready, starting(None)] {
            let signals = Signals {
                canary,
                ..signals.clone()
            };
            let transition = advance(&loading(), &signals, at(100_000));
            assert_eq!(transition.next, loading());
            assert_eq!(transition.ending, None);
        }
    }
}

#[test]
fn the_deadline_begins_with_the_work_and_anew_with_each_step_forward() {
    let begun = advance(
        &loading(),
        &Signals {
            canary: starting(None),
            ..wanting(2)
        },
        at(1_000),
    );
    assert_eq!(begun.ending, None);
    assert_eq!(begun.wake_after, Some(Duration::from_mins(15)));
    let forward = Signals {
        canary: starting(Some(at(1_500))),
        ..wanting(2)
    };
    let later = advance(&begun.next, &forward, at(2_000));
    assert_eq!(later.wake_after, Some(Duration::from_secs(400)));
    let late = advance(&later.next, &forward, at(2_400));
    assert!(matches!(
        late.ending,
        Some(Ending::Failed(
            _,
            Failure {
                reason: StalledReason::DeadlineExceeded,
                ..
            }
        ))
    ));
}

#[test]
fn a_ready_canary_becomes_stable_and_the_old_one_stays_until_clients_have_left_it() {
    let ready = Signals {
        canary: Health::Ready,
        ..wanting(2)
    };
    let promoted = advance(&loading(), &ready, at(0));
    assert_eq!(promoted.ending, Some(Ending::Promoted(hash(2))));
    assert_eq!(promoted.next.previous(), Some(&hash(1)));
    let waiting = advance(&promoted.next, &wanting(2), at(5)).next;
    assert_eq!(stage(&waiting), Some(Stage::Switch));
    let serving = Signals {
        only_stable_serves: true,
        ..wanting(2)
    };
    let settling = advance(&waiting, &serving, at(10));
    assert_eq!(stage(&settling.next), Some(Stage::Settle { since: at(10) }));
    assert_eq!(settling.wake_after, Some(SETTLE));
    // An old pod turns up in the slices again: the time starts anew.
    let again = advance(&settling.next, &wanting(2), at(14)).next;
    assert_eq!(stage(&again), Some(Stage::Switch));
    assert_eq!(advance(&settling.next, &serving, at(15)).next, steady(2));
}

#[test]
fn the_first_revision_has_nobody_to_wait_for_but_its_own_endpoints() {
    let mut first = rolling(2, None, 2, Stage::Switch);
    first.fleet.previous = None;
    assert_eq!(advance(&first, &wanting(2), at(0)).next, first);
    let serving = Signals {
        only_stable_serves: true,
        ..wanting(2)
    };
    assert_eq!(advance(&first, &serving, at(0)).next, steady(2));
}

#[test]
fn a_clock_that_is_behind_waits_and_does_not_skip() {
    let state = rolling(2, Some(1), 2, Stage::Settle { since: at(100) });
    let serving = Signals {
        only_stable_serves: true,
        ..wanting(2)
    };
    assert_eq!(advance(&state, &serving, at(50)).wake_after, Some(SETTLE));
}

#[test]
fn a_spec_that_goes_back_during_the_switch_turns_it_round() {
    let state = rolling(2, Some(1), 2, Stage::Settle { since: at(1) });
    let signals = Signals {
        previous: Health::Ready,
        ..wanting(1)
    };
    let next = advance(&state, &signals, at(2)).next;
    assert_eq!(next, rolling(1, Some(2), 1, Stage::Switch));
}

#[test]
fn a_ready_canary_serves_where_nobody_else_does_though_all_is_held() {
    let signals = Signals {
        held: true,
        stable_is_down: true,
        canary: Health::Ready,
        ..wanting(2)
    };
    let transition = advance(&loading(), &signals, at(0));
    assert_eq!(transition.ending, Some(Ending::Promoted(hash(2))));
}

#[test]
fn a_fix_gets_in_where_the_promoted_revision_broke_before_the_old_one_was_gone() {
    for stage in [Stage::Switch, Stage::Settle { since: at(1) }] {
        for target in [1, 3] {
            let down = Signals {
                stable_is_down: true,
                ..wanting(target)
            };
            let next = advance(&rolling(2, Some(1), 2, stage), &down, at(2)).next;
            assert_eq!(next.canary(), Some(&hash(target)));
            assert_eq!(next.stable(), Some(&hash(2)));
            assert_eq!(next.previous(), Some(&hash(1)));
        }
    }
}

fn health() -> impl Strategy<Value = Health> {
    let message = String::new;
    prop_oneof![
        Just(Health::Absent),
        prop::option::of(0_i64..50).prop_map(|second| starting(second.map(at))),
        Just(Health::Unschedulable { message: message() }),
        Just(Health::Refused { message: message() }),
        Just(Health::Ready),
        Just(Health::Failed(failure())),
    ]
}

fn signals() -> impl Strategy<Value = Signals> {
    let target = prop_oneof![
        Just(Target::BeingRead),
        Just(Target::Unavailable),
        (1_u8..5, any::<bool>()).prop_map(|(n, failed_before)| Target::Revision {
            hash: hash(n),
            failed_before
        }),
    ];
    (target, any::<bool>(), health(), health(), any::<bool>()).prop_map(
        |(target, held, canary, previous, only_stable_serves)| Signals {
            target,
            held,
            canary,
            previous,
            stable_is_down: false,
            only_stable_serves,
            patience: Duration::from_secs(20),
        },
    )
}

fn path() -> impl Strategy<Value = Vec<(Signals, i64)>> {
    prop::collection::vec((signals(), 0_i64..4), 1..40)
}

proptest! {
    #[test]
    fn only_a_ready_revision_that_the_spec_wants_ever_becomes_stable(path in path()) {
        let (mut state, mut now) = (State::default(), 0);
        for (signals, seconds) in path {
            now += seconds;
            let transition = advance(&state, &signals, at(now));
            if transition.next.stable() != state.stable() {
                let ready = match stage(&state) {
                    Some(Stage::Load) => signals.canary == Health::Ready,
                    Some(Stage::Switch | Stage::Settle { .. }) => signals.previous == Health::Ready,
                    None => false,
                };
                prop_assert!(ready && !signals.held);
                prop_assert_eq!(signals.target.revision(), transition.next.stable());
            }
            state = transition.next;
        }
    }

    #[test]
    fn what_serves_is_never_forgotten(path in path()) {
        let (mut state, mut now) = (State::default(), 0);
        for (signals, seconds) in path {
            now += seconds;
            let next = advance(&state, &signals, at(now)).next;
            // The revision that clients were sent to stays, unless clients have left it.
            if let Some(stable) = state.stable() {
                prop_assert!(next.stable() == Some(stable) || next.previous() == Some(stable));
            }
            state = next;
        }
    }

    #[test]
    fn only_answers_and_deadlines_brand_a_revision(path in path()) {
        let (mut state, mut now) = (State::default(), 0);
        for (signals, seconds) in path {
            now += seconds;
            let next = advance(&state, &signals, at(now)).next;
            if next.fleet.failed.len() > state.fleet.failed.len() {
                let fair = matches!(signals.canary, Health::Failed(_) | Health::Starting { .. });
                prop_assert!(fair);
            }
            state = next;
        }
    }

    #[test]
    fn a_state_survives_being_stored(path in path()) {
        use crds::v1alpha1::reward_model::status::{Phase, RevisionStatus, RewardModelStatus};
        let revision = |hash: Option<&RevisionHash>| hash.map(|hash| RevisionStatus {
            revision: hash.to_string(), ..RevisionStatus::default()
        });
        let (mut state, mut now) = (State::default(), 0);
        let mut shown = None;
        for (signals, seconds) in path {
            now += seconds;
            state = advance(&state, &signals, at(now)).next;
            shown = stored::store(&state, shown.as_ref(), signals.patience, at(now));
            let failed = state.fleet.failed.iter().map(ToString::to_string);
            let status = RewardModelStatus {
                phase: Some(Phase::Pending.into()),
                stable: revision(state.stable()),
                canary: revision(state.canary()),
                previous: revision(state.previous()),
                rollout: shown.clone(),
                failed_revisions: Some(failed.collect()),
                ..RewardModelStatus::default()
            };
            prop_assert_eq!(&stored::load(Some(&status), &[]).unwrap(), &state);
        }
    }
}
