//! Shadow and gate steps, and what a verdict does wherever the rollout stands.

use crds::conditions::PausedReason;
use crds::v1alpha1::reward_model::gate::{AfterPromotion, OnNoData};

use super::*;
use crate::gates::{Judgement, Track};
use crate::rollout::gating::{Gating, gating};

mod failures;

/// Half an hour, the time of both kinds of step.
const WITHIN: Duration = Duration::from_mins(30);

pub(super) fn steps() -> Vec<Step> {
    let gate = |names: &[&str]| Step::Gate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        within: WITHIN,
    };
    vec![
        Step::Shadow {
            percent: Percent::clamped(20),
            pairs: 1000,
            within: WITHIN,
        },
        gate(&["a"]),
        Step::SetWeight(Percent::clamped(10)),
        gate(&["a", "b"]),
        Step::Pause(Some(Duration::from_mins(5))),
        Step::SetWeight(Percent::clamped(50)),
    ]
}

fn gate(name: &str, verdict: Verdict) -> Watched {
    let mut track = Track::new(name, at(0));
    track.judgement = Judgement::new(verdict, format!("it says {verdict:?}"));
    Watched {
        track,
        golden: false,
        error_limit: 3,
        on_no_data: OnNoData::Wait,
        after_promotion: AfterPromotion::RollBack,
        dry_run: false,
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Pass),
        1 => Just(Verdict::Fail),
        2 => Just(Verdict::Inconclusive),
        2 => Just(Verdict::NoData),
        1 => Just(Verdict::Error),
    ]
}

/// Gates a and b, as a look may leave them.
pub(super) fn watched() -> impl Strategy<Value = Vec<Watched>> {
    let one = |name: &'static str| {
        (
            verdict(),
            any::<bool>(),
            prop::bool::weighted(0.2),
            0..6_u32,
        )
            .prop_map(move |(verdict, pauses, dry_run, missed)| {
                let mut one = gate(name, verdict);
                one.track.missed = missed;
                one.track.beyond = missed / 2;
                one.track.looked_at = dry_run.then(|| at(7));
                one.track.judgement.estimate = pauses.then(|| "0.25".into());
                one.track.judgement.samples = pauses.then_some(12);
                one.track.frozen.tau = dry_run.then(|| "0.01".into());
                one.dry_run = dry_run;
                if pauses {
                    one.on_no_data = OnNoData::Pause;
                }
                one
            })
    };
    (one("a"), one("b")).prop_map(|(a, b)| vec![a, b])
}

fn at_step(index: usize, weight: i32) -> State {
    let mut state = rolling(step(index), weight);
    state.rollout.as_mut().unwrap().steps = steps();
    state
}

fn saying(a: Verdict, b: Verdict) -> Signals {
    let mut signals = wanting(2);
    signals.steps = steps();
    signals.gates = vec![gate("a", a), gate("b", b)];
    signals
}

fn index(state: &State) -> Option<usize> {
    match state.rollout.as_ref()?.stage {
        Stage::Step { index, .. } => Some(index),
        Stage::Load | Stage::Approval | Stage::Promote | Stage::Retreat | Stage::RollBack => None,
    }
}

fn paused(state: &State, signals: &Signals, second: i64) -> Option<PausedReason> {
    match gating(state.rollout.as_ref()?, signals, at(second)) {
        Gating::Paused(reason, _) => Some(reason),
        Gating::Open | Gating::Waits(_) => None,
    }
}

fn order(
    verb: &str,
    state: &State,
    signals: &Signals,
    second: i64,
) -> Result<(State, String), String> {
    let Command::Given(kind, given) = read(Some(&format!("{verb}/1")), None) else {
        panic!("{verb}")
    };
    obey(kind, &given, state, signals, at(second)).map(|obeyed| (obeyed.next, obeyed.said))
}

