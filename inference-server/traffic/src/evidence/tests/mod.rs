mod forms;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::assignment::{Assigner, Key};
use crate::cutoff::{Arm, Outcome};

fn subject() -> Subject {
    Subject {
        rollout: Some("3".to_owned()),
        stable: Revision::parse("aaaaaaaaaa").unwrap(),
        canary: Revision::parse("bbbbbbbbbb").unwrap(),
    }
}

fn recorder(instance: &str) -> Recorder {
    let mut recorder = Recorder::new(instance.to_owned(), "router-0".to_owned(), subject());
    recorder.watch(&[100, 250]);
    recorder
}

fn ended(outcome: Outcome, millis: u64) -> Ended {
    Ended {
        outcome,
        took: Duration::from_millis(millis),
    }
}

/// Something of everything.
fn small() -> Evidence {
    let mut recorder = recorder("1f");
    recorder.ended(Arm::Stable, 3, ended(Outcome::Answered, 150));
    recorder.scored(Arm::Stable, 3, 0.1);
    recorder.ended(Arm::Canary, 1_023, ended(Outcome::NonFinite(2), 300));
    recorder.eligible();
    let pair = |stable, canary| Pair { stable, canary };
    recorder.paired(7, [pair(1.0, 1.5), pair(2.0, 1.0)], true);
    recorder.eligible();
    recorder.dropped(Drop::Late);
    recorder.preferred(Unit(u32::MAX), Verdict::OnlyCanary);
    recorder.preferred(Unit(0), Verdict::BothWrong);
    recorder.snapshot()
}

#[test]
fn evidence_of_another_rollout_is_not_added() {
    let mut together = Together::new(subject());
    let mut other = small();
    other.subject.canary = Revision::parse("cccccccccc").unwrap();
    let refused = together.fold(other).unwrap_err();
    assert_eq!(refused.word(), "AnotherRollout");
    assert!(refused.to_string().contains("cccccccccc"), "{refused}");
    assert_eq!(together.total(), Sums::default());
}

#[test]
fn one_that_is_older_changes_nothing() {
    let mut recorder = recorder("1");
    let old = recorder.snapshot();
    recorder.ended(Arm::Canary, 1, ended(Outcome::Failed, 1));
    let new = recorder.snapshot();
    let mut together = Together::new(subject());
    for snapshot in [new.clone(), old, new.clone()] {
        together.fold(snapshot).unwrap();
    }
    assert_eq!(together.total(), new.sums);
}

#[test]
fn a_failure_that_stable_made_good_is_the_canarys_and_what_both_fail_at_is_nobodys() {
    let mut recorder = recorder("1");
    for outcome in [
        Outcome::Failed,
        Outcome::Refused,
        Outcome::NonFinite(3),
        Outcome::Answered,
        Outcome::Excused,
        Outcome::Remembered,
        Outcome::Unreachable,
        Outcome::Abandoned,
        Outcome::Overtaken,
    ] {
        recorder.ended(Arm::Canary, 5, ended(outcome, 150));
    }
    let canary = recorder.snapshot().sums.arms.canary;
    let cell = canary.cells.get(5);
    // A remembered answer is a request that did not fail, and has no latency.
    assert_eq!((cell.requests, cell.errors), (5, 3));
    assert_eq!((canary.non_finite, canary.unreachable), (3, 1));
    // Of those that were given up it is known that they took longer than 100 ms, and no more.
    let (short, long) = (canary.slow[&100].get(5), canary.slow[&250].get(5));
    assert_eq!((short.requests, short.slow), (6, 6));
    assert_eq!((long.requests, long.slow), (4, 0));
}

#[test]
fn thresholds_that_are_not_asked_for_any_more_make_room() {
    let mut recorder = recorder("1");
    recorder.ended(Arm::Stable, 5, ended(Outcome::Answered, 150));
    recorder.watch(&[1, 2, 100]);
    let thresholds = |recorder: &mut Recorder| -> Vec<u32> {
        recorder
            .snapshot()
            .sums
            .arms
            .stable
            .slow
            .into_keys()
            .collect()
    };
    assert_eq!(thresholds(&mut recorder), [1, 2, 100, 250]);
    recorder.watch(&[3, 1, 100]);
    assert_eq!(thresholds(&mut recorder), [1, 3, 100, 250]);
    recorder.watch(&[11, 12, 13, 14, 15]);
    assert_eq!(thresholds(&mut recorder), [11, 12, 13, 14]);
    assert_eq!(recorder.patience(), Duration::from_millis(14));
}

