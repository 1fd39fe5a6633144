//! What takes a revision back, what only stops it, and what comes before and after the steps.

use super::*;

#[test]
fn a_gate_that_fails_takes_the_revision_back_wherever_the_rollout_stands() {
    for state in [
        at_step(2, 10),
        at_step(4, 10),
        rolling(Stage::Approval, 50),
        rolling(Stage::Promote, 50),
    ] {
        let transition = advance(&state, &saying(Verdict::Pass, Verdict::Fail), at(60));
        let Some(Ending::Failed(revision, failure)) = transition.ending else {
            panic!("{state:?}")
        };
        assert_eq!(
            (revision, failure.reason),
            (hash(2), StalledReason::GateFailed)
        );
        assert!(
            failure.message.starts_with("gate b: "),
            "{}",
            failure.message
        );
        assert_eq!(weight(&transition.next), Percent::NONE);
        assert_eq!(transition.next.fleet.failed, [hash(2)]);
        // What it said can still be read.
        assert_eq!(transition.next.gates.len(), 2);
    }
}

#[test]
fn a_dry_run_decides_nothing() {
    for verdict in [Verdict::Fail, Verdict::Error, Verdict::Inconclusive] {
        let mut signals = saying(verdict, Verdict::Pass);
        signals.gates[0].dry_run = true;
        let transition = advance(&at_step(3, 10), &signals, at(60));
        assert_eq!(
            (index(&transition.next), transition.ending),
            (Some(4), None),
            "{verdict:?}"
        );
    }
}

#[test]
fn without_answers_nothing_more_goes_to_the_revision_and_nothing_is_taken_back() {
    let state = at_step(5, 10);
    let dead = saying(Verdict::Error, Verdict::Pass);
    let held = advance(&state, &dead, at(60));
    assert_eq!(
        (weight(&held.next), held.ending),
        (Percent::clamped(10), None)
    );
    assert_eq!(
        paused(&held.next, &dead, 60),
        Some(PausedReason::MetricsUnavailable)
    );
    // When it is back the rollout goes on by itself.
    let back = advance(&held.next, &saying(Verdict::Pass, Verdict::Pass), at(90));
    assert!(weight(&back.next) > Percent::clamped(10));
    // A pause that lasts anyway is no more of one.
    assert_eq!(paused(&at_step(4, 10), &dead, 60), None);
    assert_eq!(
        paused(&at_step(4, 10), &dead, 301),
        Some(PausedReason::MetricsUnavailable)
    );
}

#[test]
fn no_data_waits_or_pauses_as_the_gate_says() {
    let state = at_step(3, 10);
    let mut signals = saying(Verdict::NoData, Verdict::Pass);
    signals.gates[0].track.missed = 4;
    assert_eq!(paused(&state, &signals, 60), None, "Wait");
    assert_eq!(
        paused(&state, &signals, 1800),
        Some(PausedReason::MetricsUnavailable)
    );
    signals.gates[0].on_no_data = OnNoData::Pause;
    assert_eq!(
        paused(&state, &signals, 60),
        Some(PausedReason::MetricsUnavailable)
    );
    signals.gates[0].track.missed = 3;
    assert_eq!(paused(&state, &signals, 60), None, "so many are borne");
}

#[test]
fn a_gate_that_has_left_the_spec_pauses_its_step_until_it_is_skipped() {
    let mut signals = saying(Verdict::Pass, Verdict::Pass);
    signals.gates.truncate(1);
    let state = at_step(3, 10);
    assert_eq!(
        paused(&state, &signals, 60),
        Some(PausedReason::InconclusiveGate)
    );
    let refused = order("resume", &state, &signals, 60).unwrap_err();
    assert!(refused.contains("put it back"), "{refused}");
    assert!(order("skip-step", &state, &signals, 60).is_ok());
}

#[test]
fn a_golden_set_comes_before_every_step_also_of_the_first_revision() {
    let golden = |verdict| {
        let mut signals = saying(verdict, Verdict::Pass);
        signals.gates.truncate(1);
        signals.gates[0].golden = true;
        signals
    };
    let mut first = rolling(Stage::Load, 0);
    first.fleet.stable = None;
    for state in [rolling(Stage::Load, 0), first] {
        let waits = advance(&state, &golden(Verdict::NoData), at(60));
        assert_eq!(waits.next.rollout, state.rollout);
        let good = advance(&state, &golden(Verdict::Pass), at(60)).next;
        assert_ne!(good.rollout.unwrap().stage, Stage::Load);
        let bad = advance(&state, &golden(Verdict::Fail), at(60));
        assert!(matches!(bad.ending, Some(Ending::Failed(..))));
        assert_eq!(bad.next.rollout, None, "it never got anything");
        // A set that cannot be read is a pause, and no failure.
        let broken = advance(&state, &golden(Verdict::Error), at(60));
        assert_eq!(broken.ending, None);
        let reason = paused(&broken.next, &golden(Verdict::Error), 60);
        assert_eq!(reason, Some(PausedReason::MetricsUnavailable));
    }
}

