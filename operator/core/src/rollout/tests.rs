//! The transition table, and what must hold on every path through it.

use crds::conditions::StalledReason;
use proptest::prelude::*;

use super::*;

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
        suspended: false,
        canary: Health::Absent,
        previous: Health::Absent,
        only_stable_serves: false,
    }
}

fn failure() -> Failure {
    Failure::new(StalledReason::LoadFailed, "no")
}

#[test]
fn a_new_revision_starts_beside_the_stable_one() {
    let state = State::Steady { stable: hash(1) };
    let next = advance(&state, &wanting(2), at(0)).next;
    assert_eq!(
        next,
        State::Preparing {
            stable: Some(hash(1)),
            canary: hash(2)
        }
    );
}

#[test]
fn a_suspended_model_starts_nothing() {
    let state = State::Steady { stable: hash(1) };
    let signals = Signals {
        suspended: true,
        ..wanting(2)
    };
    assert_eq!(advance(&state, &signals, at(0)).next, state);
}

#[test]
fn a_revision_that_failed_is_not_tried_again() {
    let state = State::Steady { stable: hash(1) };
    let target = Target::Revision {
        hash: hash(2),
        failed_before: true,
    };
    assert_eq!(
        advance(
            &state,
            &Signals {
                target,
                ..wanting(2)
            },
            at(0)
        )
        .next,
        state
    );
}

#[test]
fn a_canary_that_fails_leaves_the_stable_revision_alone() {
    let state = State::Preparing {
        stable: Some(hash(1)),
        canary: hash(2),
    };
    let signals = Signals {
        canary: Health::Failed(failure()),
        ..wanting(2)
    };
    let transition = advance(&state, &signals, at(0));
    assert_eq!(transition.next, State::Steady { stable: hash(1) });
    assert_eq!(transition.ending, Some(Ending::Failed(hash(2), failure())));
}

#[test]
fn a_canary_is_superseded_as_soon_as_the_spec_changes() {
    let state = State::Preparing {
        stable: Some(hash(1)),
        canary: hash(2),
    };
    for signals in [
        wanting(3),
        wanting(1),
        Signals {
            target: Target::Unknown,
            ..wanting(2)
        },
    ] {
        // Even a ready one: nobody wants it any more.
        let transition = advance(
            &state,
            &Signals {
                canary: Health::Ready,
                ..signals
            },
            at(0),
        );
        assert_eq!(transition.next, State::Steady { stable: hash(1) });
        assert_eq!(transition.ending, Some(Ending::Superseded(hash(2))));
    }
}

#[test]
fn the_previous_revision_is_kept_until_nobody_is_sent_to_it_for_five_seconds() {
    let promoting = |settled_since| State::Promoting {
        stable: hash(2),
        previous: hash(1),
        settled_since,
    };
    let serving = Signals {
        only_stable_serves: true,
        ..wanting(2)
    };
    assert_eq!(
        advance(&promoting(None), &wanting(2), at(0)).next,
        promoting(None)
    );
    let settling = advance(&promoting(None), &serving, at(10));
    assert_eq!(settling.next, promoting(Some(at(10))));
    assert_eq!(settling.wake_after, Some(SETTLE));
    assert_eq!(
        advance(&settling.next, &serving, at(14)).next,
        promoting(Some(at(10)))
    );
    // An old pod turns up in the slices again: the time starts anew.
    assert_eq!(
        advance(&settling.next, &wanting(2), at(14)).next,
        promoting(None)
    );
    assert_eq!(
        advance(&settling.next, &serving, at(15)).next,
        State::Steady { stable: hash(2) }
    );
}

#[test]
fn a_clock_that_is_behind_waits_and_does_not_skip() {
    let state = State::Promoting {
        stable: hash(2),
        previous: hash(1),
        settled_since: Some(at(100)),
    };
    let serving = Signals {
        only_stable_serves: true,
        ..wanting(2)
    };
    let transition = advance(&state, &serving, at(50));
    assert_eq!(transition.wake_after, Some(SETTLE));
}

