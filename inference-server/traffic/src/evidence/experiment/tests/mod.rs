mod forms;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::evidence::Unit;
use crate::table::experiment::tests::experiment;

pub(super) fn subject() -> Subject {
    Subject::of(&experiment())
}

fn paired_subject() -> Subject {
    Subject {
        mode: Mode::Paired,
        ..subject()
    }
}

fn recorder_of(instance: &str, subject: Subject) -> Recorder {
    Recorder::new(instance.to_owned(), "router-0".to_owned(), subject)
}

fn recorder(instance: &str) -> Recorder {
    recorder_of(instance, subject())
}

fn arm(place: usize) -> Arm {
    Arm::new(place).unwrap()
}

const DONE: Ended = Ended {
    is_error: false,
    is_remembered: false,
    is_fallback: false,
    took: Some(Duration::from_millis(100)),
};

const FAILED: Ended = Ended {
    is_error: true,
    is_fallback: true,
    took: Some(Duration::from_millis(300)),
    ..DONE
};

fn click(value: f64, id: Option<&str>) -> Happening<'_> {
    Happening {
        event: "click",
        value,
        id,
    }
}

/// The places of the metrics of [`experiment`].
const REWARD: usize = 0;
const SLOW: usize = 1;
const TIME: usize = 2;
const ERRORS: usize = 3;
const CLICKS: usize = 4;

/// Something of everything.
pub(super) fn small() -> Evidence {
    let mut recorder = recorder_of("1f", paired_subject());
    recorder.expose(Unit(7), Arm::CONTROL);
    recorder.ended(Unit(7), Arm::CONTROL, DONE);
    recorder.scored(Unit(7), Arm::CONTROL, [1.25]);
    recorder.eligible(arm(1));
    recorder.paired(Unit(7), arm(1), [(1.25, 1.5)]);
    recorder.eligible(arm(2));
    recorder.lacking(Unit(7), arm(2), Lacking::Late);
    recorder.happened(Unit(7), true, click(1.0, None));
    recorder.happened(Unit(u32::MAX), true, click(0.5, None));
    recorder.judged(Unit(9), &[Some(true), Some(false), None]);
    recorder.without_key(true);
    recorder.set_ready(vec![1, 2, 0]);
    recorder.snapshot()
}

#[test]
fn a_failure_that_stable_made_good_is_the_arms_error_and_its_clients_score_counts() {
    let mut recorder = recorder("1");
    let (unit, arm) = (Unit(1 << 30), arm(1));
    assert_eq!(recorder.expose(unit, arm), Admission::Counted);
    recorder.ended(unit, arm, FAILED);
    recorder.scored(unit, arm, [2.0, f64::NAN, 99.0]);
    recorder.ended(unit, arm, DONE);
    let remembered = Ended {
        is_remembered: true,
        ..DONE
    };
    recorder.ended(unit, arm, remembered);
    let sums = recorder.snapshot().sums;
    let exposed = sums.arm(arm).unwrap().cells.total();
    // A remembered answer is a request that did not fail, and has no latency.
    assert_eq!((exposed.requests, exposed.errors), (3, 1));
    assert_eq!(sums.arm(arm).unwrap().fallbacks, 1);
    let of = |metric| {
        let total = sums.metric(metric, arm).unwrap().cells.total();
        (total.count, total.sum)
    };
    // 99 is clipped to 5.5.
    assert_eq!(
        (of(REWARD), of(ERRORS), of(SLOW)),
        ((2, 7.5), (3, 1.0), (2, 1.0))
    );
    assert!((of(TIME).1 - (100_f64.ln() + 300_f64.ln())).abs() < 1e-9);
    let latencies = sums.metric(TIME, arm).unwrap().latencies.as_ref().unwrap();
    assert_eq!(latencies.total(), 2);
    assert_eq!((sums.users.of(arm), sums.users.with(arm, ERRORS)), (1, 1));
    assert_eq!(sums.users.of(Arm::CONTROL), 0);
}