/// Revision 2 serves, 1 is warm until 900.
fn promoted() -> State {
    let mut state = steady(2);
    state.fleet.previous = Some(Previous {
        revision: hash(1),
        warm_until: at(900),
    });
    state
}

#[test]
fn a_gate_that_fails_after_promotion_goes_back_to_the_warm_revision_in_one_move() {
    let signals = saying(Verdict::Pass, Verdict::Fail);
    let back = advance(&promoted(), &signals, at(899));
    let Some(Ending::Failed(revision, failure)) = &back.ending else {
        panic!()
    };
    assert_eq!(
        (revision, failure.reason),
        (&hash(2), StalledReason::GateFailed)
    );
    let rollout = back.next.rollout.clone().unwrap();
    assert_eq!((rollout.revision, rollout.stage), (hash(1), Stage::Promote));
    assert_eq!(back.next.fleet.failed, [hash(2)]);
    assert!(back.next.gates.is_empty(), "they were about the other one");
    // The spec still asks for the other: it is not tried again.
    let mut signals = wanting(2);
    signals.target = Target::Revision {
        hash: hash(2),
        failed_before: true,
    };
    let mut state = back.next;
    for second in 900..904 {
        state = advance(&state, &signals, at(second)).next;
    }
    assert_eq!(
        (state.stable(), state.rollout.as_ref()),
        (Some(&hash(1)), None)
    );
}

#[test]
fn after_the_window_or_where_it_only_reports_nothing_goes_back() {
    let mut signals = saying(Verdict::Pass, Verdict::Fail);
    assert_eq!(advance(&promoted(), &signals, at(900)).ending, None);
    signals.gates[1].after_promotion = AfterPromotion::Report;
    assert_eq!(advance(&promoted(), &signals, at(60)).ending, None);
    signals.gates[1].after_promotion = AfterPromotion::RollBack;
    signals.gates[1].dry_run = true;
    assert_eq!(advance(&promoted(), &signals, at(60)).ending, None);
}

#[test]
fn a_gate_is_looked_at_again_although_nothing_else_happens() {
    let mut signals = saying(Verdict::Inconclusive, Verdict::Pass);
    signals.next_look = Some(Duration::from_secs(7));
    assert_eq!(
        advance(&at_step(3, 10), &signals, at(60)).wake_after,
        signals.next_look
    );
    signals.next_look = Some(Duration::from_hours(9));
    let left = advance(&at_step(3, 10), &signals, at(60)).wake_after;
    assert_eq!(left, Some(Duration::from_mins(29)));
}

#[test]
fn what_follows_a_verdict_follows_at_once() {
    let mut signals = saying(Verdict::Pass, Verdict::Pass);
    signals.next_look = Some(Duration::from_secs(30));
    let passed = advance(&at_step(3, 10), &signals, at(60));
    assert_eq!((index(&passed.next), passed.wake_after), (Some(4), None));
}

#[test]
fn where_the_old_pods_are_stopped_the_golden_set_still_comes_first() {
    let mut signals = saying(Verdict::NoData, Verdict::Pass);
    signals.gates[0].golden = true;
    signals.recreates = true;
    signals.stable = side(Health::Ready, 0);
    let mut state = rolling(Stage::Load, 0);
    state.rollout.as_mut().unwrap().steps.clear();
    assert_eq!(
        advance(&state, &signals, at(60)).next.rollout,
        state.rollout
    );
    signals.gates[0] = gate("a", Verdict::Pass);
    let next = advance(&state, &signals, at(60)).next;
    assert_eq!(next.rollout.unwrap().stage, Stage::Promote);
}

proptest! {
    /// Without a Fail, a cut-off, a deadline or another spec no share is ever taken back, whatever the
    /// gates' sources do.
    #[test]
    fn a_dead_prometheus_never_rolls_back(path in path()) {
        let mut path = path;
        for (signals, _) in &mut path {
            signals.target = wanting(2).target;
            signals.canary = side(Health::Ready, 4);
            signals.stable = side(Health::Ready, 4);
            signals.routers.cut_off = None;
            for gate in &mut signals.gates {
                if gate.track.verdict() == Verdict::Fail {
                    gate.track.judgement.verdict = Verdict::Error;
                }
            }
        }
        walk(&path, |before, _, transition| {
            let same = before.rollout.as_ref().map(Rollout::id) == transition.next.rollout.as_ref().map(Rollout::id);
            assert!(!same || weight(&transition.next) >= weight(before));
            assert!(!matches!(transition.ending, Some(Ending::Failed(..) | Ending::Aborted(_) | Ending::Superseded(_))));
            assert!(transition.next.fleet.failed.is_empty());
        });
    }
}
