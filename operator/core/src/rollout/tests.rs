//! The transition table, and what must hold on every path through it.

use std::time::Duration;

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::OnUnschedulable;
use crds::v1alpha1::reward_model::status::Verdict;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::commands::{Command, Verb, read};
use super::obey::obey;
use super::*;
use crate::capacity::{Limits, Percent, Pods};
use crate::reading::health::Health;
use crate::reading::{Routers, Side};
use crate::spec::{NoRoom, Step};
use crate::state::{Fleet, Previous, Rollout, Stage, State, Target, stored};

mod gates;

fn hash(digit: u8) -> RevisionHash {
    RevisionHash::parse(&format!("{digit:010x}")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pods(ready: i32) -> Pods {
    Pods {
        wanted: ready,
        made: ready,
        ready,
        over_quota: false,
    }
}

fn side(health: Health, ready: i32) -> Side {
    Side {
        health,
        pods: pods(ready),
        holds_room: ready > 0,
        knows_routers: true,
    }
}

fn steps() -> Vec<Step> {
    vec![
        Step::SetWeight(Percent::clamped(10)),
        Step::Pause(Some(Duration::from_mins(5))),
        Step::SetWeight(Percent::clamped(50)),
        Step::Pause(None),
    ]
}

/// Four replicas and one more, a healthy stable revision, and `target` wanted.
fn wanting(target: u8) -> Signals {
    Signals {
        target: Target::Revision {
            hash: hash(target),
            failed_before: false,
        },
        held: false,
        recreates: false,
        steps: steps(),
        requires_approval: false,
        limits: Limits {
            replicas: 4,
            surge: 1,
            min_available: 2,
            warm: 1,
        },
        stable: side(Health::Ready, 4),
        canary: side(Health::Ready, 4),
        canary_is_made: true,
        routers: Routers {
            acknowledged: true,
            released: false,
            cut_off: None,
        },
        waits_its_turn: false,
        no_room: NoRoom {
            then: OnUnschedulable::Wait,
            after: Duration::from_mins(5),
        },
        patience: Duration::from_mins(15),
        warm_for: Duration::from_mins(30),
        gates: Vec::new(),
        pairs: 0,
        next_look: None,
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

/// Revision 2 is on its way from 1.
fn rolling(stage: Stage, weight: i32) -> State {
    let mut rolling = steady(1);
    let weight = Percent::clamped(weight);
    rolling.rollout = Some(Rollout {
        weight,
        applied: weight,
        ..Rollout::new(hash(2), stage, steps(), at(0))
    });
    rolling
}

/// It gets nothing any more, and not every router is known to know.
fn rolling_back() -> State {
    let mut state = rolling(Stage::RollBack, 0);
    state.rollout.as_mut().unwrap().applied = Percent::clamped(50);
    state
}

fn step(index: usize) -> Stage {
    Stage::Step {
        index,
        since: at(0),
    }
}

fn stages() -> Vec<(&'static str, State)> {
    vec![
        ("at rest", steady(1)),
        ("Load", rolling(Stage::Load, 0)),
        ("SetWeight 10", rolling(step(0), 0)),
        ("Pause 5m", rolling(step(1), 10)),
        ("Pause", rolling(step(3), 50)),
        ("Approval", rolling(Stage::Approval, 50)),
        ("Promote", rolling(Stage::Promote, 50)),
        ("Retreat", rolling(Stage::Retreat, 50)),
        ("RollBack", rolling_back()),
    ]
}

type Change = fn(&mut Signals);

const EVENTS: [(&str, Change); 13] = [
    ("all is well", |_| ()),
    ("pods start", |s| s.canary = side(starting(None), 0)),
    ("no room", |s| {
        let message = "0/1 nodes".to_owned();
        s.canary = side(
            Health::Unschedulable {
                message,
                since: None,
            },
            0,
        );
    }),
    ("canary fails", |s| {
        s.canary.health = Health::Failed(failure());
    }),
    ("cut off", |s| {
        s.routers.cut_off = Some(Failure::new(StalledReason::CutOff, "Errors: 5 of 5"));
    }),
    ("canary lost", |s| s.canary.pods.ready = 0),
    ("stable lost", |s| s.stable.pods.ready = 0),
    ("a router is silent", |s| s.routers.acknowledged = false),
    ("another spec", |s| s.target = wanting(3).target),
    ("spec goes back", |s| s.target = wanting(1).target),
    ("source is read", |s| s.target = Target::BeingRead),
    ("suspended", |s| s.held = true),
    ("approval needed", |s| s.requires_approval = true),
];

fn told(before: &State, next: &State, ending: Option<&Ending>) -> String {
    let stage = next.rollout.as_ref().map_or_else(
        || {
            format!(
                "at rest on {}",
                next.stable().map_or("", RevisionHash::as_str)
            )
        },
        |rollout| {
            let stage = match rollout.stage {
                Stage::Step { index, .. } => format!("Step {}", index + 1),
                Stage::Load => "Load".to_owned(),
                Stage::Approval => "Approval".to_owned(),
                Stage::Promote => "Promote".to_owned(),
                Stage::Retreat => "Retreat".to_owned(),
                Stage::RollBack => "RollBack".to_owned(),
            };
            format!("{stage} {}", rollout.weight)
        },
    );
    let ending = match ending {
        None => String::new(),
        Some(Ending::Promoted { .. }) => ", promoted".to_owned(),
        Some(Ending::Returned { .. }) => ", back again".to_owned(),
        Some(Ending::Superseded(_)) => ", superseded".to_owned(),
        Some(Ending::Failed(..)) => ", failed".to_owned(),
        Some(Ending::Aborted(_)) => ", aborted".to_owned(),
    };
    if before == next && ending.is_empty() {
        "stays".to_owned()
    } else {
        format!("{stage}{ending}")
    }
}

#[test]
fn the_transition_table() {
    let mut table: Vec<String> = Vec::new();
    for (name, state) in stages() {
        table.push(name.to_owned());
        for (event, change) in EVENTS {
            let mut signals = wanting(2);
            change(&mut signals);
            let transition = advance(&state, &signals, at(60));
            let told = told(&state, &transition.next, transition.ending.as_ref());
            table.push(format!("  {event:<20} {told}"));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn the_commands_table() {
    let mut table: Vec<String> = Vec::new();
    for (name, state) in stages() {
        let mut state = state;
        if state.rollout.is_none() {
            state.fleet.previous = Some(Previous {
                revision: hash(9),
                warm_until: at(900),
            });
        }
        table.push(name.to_owned());
        for verb in [
            "promote",
            "abort",
            "rollback",
            "pause",
            "resume",
            "approve",
            "skip-step",
        ] {
            let Command::Given(kind, given) = read(Some(&format!("{verb}/1")), None) else {
                panic!("{verb}")
            };
            let told = match obey(kind, &given, &state, &wanting(2), at(60)) {
                Ok(obeyed) => format!(
                    "{}: {}",
                    told(&state, &obeyed.next, obeyed.ending.as_ref()),
                    obeyed.said
                ),
                Err(why) => format!("refused: {why}"),
            };
            table.push(format!("  {verb:<20} {told}"));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_stale_click_does_nothing() {
    for verb in [
        "promote",
        "abort",
        "pause",
        "resume",
        "approve",
        "skip-step",
        "rollback",
    ] {
        let text = format!("{verb}/ffffffffff/1");
        let Command::Given(kind, given) = read(Some(&text), None) else {
            panic!("{verb}")
        };
        for (_, state) in stages() {
            assert!(
                obey(kind, &given, &state, &wanting(2), at(60)).is_err(),
                "{verb}"
            );
        }
    }
}

#[test]
fn weights_follow_the_pods_that_carry_them() {
    let mut state = rolling(step(2), 10);
    let mut signals = wanting(2);
    for (ready, expected) in [(0, 10), (1, 25), (2, 50), (4, 50)] {
        signals.canary = side(starting(Some(at(60))), ready);
        // One router still uses what it had.
        signals.routers.acknowledged = false;
        state.rollout.as_mut().unwrap().weight = Percent::clamped(10);
        let next = advance(&state, &signals, at(60)).next;
        assert_eq!(next.rollout.unwrap().weight.get(), expected, "{ready}");
    }
}

#[test]
fn a_superseded_canary_keeps_its_share_until_stable_can_carry_it() {
    let mut signals = wanting(3);
    signals.stable = side(Health::Ready, 2);
    signals.canary = side(Health::Ready, 2);
    let begun = advance(&rolling(step(3), 50), &signals, at(0));
    assert_eq!(begun.ending, Some(Ending::Superseded(hash(2))));
    let mut state = begun.next;
    let mut seen = Vec::new();
    for ready in [2, 3, 4, 4] {
        signals.stable = side(Health::Ready, ready);
        state = advance(&state, &signals, at(1)).next;
        seen.extend(state.rollout.as_ref().map(|rollout| rollout.weight.get()));
    }
    assert_eq!(seen, [50, 25, 0]);
    assert_eq!(state.rollout, None, "every router has acknowledged it");
}

#[test]
fn what_failed_gets_nothing_at_once_whatever_stable_can_take() {
    let mut signals = wanting(2);
    signals.stable = side(starting(None), 1);
    signals.canary.health = Health::Failed(failure());
    let next = advance(&rolling(step(3), 50), &signals, at(0)).next;
    let rollout = next.rollout.clone().unwrap();
    assert_eq!(
        (rollout.stage, rollout.weight),
        (Stage::RollBack, Percent::NONE)
    );
    assert_eq!(next.fleet.failed, [hash(2)]);
    // Its pods stay until the last router knows.
    signals.routers.acknowledged = false;
    assert_eq!(advance(&next, &signals, at(1)).next, next);
    assert!(sizes(&next, &signals).canary > Some(0));
    signals.routers.released = true;
    assert_eq!(advance(&next, &signals, at(2)).next.rollout, None);
}

/// No pod of stable is ready from `from` to `until`; the revision that is promoted by then.
fn gone_for(state: State, mut signals: Signals, seconds: i64) -> Option<RevisionHash> {
    signals.stable.pods.ready = 0;
    let mut state = state;
    for second in 0..=seconds {
        state = advance(&state, &signals, at(second)).next;
    }
    state.stable().cloned()
}

#[test]
fn a_moment_without_stable_makes_nobody_of_a_revision_that_is_on_its_way_out() {
    let another = wanting(3);
    let mut harmful = wanting(2);
    harmful.routers.cut_off = Some(Failure::new(StalledReason::CutOff, "Errors: 5 of 5"));
    for (name, stage, signals) in [
        ("superseded", Stage::Retreat, another),
        ("harmful, near its end", Stage::Promote, harmful),
    ] {
        let state = rolling(stage, 100);
        assert_eq!(
            gone_for(state.clone(), signals.clone(), 50),
            Some(hash(1)),
            "{name}"
        );
        // Who is gone for good is nobody to wait for.
        assert_eq!(gone_for(state, signals, 70), Some(hash(2)), "{name}");
    }
}

#[test]
fn the_time_that_resume_gives_a_step_anew_is_what_the_status_stores() {
    let patience = Duration::from_mins(1);
    let stored = |state: &State, before| stored::store(state, before, patience, at(500));
    let shown = stored(&rolling(step(2), 10), None);
    let mut again = rolling(step(2), 10);
    again.rollout.as_mut().unwrap().stage = Stage::Step {
        index: 2,
        since: at(400),
    };
    let shown = stored(&again, shown.as_ref()).unwrap();
    assert_eq!(shown.step.unwrap().started_at.unwrap().0, at(400));
}

#[test]
fn a_strategy_that_changes_in_flight_is_that_of_the_next_rollout() {
    let stable = side(Health::Ready, 2);
    let stopped = side(Health::Ready, 0);
    for (name, state) in stages() {
        let begins = ["at rest", "Load"].contains(&name);
        assert_eq!(super::decide::is_beside(&state, &stable), !begins, "{name}");
    }
    // Of one that stopped the old pods first nothing is left to be beside of.
    let last = rolling(Stage::Promote, 0);
    assert!(!super::decide::is_beside(&last, &stopped));
}

#[test]
fn a_moment_without_stable_ends_no_pause_of_a_human() {
    let mut state = rolling(Stage::Promote, 50);
    state.rollout.as_mut().unwrap().paused = true;
    assert_eq!(gone_for(state, wanting(2), 50), Some(hash(1)));
}

#[test]
fn promotion_moves_the_role_and_keeps_the_old_revision_warm() {
    let state = rolling(Stage::Promote, 100);
    let transition = advance(&state, &wanting(2), at(60));
    let next = transition.next;
    assert_eq!(next.stable(), Some(&hash(2)));
    let kept = next.fleet.previous.clone().unwrap();
    assert_eq!((kept.revision, kept.warm_until), (hash(1), at(60 + 1800)));
    assert_eq!(sizes(&next, &wanting(2)).previous, Some(1));
    // When its time is over it goes.
    let later = advance(&next, &wanting(2), at(60 + 1800)).next;
    assert_eq!(later.fleet.previous, None);
}

#[test]
fn a_spec_that_goes_back_to_what_is_warm_takes_no_steps() {
    let mut state = steady(2);
    state.fleet.previous = Some(Previous {
        revision: hash(1),
        warm_until: at(900),
    });
    let mut signals = wanting(1);
    signals.canary = side(Health::Ready, 1);
    let begun = advance(&state, &signals, at(0)).next;
    let rollout = begun.rollout.clone().unwrap();
    assert_eq!((rollout.stage, rollout.revision), (Stage::Promote, hash(1)));
    let next = advance(&begun, &signals, at(0)).next;
    assert_eq!(
        next.rollout.unwrap().weight.get(),
        25,
        "the one warm pod of four"
    );
}

#[test]
fn a_rollback_on_command_is_not_taken_back_by_the_spec_that_still_asks_for_the_other() {
    let mut state = steady(2);
    state.fleet.previous = Some(Previous {
        revision: hash(1),
        warm_until: at(900),
    });
    let Command::Given(Verb::Rollback, given) = read(Some("rollback/1"), None) else {
        panic!()
    };
    let mut signals = wanting(2);
    let obeyed = obey(Verb::Rollback, &given, &state, &signals, at(0)).unwrap();
    signals.target = Target::Revision {
        hash: hash(2),
        failed_before: true,
    };
    let mut next = obeyed.next;
    for second in 1..4 {
        next = advance(&next, &signals, at(second)).next;
    }
    assert_eq!(
        (next.stable(), next.rollout.as_ref()),
        (Some(&hash(1)), None)
    );
    assert_eq!(next.fleet.failed, [hash(2)]);
    assert_eq!(
        next.fleet.previous, None,
        "what was sent away is not kept warm"
    );
}

#[test]
fn the_deadline_begins_with_the_work_and_anew_with_each_step_forward() {
    let mut signals = wanting(2);
    signals.canary = side(starting(Some(at(100))), 0);
    let waiting = advance(&rolling(Stage::Load, 0), &signals, at(100));
    assert_eq!(waiting.wake_after, Some(signals.patience));
    let over = advance(&waiting.next, &signals, at(100 + 900));
    assert!(matches!(over.ending, Some(Ending::Failed(..))));
    signals.canary = side(starting(Some(at(200))), 0);
    let again = advance(&waiting.next, &signals, at(100 + 900));
    assert_eq!(again.ending, None);
}

#[test]
fn a_pause_or_an_approval_never_times_out() {
    let mut signals = wanting(2);
    signals.requires_approval = true;
    for (stage, weight) in [(step(3), 50), (Stage::Approval, 50)] {
        let state = rolling(stage, weight);
        let transition = advance(&state, &signals, at(1_000_000));
        assert_eq!((transition.next, transition.ending), (state, None));
    }
}

#[test]
fn a_clock_that_is_behind_waits_and_does_not_skip() {
    let transition = advance(&rolling(step(1), 10), &wanting(2), at(-500));
    assert_eq!(transition.wake_after, Some(Duration::from_mins(5)));
}

fn health() -> impl Strategy<Value = Health> {
    let message = || "m".to_owned();
    prop_oneof![
        1 => Just(Health::Absent),
        1 => (0..2_000_i64).prop_map(|since| starting(Some(at(since)))),
        1 => Just(Health::Unschedulable { message: message(), since: None }),
        1 => Just(Health::Refused { message: message() }),
        4 => Just(Health::Ready),
        1 => Just(Health::Failed(failure())),
    ]
}

fn sides() -> impl Strategy<Value = Side> {
    (health(), 0..5_i32).prop_map(|(health, ready)| side(health, ready))
}

fn signals() -> impl Strategy<Value = Signals> {
    let target = prop_oneof![
        1 => Just(Target::BeingRead),
        1 => Just(Target::Unavailable),
        8 => (1..4_u8, prop::bool::weighted(0.1)).prop_map(|(digit, failed_before)| Target::Revision {
            hash: hash(digit),
            failed_before,
        }),
    ];
    let flags = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    let measured = (gates::watched(), 0..2_000_u64);
    (target, sides(), sides(), flags, 0..2_i32, measured).prop_map(
        |(
            target,
            stable,
            canary,
            (acknowledged, held, cut, released, approval),
            surge,
            (gates, pairs),
        )| {
            let mut all = wanting(2);
            all.limits.surge = surge;
            all.target = target;
            all.stable = stable;
            all.canary = canary;
            all.held = held;
            all.steps = gates::steps();
            (all.gates, all.pairs) = (gates, pairs);
            all.requires_approval = approval;
            all.routers = Routers {
                acknowledged,
                released,
                cut_off: cut.then(|| Failure::new(StalledReason::CutOff, "Errors: 5")),
            };
            all
        },
    )
}

fn path() -> impl Strategy<Value = Vec<(Signals, i64)>> {
    prop::collection::vec((signals(), 0..400_i64), 1..60)
}

/// Walks the path, and calls `check` with each step.
fn walk(path: &[(Signals, i64)], mut check: impl FnMut(&State, &Signals, &Transition)) {
    let (mut state, mut now) = (steady(1), 0);
    for (signals, seconds) in path {
        now += seconds;
        let transition = advance(&state, signals, at(now));
        check(&state, signals, &transition);
        state = transition.next;
    }
}

/// An answered failure, a cut-off, or a gate that says Fail.
fn is_harm(signals: &Signals) -> bool {
    let failed = |gate: &Watched| !gate.dry_run && gate.track.verdict() == Verdict::Fail;
    matches!(signals.canary.health, Health::Failed(_))
        || signals.routers.cut_off.is_some()
        || signals.gates.iter().any(failed)
}

fn weight(state: &State) -> Percent {
    state
        .rollout
        .as_ref()
        .map_or(Percent::NONE, |rollout| rollout.weight)
}

proptest! {
    #[test]
    fn traffic_goes_to_nobody_without_a_ready_pod(path in path()) {
        walk(&path, |before, signals, transition| {
            if weight(&transition.next) > weight(before) {
                assert!(signals.canary.pods.ready > 0);
            }
        });
    }

    #[test]
    fn a_share_falls_only_with_a_cause(path in path()) {
        walk(&path, |before, signals, transition| {
            let same = before.rollout.as_ref().map(Rollout::id) == transition.next.rollout.as_ref().map(Rollout::id);
            if same && weight(&transition.next) < weight(before) {
                let leaving = before.rollout.as_ref().is_some_and(|rollout| rollout.stage.is_leaving());
                assert!(leaving || is_harm(signals), "{before:?}\n{signals:?}");
            }
        });
    }

    #[test]
    fn what_may_still_get_requests_is_never_removed(path in path()) {
        walk(&path, |before, signals, transition| {
            let Some(rollout) = &before.rollout else { return };
            let gone = !transition.next.has(&rollout.revision);
            let released = rollout.gets_nothing() || signals.routers.acknowledged && rollout.weight == Percent::NONE
                || signals.routers.released && rollout.weight == Percent::NONE;
            assert!(!gone || released, "{before:?}");
        });
    }

    #[test]
    fn only_answers_deadlines_and_humans_brand_a_revision(path in path()) {
        walk(&path, |before, signals, transition| {
            if transition.next.fleet.failed.len() > before.fleet.failed.len() {
                let harm = is_harm(signals);
                let late = matches!(&transition.ending, Some(Ending::Failed(_, failure)) if failure.reason == StalledReason::DeadlineExceeded);
                assert!(harm || late);
            }
        });
    }

    #[test]
    fn what_serves_is_never_forgotten(path in path()) {
        walk(&path, |_, _, transition| assert!(transition.next.stable().is_some()));
    }

    #[test]
    fn only_what_has_all_the_traffic_becomes_stable(path in path()) {
        walk(&path, |before, signals, transition| {
            if before.stable() != transition.next.stable() {
                let rollout = before.rollout.as_ref().unwrap();
                assert_eq!(rollout.weight, Percent::ALL);
                assert!(rollout.applied == Percent::ALL || signals.routers.acknowledged);
            }
        });
    }

    /// At a fixed time the machine comes to rest: no two states follow each other for ever.
    #[test]
    fn a_fixed_time_and_fixed_signals_come_to_rest(path in path()) {
        walk(&path, |before, signals, _| {
            let mut state = before.clone();
            let mut signals = signals.clone();
            for round in 0.. {
                assert!(round < 40, "{state:?}\n{signals:?}");
                if let Target::Revision { hash, failed_before } = &mut signals.target {
                    *failed_before = state.fleet.failed.contains(hash);
                }
                let next = advance(&state, &signals, at(5_000)).next;
                if next == state {
                    break;
                }
                state = next;
            }
        });
    }

    #[test]
    fn a_state_survives_being_stored(path in path()) {
        walk(&path, |_, _, transition| {
            let state = &transition.next;
            let status = crate::status::tests::stored(state);
            assert_eq!(&stored::load(Some(&status), &[], None, &[]).unwrap(), state);
        });
    }
}