#[test]
fn a_user_of_two_routers_is_one_and_a_user_of_two_arms_is_none_and_told() {
    let (mut one, mut two) = (recorder("1"), recorder("2"));
    for recorder in [&mut one, &mut two] {
        recorder.expose(Unit(1), arm(1));
        recorder.ended(Unit(1), arm(1), FAILED);
    }
    one.expose(Unit(2), Arm::CONTROL);
    two.expose(Unit(2), arm(1));
    // The same within one router: what comes second counts in nothing.
    one.expose(Unit(3), Arm::CONTROL);
    assert_eq!(one.expose(Unit(3), arm(2)), Admission::InAnother);
    let mut together = Together::new(subject());
    together.fold(one.snapshot()).unwrap();
    together.fold(two.snapshot()).unwrap();
    let sums = together.total();
    let users = [0, 1, 2].map(|place| sums.users.of(arm(place)));
    assert_eq!((users, sums.users.in_two()), ([0, 1, 0], 2));
    assert_eq!(sums.users.with(arm(1), ERRORS), 1);
    assert_eq!(sums.counts.in_another, 1);
    // Its requests are two.
    assert_eq!(sums.arm(arm(1)).unwrap().cells.total().errors, 2);
}

#[test]
fn whoever_comes_when_the_set_is_full_keeps_the_arm_and_is_counted_in_nothing() {
    let mut recorder = recorder("1");
    for unit in 0..u32::try_from(MAX_USERS).unwrap() {
        let arm = arm(usize::from(unit % 2 == 1));
        assert_eq!(recorder.expose(Unit(unit * 100), arm), Admission::Counted);
    }
    assert_eq!(recorder.expose(Unit(55), arm(1)), Admission::Beyond);
    assert_eq!(recorder.expose(Unit(100), arm(1)), Admission::Counted);
    let sums = recorder.snapshot().sums;
    assert_eq!((sums.users.len(), sums.counts.beyond), (MAX_USERS, 1));
    assert_eq!(
        (sums.users.of(Arm::CONTROL), sums.users.of(arm(1))),
        (20_000, 20_000)
    );
}

#[test]
fn an_event_counts_where_its_user_was_seen_by_anybody_and_of_nobody_it_is_unknown() {
    let (mut one, mut two) = (recorder("1"), recorder("2"));
    one.expose(Unit(1), arm(1));
    assert_eq!(
        one.happened(Unit(1), true, click(1.0, None)),
        Happened::Counted
    );
    // The feedback of users met another router than their request.
    assert_eq!(
        two.happened(Unit(1), true, click(0.5, None)),
        Happened::Awaited
    );
    assert_eq!(
        two.happened(Unit(2), true, click(1.0, None)),
        Happened::Awaited
    );
    // Its slot is nobody's.
    assert_eq!(
        two.happened(Unit(3), false, click(1.0, None)),
        Happened::UnknownUser
    );
    let other = Happening {
        event: "purchase",
        ..click(1.0, None)
    };
    assert_eq!(two.happened(Unit(1), true, other), Happened::UnknownEvent);
    assert_eq!(
        two.happened(Unit(1), true, click(f64::NAN, None)),
        Happened::UnknownEvent
    );
    let mut together = Together::new(subject());
    for recorder in [&mut one, &mut two] {
        together.fold(recorder.snapshot()).unwrap();
    }
    let sums = together.total().settled();
    let clicks = sums.metric(CLICKS, arm(1)).unwrap().cells.total();
    assert_eq!((clicks.count, clicks.sum), (2, 1.5));
    let counts = sums.counts;
    assert_eq!(
        (counts.events, counts.unknown_users, counts.unknown_events),
        (2, 2, 2)
    );
    assert_eq!((sums.users.with(arm(1), CLICKS), sums.unseen.len()), (1, 0));
    let per_user = sums.per_user(CLICKS, arm(1));
    assert_eq!((per_user.units, per_user.x, per_user.y), (1, 1.0, 1.5));
}

#[test]
fn an_event_that_comes_before_its_users_request_counts_once_that_comes() {
    let mut recorder = recorder("1");
    recorder.happened(Unit(1), true, click(1.0, None));
    recorder.expose(Unit(1), arm(2));
    let sums = recorder.snapshot().sums;
    assert!(sums.unseen.is_empty());
    assert_eq!(sums.metric(CLICKS, arm(2)).unwrap().cells.total().count, 1);
}