#[test]
fn a_spec_that_goes_back_during_the_switch_turns_it_round() {
    let state = State::Promoting {
        stable: hash(2),
        previous: hash(1),
        settled_since: Some(at(1)),
    };
    let signals = Signals {
        previous: Health::Ready,
        ..wanting(1)
    };
    let next = advance(&state, &signals, at(2)).next;
    assert_eq!(
        next,
        State::Promoting {
            stable: hash(1),
            previous: hash(2),
            settled_since: None
        }
    );
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        Just(Health::Absent),
        Just(Health::Starting {
            message: String::new()
        }),
        Just(Health::Unschedulable {
            message: String::new()
        }),
        Just(Health::Refused {
            message: String::new()
        }),
        Just(Health::Ready),
        Just(Health::Failed(failure())),
    ]
}

fn signals() -> impl Strategy<Value = Signals> {
    let target = prop_oneof![
        Just(Target::Unknown),
        (1_u8..5, any::<bool>()).prop_map(|(n, failed_before)| Target::Revision {
            hash: hash(n),
            failed_before
        }),
    ];
    (target, any::<bool>(), health(), health(), any::<bool>()).prop_map(
        |(target, suspended, canary, previous, only_stable_serves)| Signals {
            target,
            suspended,
            canary,
            previous,
            only_stable_serves,
        },
    )
}

proptest! {
    #[test]
    fn only_a_ready_revision_that_the_spec_wants_ever_becomes_stable(
        path in prop::collection::vec((signals(), 0_i64..4), 1..40)
    ) {
        let (mut state, mut now) = (State::Empty, 0);
        for (signals, seconds) in path {
            now += seconds;
            let transition = advance(&state, &signals, at(now));
            if transition.next.stable() != state.stable() {
                let ready = match &state {
                    State::Preparing { .. } => signals.canary == Health::Ready,
                    State::Promoting { .. } => signals.previous == Health::Ready,
                    State::Empty | State::Steady { .. } => false,
                };
                prop_assert!(ready);
                let stable = transition.next.stable().cloned();
                prop_assert!(wants(&signals.target, &stable.unwrap()));
            }
            state = transition.next;
        }
    }

    #[test]
    fn what_serves_is_never_forgotten(path in prop::collection::vec((signals(), 0_i64..4), 1..40)) {
        let (mut state, mut now) = (State::Empty, 0);
        for (signals, seconds) in path {
            now += seconds;
            let next = advance(&state, &signals, at(now)).next;
            prop_assert!(state.stable().is_none() || next.stable().is_some());
            // The revision that clients were sent to stays, unless clients have left it.
            if let Some(stable) = state.stable() {
                prop_assert!(next.stable() == Some(stable) || next.previous() == Some(stable));
            }
            state = next;
        }
    }

    #[test]
    fn a_state_survives_being_stored(path in prop::collection::vec((signals(), 0_i64..4), 1..40)) {
        use crds::v1alpha1::reward_model::status::{Phase, RevisionStatus, RewardModelStatus};
        let revision = |hash: Option<&RevisionHash>| hash.map(|hash| RevisionStatus {
            revision: hash.to_string(), ..RevisionStatus::default()
        });
        let (mut state, mut now) = (State::Empty, 0);
        let mut shown = None;
        for (signals, seconds) in path {
            now += seconds;
            state = advance(&state, &signals, at(now)).next;
            shown = stored::store(&state, shown.as_ref(), at(now));
            let status = RewardModelStatus {
                phase: Some(Phase::Pending),
                stable: revision(state.stable()),
                canary: revision(state.canary()),
                previous: revision(state.previous()),
                rollout: shown.clone(),
                ..RewardModelStatus::default()
            };
            prop_assert_eq!(&stored::load(Some(&status), &[]), &state);
        }
    }
}