#[test]
fn the_gates_table() {
    let all = [
        ("passes", Verdict::Pass),
        ("fails", Verdict::Fail),
        ("inconclusive", Verdict::Inconclusive),
        ("no data", Verdict::NoData),
        ("error", Verdict::Error),
    ];
    let mut table: Vec<String> = Vec::new();
    let mut load = rolling(Stage::Load, 0);
    load.rollout.as_mut().unwrap().steps = steps();
    for (name, state) in [
        ("Load, a golden gate", load),
        ("Shadow 20", at_step(0, 0)),
        ("Gate a", at_step(1, 0)),
        ("SetWeight 10", at_step(2, 0)),
        ("Gate a,b", at_step(3, 10)),
        ("SetWeight 50", at_step(5, 10)),
        ("Promote", rolling(Stage::Promote, 50)),
    ] {
        table.push(name.to_owned());
        for (word, verdict) in all {
            for (when, second) in [("in time", 60), ("late", 1801)] {
                let mut signals = saying(verdict, Verdict::Pass);
                if matches!(state.rollout.as_ref().unwrap().stage, Stage::Load) {
                    signals.gates[0].golden = true;
                }
                let transition = advance(&state, &signals, at(second));
                let mut said = told(&state, &transition.next, transition.ending.as_ref());
                // What is kept of the gates is no move.
                if transition.next.rollout == state.rollout && transition.ending.is_none() {
                    "stays".clone_into(&mut said);
                }
                let reason = paused(&transition.next, &signals, second);
                let reason = reason.map_or(String::new(), |reason| format!(", Paused/{reason}"));
                table.push(format!("  {word:<14} {when:<8} {said}{reason}"));
            }
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_shadow_step_ends_with_its_pairs_and_sends_users_nothing() {
    let state = at_step(0, 0);
    let mut signals = saying(Verdict::Pass, Verdict::Pass);
    signals.pairs = 999;
    let waits = advance(&state, &signals, at(60));
    assert_eq!(
        (index(&waits.next), waits.wake_after),
        (Some(0), Some(Duration::from_mins(29)))
    );
    assert_eq!(weight(&waits.next), Percent::NONE);
    assert_eq!(sizes(&waits.next, &signals).canary, Some(1), "a pod is up");
    let mut load = state.clone();
    load.rollout.as_mut().unwrap().stage = Stage::Load;
    assert_eq!(
        sizes(&load, &signals).canary,
        Some(1),
        "and no other for it"
    );
    signals.pairs = 1000;
    assert_eq!(index(&advance(&state, &signals, at(60)).next), Some(1));
}

#[test]
fn a_shadow_step_without_enough_pairs_pauses_and_resume_gives_it_its_time_again() {
    let state = at_step(0, 0);
    let signals = saying(Verdict::Pass, Verdict::Pass);
    let late = advance(&state, &signals, at(1800)).next;
    assert_eq!(index(&late), Some(0));
    assert_eq!(
        paused(&late, &signals, 1800),
        Some(PausedReason::InconclusiveGate)
    );
    let (resumed, _) = order("resume", &late, &signals, 2000).unwrap();
    assert_eq!(paused(&resumed, &signals, 2000 + 1799), None);
    assert_eq!(
        paused(&resumed, &signals, 2000 + 1800),
        Some(PausedReason::InconclusiveGate)
    );
}

#[test]
fn a_gate_step_waits_until_all_its_gates_pass() {
    let state = at_step(3, 10);
    let first = advance(
        &state,
        &saying(Verdict::Pass, Verdict::Inconclusive),
        at(60),
    );
    assert_eq!(index(&first.next), Some(3));
    let both = advance(&first.next, &saying(Verdict::Pass, Verdict::Pass), at(90));
    assert_eq!(index(&both.next), Some(4));
}

#[test]
fn an_inconclusive_gate_pauses_and_the_first_pass_ends_the_pause() {
    let state = at_step(3, 10);
    let signals = saying(Verdict::Pass, Verdict::Inconclusive);
    assert_eq!(paused(&state, &signals, 1799), None);
    assert_eq!(
        paused(&state, &signals, 1800),
        Some(PausedReason::InconclusiveGate)
    );
    let still = advance(&state, &signals, at(100_000));
    assert_eq!((index(&still.next), still.ending), (Some(3), None));
    let passed = advance(&state, &saying(Verdict::Pass, Verdict::Pass), at(100_000));
    assert_eq!(index(&passed.next), Some(4));
}

#[test]
fn resume_never_falls_back_into_the_same_pause_at_once() {
    for verdict in [Verdict::Inconclusive, Verdict::NoData, Verdict::Error] {
        let mut signals = saying(verdict, Verdict::Pass);
        signals.gates[0].track.missed = 9;
        signals.gates[0].on_no_data = OnNoData::Pause;
        let state = advance(&at_step(3, 10), &signals, at(1800)).next;
        assert!(paused(&state, &signals, 1800).is_some(), "{verdict:?}");
        let (resumed, said) = order("resume", &state, &signals, 1800).unwrap();
        assert!(said.contains("time again"), "{said}");
        // What the next look sees is what resume has left.
        for (gate, track) in signals.gates.iter_mut().zip(&resumed.gates) {
            gate.track = track.clone();
        }
        let next = advance(&resumed, &signals, at(1801)).next;
        assert_eq!(
            (index(&next), paused(&next, &signals, 1801)),
            (Some(3), None),
            "{verdict:?}"
        );
    }
}

#[test]
fn resume_of_what_is_not_paused_is_refused() {
    let signals = saying(Verdict::Inconclusive, Verdict::Pass);
    for state in [at_step(0, 0), at_step(3, 10), at_step(2, 10)] {
        assert!(order("resume", &state, &signals, 60).is_err());
    }
}

#[test]
fn skip_step_goes_past_an_inconclusive_gate_and_a_shadow() {
    let signals = saying(Verdict::Inconclusive, Verdict::Pass);
    let (next, said) = order("skip-step", &at_step(3, 10), &signals, 1800).unwrap();
    assert_eq!(index(&next), Some(4));
    assert!(said.contains("step 4 (Gate)"), "{said}");
    // It is still looked at, and holds nothing up by being inconclusive.
    let next = advance(&next, &signals, at(1800 + 300)).next;
    assert_eq!(index(&next), Some(5));
    let (next, _) = order("skip-step", &at_step(0, 0), &signals, 60).unwrap();
    assert_eq!(index(&next), Some(1));
}

#[test]
fn promote_says_which_gates_it_has_skipped_and_never_skips_a_failure() {
    let signals = saying(Verdict::Pass, Verdict::Inconclusive);
    let (next, said) = order("promote", &at_step(3, 10), &signals, 60).unwrap();
    assert!(said.ends_with("of the gates b"), "{said}");
    assert_eq!(next.rollout.unwrap().stage, Stage::Promote);
    // Those of later steps, too.
    let (_, said) = order("promote", &at_step(0, 0), &wanting(2), 60).unwrap();
    assert!(said.ends_with("of the gates a, b"), "{said}");
    let refused = order(
        "promote",
        &at_step(3, 10),
        &saying(Verdict::Fail, Verdict::Pass),
        60,
    );
    assert!(refused.unwrap_err().contains("gate a"));
}