#[test]
fn requests_are_compared_once_and_only_with_another_cell() {
    let mut recorder = recorder("1");
    let pair = |stable, canary| [Pair { stable, canary }];
    let mut orders = |requests: &[(u16, f64, f64)]| {
        for (cell, stable, canary) in requests {
            recorder.eligible();
            recorder.paired(*cell, pair(*stable, *canary), false);
        }
        let shadow = recorder.snapshot().sums.shadow;
        (shadow.concordant, shadow.discordant)
    };
    assert_eq!(orders(&[(1, 1.0, 1.0), (1, 9.0, 0.0)]), (0, 0));
    assert_eq!(orders(&[(2, 2.0, 2.0)]), (1, 0));
    assert_eq!(orders(&[(3, 1.0, 1.0), (4, 2.0, 0.0)]), (1, 1));
    // A canary that has one score for everything agrees with nobody; two equal texts say nothing.
    assert_eq!(orders(&[(3, 1.0, 5.0), (4, 2.0, 5.0)]), (1, 2));
    assert_eq!(orders(&[(3, 0.0, 5.0), (4, -0.0, 5.0)]), (1, 2));
}

#[test]
fn the_best_of_several_answers_flips_or_does_not() {
    let mut recorder = recorder("1");
    let pairs = |scores: &[(f64, f64)]| -> Vec<Pair> {
        let of = |(stable, canary): &(f64, f64)| Pair {
            stable: *stable,
            canary: *canary,
        };
        scores.iter().map(of).collect()
    };
    let mut flips = |scores: &[(f64, f64)], alternatives| {
        recorder.eligible();
        recorder.paired(1, pairs(scores), alternatives);
        let cell = recorder.snapshot().sums.shadow.cells.get(1);
        (cell.compared, cell.flipped)
    };
    assert_eq!(flips(&[(1.0, 3.0), (2.0, 4.0), (0.0, 0.0)], true), (1, 0));
    assert_eq!(flips(&[(1.0, 4.0), (2.0, 3.0)], true), (2, 1));
    assert_eq!(flips(&[(1.0, 4.0)], true), (2, 1));
    assert_eq!(flips(&[(1.0, 4.0), (2.0, 3.0)], false), (2, 1));
}

#[test]
fn a_unit_counts_once_and_those_beyond_the_bound_are_told() {
    let mut recorder = recorder("1");
    assert_eq!(
        recorder.preferred(Unit(7), Verdict::OnlyCanary),
        Admission::Counted
    );
    assert_eq!(
        recorder.preferred(Unit(7), Verdict::OnlyStable),
        Admission::Repeated
    );
    let more = u32::try_from(MAX_UNITS).unwrap() + 10;
    for unit in 10..more {
        recorder.preferred(Unit(unit << 8), Verdict::BothRight);
    }
    let last = recorder.preferred(Unit(1), Verdict::BothRight);
    assert_eq!(last, Admission::Full);
    let preferences = recorder.snapshot().sums.preferences;
    let counts = preferences.counts();
    assert_eq!((counts.only_canary, counts.only_stable), (1, 0));
    assert_eq!(counts.total(), u64::try_from(MAX_UNITS).unwrap());
    assert_eq!((preferences.repeated, preferences.beyond), (1, 2));
}

#[test]
fn a_tie_is_wrong() {
    assert_eq!(Verdict::of(0.0, 0.1), Verdict::OnlyCanary);
    assert_eq!(Verdict::of(f64::NAN, -1.0), Verdict::BothWrong);
}