#[test]
fn an_event_with_an_id_counts_once_and_without_one_each_time() {
    let mut recorder = recorder("1");
    recorder.expose(Unit(1), arm(1));
    let told: Vec<_> = [Some("a"), Some("a"), Some("b"), None, None]
        .map(|id| recorder.happened(Unit(1), true, click(1.0, id)))
        .into();
    assert_eq!(told[1], Happened::Repeated);
    let sums = recorder.snapshot().sums;
    assert_eq!((sums.counts.events, sums.counts.repeated_events), (4, 1));
    // One that was not counted may be sent again.
    assert_eq!(
        recorder.happened(Unit(2), false, click(1.0, Some("c"))),
        Happened::UnknownUser
    );
    assert_eq!(
        recorder.happened(Unit(1), true, click(1.0, Some("c"))),
        Happened::Counted
    );
}

#[test]
fn what_comes_when_the_epoch_is_closed_counts_for_it_and_is_told_apart() {
    let mut recorder = recorder("1");
    recorder.expose(Unit(1), arm(1));
    recorder.close();
    recorder.happened(Unit(1), true, click(1.0, None));
    recorder.happened_after();
    let evidence = recorder.snapshot();
    let counts = evidence.sums.counts;
    assert!(evidence.closed);
    assert_eq!(
        (counts.events, counts.late_events, counts.events_after),
        (1, 1, 1)
    );
}

#[test]
fn whoever_chooses_a_variant_is_evidence_of_none() {
    let mut recorder = recorder("1");
    recorder.overridden(Some(Unit(1)), arm(1));
    recorder.overridden(None, arm(1));
    assert!(recorder.sums().users.is_empty());
    recorder.expose(Unit(1), Arm::CONTROL);
    assert_eq!(recorder.sums().users.of(Arm::CONTROL), 1);
    recorder.overridden(Some(Unit(1)), arm(1));
    let sums = recorder.snapshot().sums;
    assert_eq!((sums.users.of(Arm::CONTROL), sums.users.in_two()), (0, 1));
    assert_eq!(sums.counts.overridden, 3);
}

#[test]
fn a_pair_that_is_missing_is_that_variants_error_and_no_other_ones() {
    let evidence = small();
    let [control, second, third] = [0, 1, 2].map(|place| evidence.sums.arms[place].clone());
    assert_eq!((control.cells.total().errors, control.eligible), (0, 0));
    assert_eq!((second.cells.total().errors, second.paired), (0, 1));
    assert_eq!((third.cells.total().errors, third.missing.total()), (1, 1));
    let pairs = evidence
        .sums
        .metric(REWARD, arm(1))
        .unwrap()
        .pairs
        .clone()
        .unwrap();
    let total = pairs.cells.total();
    assert_eq!((total.count, total.sum, pairs.differ), (1, 0.25, 1));
    assert_eq!(
        (pairs.cross.a, pairs.cross.b, pairs.cross.ab),
        (1.25, 1.5, 1.875)
    );
}

#[test]
fn a_variant_that_does_not_score_a_pair_is_wrong_and_what_the_control_does_not_score_is_none() {
    let mut recorder = recorder("1");
    recorder.judged(Unit(1), &[Some(true), Some(false), None]);
    recorder.judged(Unit(2), &[Some(false), Some(true), Some(false)]);
    recorder.judged(Unit(2), &[Some(false), Some(true), Some(true)]);
    recorder.judged(Unit(3), &[None, Some(true), Some(true)]);
    let rights = recorder.snapshot().sums.rights;
    let [second, third] = [1, 2].map(|place| rights.counts(arm(place)));
    assert_eq!(
        (second.control_alone, second.candidate_alone, second.total()),
        (1, 1, 2)
    );
    assert_eq!((third.control_alone, third.both_wrong), (1, 1));
    assert_eq!(
        (rights.failed, rights.repeated, rights.missing),
        (1, 1, [0, 0, 1, 0])
    );
}

#[test]
fn evidence_of_another_epoch_or_of_one_metric_is_not_added_to_that_of_all() {
    let mut together = Together::new(paired_subject());
    let mut other = small();
    other.subject.epoch += 1;
    assert_eq!(
        together.fold(other).unwrap_err().word(),
        "AnotherExperiment"
    );
    let one = small().only("clicks").unwrap();
    assert_eq!(together.fold(one).unwrap_err().word(), "AnotherExperiment");
    assert_eq!(small().only("nothing"), None);
}

#[test]
fn one_metric_alone_has_what_is_needed_for_it() {
    let all = small();
    let one = all.clone().only("clicks").unwrap();
    assert_eq!(one.sums.metrics.len(), 1);
    assert_eq!(
        one.sums.metric(0, Arm::CONTROL),
        all.sums.metric(CLICKS, Arm::CONTROL)
    );
    let users = one.sums.users.with(Arm::CONTROL, 0);
    assert_eq!(users, all.sums.users.with(Arm::CONTROL, CLICKS));
    assert_eq!((one.sums.unseen.len(), one.sums.rights.len()), (1, 0));
    assert_eq!(all.only("pref").unwrap().sums.rights.len(), 1);
}

#[test]
fn latencies_lie_between_edges_and_each_is_an_upper_one() {
    let edges = Latencies::edges();
    assert_eq!(
        (edges.len(), edges[0], edges[LATENCY_EDGES - 1]),
        (LATENCY_EDGES, 0.5, 65_536.0)
    );
    let mut latencies = Latencies::default();
    let micros = [0, 500, 501, 1_000, 65_536_000, 65_536_001].map(Duration::from_micros);
    for took in micros {
        latencies.add(took);
    }
    let active: Vec<usize> = (0..=LATENCY_EDGES)
        .filter(|place| latencies.counts()[*place] > 0)
        .collect();
    assert_eq!(active, [0, 1, 16, LATENCY_EDGES - 1, LATENCY_EDGES]);
    assert!(stats::Histogram::new(edges, latencies.counts()).is_some());
}

/// A history of one router: numbers that stand for what it sees.
fn seen(instance: usize, happenings: &[(u8, u8, i16)]) -> Vec<Evidence> {
    let mut recorder = recorder_of(&instance.to_string(), paired_subject());
    let mut snapshots = vec![recorder.snapshot()];
    for (what, user, value) in happenings {
        let unit = Unit(u32::from(*user) << 22);
        // As a hash does: a user has one arm, but for a few who choose.
        let of = arm(usize::from(user % 3));
        let value = f64::from(*value) / 8.0;
        match what % 6 {
            0 => {
                if recorder.expose(unit, of) == Admission::Counted {
                    recorder.ended(unit, of, FAILED);
                    recorder.scored(unit, of, [value]);
                }
            }
            1 => {
                recorder.eligible(arm(1));
                recorder.paired(unit, arm(1), [(value, value / 2.0)]);
            }
            2 => {
                recorder.happened(unit, true, click(value, None));
            }
            3 => {
                recorder.judged(unit, &[Some(value > 0.0), Some(value < 8.0), None]);
            }
            4 => recorder.overridden(Some(unit), arm(2)),
            _ => {
                recorder.eligible(arm(2));
                recorder.lacking(unit, arm(2), Lacking::Full);
            }
        }
        snapshots.push(recorder.snapshot());
    }
    snapshots
}

fn folded(snapshots: impl IntoIterator<Item = Evidence>) -> Together {
    let mut together = Together::new(paired_subject());
    for snapshot in snapshots {
        together.fold(snapshot).unwrap();
    }
    together
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn evidence_is_merged_in_any_order_any_number_of_times_and_of_routers_that_were_killed(
        routers in prop::collection::vec(
            prop::collection::vec((any::<u8>(), any::<u8>(), any::<i16>()), 0..10), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        split in any::<prop::sample::Index>(),
    ) {
        let all: Vec<Evidence> = routers
            .iter()
            .enumerate()
            .flat_map(|(instance, happenings)| seen(instance, happenings))
            .collect();
        let told: Vec<Evidence> = order.iter().map(|index| index.get(&all).clone()).collect();
        let shuffled = folded(told.iter().rev().chain(&all).chain(&told).cloned());
        let straight = folded(all.iter().cloned());
        prop_assert_eq!(&shuffled, &straight);
        prop_assert_eq!(shuffled.total().settled(), straight.total().settled());
        let (left, right) = all.split_at(split.index(all.len()));
        let mut one = folded(left.to_vec());
        one.join(folded(right.to_vec())).unwrap();
        prop_assert_eq!(&one, &straight);
        // A router that was killed told of a part: what it told is in the whole, and no more.
        let part = folded(left.to_vec()).total();
        let whole = straight.total();
        prop_assert!(part.users.iter().all(|(unit, _)| whole.users.get(unit).is_some()));
        prop_assert!(part.counts.events <= whole.counts.events);
        // Nobody is counted in two arms.
        let arms: u64 = (0..3).map(|place| whole.users.of(arm(place))).sum();
        let len = u64::try_from(whole.users.len()).unwrap();
        prop_assert_eq!(arms + whole.users.in_two(), len);
    }
}