#[test]
fn the_moments_are_those_of_the_cells() {
    let mut recorder = recorder("1");
    for (cell, outcome) in [
        (1, Outcome::Failed),
        (1, Outcome::Answered),
        (2, Outcome::Answered),
    ] {
        recorder.ended(Arm::Stable, cell, ended(outcome, 300));
        recorder.scored(Arm::Stable, cell, 2.0);
        recorder.scored(Arm::Stable, cell, f64::NAN);
    }
    let stable = recorder.snapshot().sums.arms.stable;
    let errors = stable.error_moments();
    assert_eq!(
        (
            errors.units,
            errors.x,
            errors.y,
            errors.xx,
            errors.xy,
            errors.yy
        ),
        (2, 3.0, 1.0, 5.0, 2.0, 1.0)
    );
    assert!(stable.slow_moments(99).is_none());
    let slow = stable.slow_moments(250).unwrap().y;
    let (none, about) = (stable.spread_moments(2.0).y, stable.spread_moments(1.0).y);
    let found = (slow, stable.score_moments().y, none, about);
    assert_eq!(found, (3.0, 6.0, 0.0, 3.0));
}

/// A history of one router: numbers that stand for what it sees.
fn seen(instance: usize, events: &[(u8, u16, i16)]) -> Vec<Evidence> {
    let mut recorder = recorder(&instance.to_string());
    let mut snapshots = vec![recorder.snapshot()];
    for (what, cell, score) in events {
        let (cell, score) = (*cell % CELLS, f64::from(*score));
        let arm = if what % 2 == 0 {
            Arm::Stable
        } else {
            Arm::Canary
        };
        match what / 2 % 4 {
            0 => recorder.ended(arm, cell, ended(Outcome::Failed, 200)),
            1 => recorder.scored(arm, cell, score),
            2 => {
                recorder.eligible();
                let stable = score / 2.0;
                recorder.paired(
                    cell,
                    [Pair {
                        stable,
                        canary: score,
                    }],
                    false,
                );
            }
            _ => {
                let unit = Unit(u32::from(cell) << 16);
                recorder.preferred(unit, Verdict::of(score, -score));
            }
        }
        snapshots.push(recorder.snapshot());
    }
    snapshots
}

fn folded(snapshots: impl IntoIterator<Item = Evidence>) -> Together {
    let mut together = Together::new(subject());
    for snapshot in snapshots {
        together.fold(snapshot).unwrap();
    }
    together
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn snapshots_are_folded_in_any_order_any_number_of_times_and_through_anybody(
        routers in prop::collection::vec(
            prop::collection::vec((any::<u8>(), any::<u16>(), any::<i16>()), 0..8), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        split in any::<prop::sample::Index>(),
    ) {
        let all: Vec<Evidence> = routers
            .iter()
            .enumerate()
            .flat_map(|(instance, events)| seen(instance, events))
            .collect();
        let told: Vec<Evidence> = order.iter().map(|index| index.get(&all).clone()).collect();
        let shuffled = folded(told.iter().rev().chain(&all).chain(&told).cloned());
        let straight = folded(all.iter().cloned());
        prop_assert_eq!(&shuffled, &straight);
        prop_assert_eq!(shuffled.total(), straight.total());
        let (left, right) = all.split_at(split.index(all.len()));
        let (mut one, mut two) = (folded(left.to_vec()), folded(right.to_vec()));
        one.join(folded(right.to_vec())).unwrap();
        two.join(folded(left.to_vec())).unwrap();
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(one, straight);
    }
}

#[test]
fn equal_revisions_stay_equal_whichever_routers_saw_their_users() {
    let assigner = Assigner::new("lots");
    let router = |instance: &str, verdict| {
        let mut recorder = recorder(instance);
        for user in 0_u32..3_000 {
            let unit = Unit::of(&assigner, Key::prompt(&user.to_be_bytes()));
            recorder.preferred(unit, verdict);
        }
        recorder.snapshot()
    };
    let mut all = Together::new(subject());
    all.fold(router("a", Verdict::OnlyStable)).unwrap();
    all.fold(router("b", Verdict::OnlyCanary)).unwrap();
    let counts = all.total().preferences.counts();
    assert_eq!(counts.total(), 3_000);
    assert!((1_350..1_650).contains(&counts.only_stable), "{counts:?}");
    // What both have right is no more often believed than what they have wrong.
    all.fold(router("c", Verdict::BothRight)).unwrap();
    let counts = all.total().preferences.counts();
    assert!((850..1_150).contains(&counts.both_right), "{counts:?}");
}
