//! What is a reason to cut off, what is none, and that sums are in any order.

use proptest::prelude::*;

use super::*;
use crate::table::CutOff;
use crate::{Revision, Weight};

const MS: Duration = Duration::from_millis(1);

/// A router in which a rollout is counted, with a clock and keys of its own.
struct World {
    recorder: Recorder,
    rules: CutOff,
    now: Millis,
    user: u64,
    weight: u16,
}

impl World {
    /// Stable has answered `stable` requests in the second before.
    fn after(stable: u64) -> Self {
        let mut world = Self {
            recorder: Recorder::new(Duration::from_secs(5)),
            rules: CutOff::default(),
            now: Millis(100_000),
            user: 0,
            weight: 2_500,
        };
        world.several(stable, Arm::Stable, Outcome::Answered);
        world
    }

    fn begin(&mut self, arm: Arm, limit: Option<Duration>) -> Ticket {
        self.user += 1;
        let start = Start {
            arm,
            user: self.user,
            weight: Weight::new(self.weight),
            limit,
        };
        self.recorder.begin(start, self.now)
    }

    fn one(&mut self, arm: Arm, outcome: Outcome) {
        let ticket = self.begin(arm, None);
        self.recorder.end(ticket, outcome, self.now);
    }

    fn several(&mut self, times: u64, arm: Arm, outcome: Outcome) {
        for _ in 0..times {
            self.one(arm, outcome);
        }
    }

    fn scores(&mut self, arm: Arm, input: u64, score: u64) {
        let ticket = self.begin(arm, None);
        self.recorder.scored(&ticket, input, score);
        self.recorder.end(ticket, Outcome::Abandoned, self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn cause(&self) -> Option<Cause> {
        let finding = self.recorder.judge(&self.rules, self.now);
        finding.map(|finding| finding.cause)
    }

    /// How many of one outcome in a row it takes.
    fn until(&mut self, arm: Arm, outcome: Outcome) -> (u64, Cause) {
        (1..1_000)
            .find_map(|times| {
                self.one(arm, outcome);
                Some((times, self.cause()?))
            })
            .unwrap()
    }
}

#[test]
fn a_cut_off_that_nobody_confirms_ends() {
    let cut = LocalCutOff {
        revision: Revision::parse("c").unwrap(),
        finding: Finding {
            cause: Cause::Errors,
            count: 5,
            of: 5,
        },
        at: Millis(1_000),
    };
    assert!(cut.holds(Millis(30_999)) && !cut.holds(Millis(31_000)));
    assert_eq!(cut.finding.to_string(), "5 of 5 requests failed");
}

#[test]
fn a_cause_is_known_by_its_word() {
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.word()), Some(cause));
        let written = serde_json::to_string(&cause).unwrap();
        assert_eq!(written, format!("{:?}", cause.word()));
    }
    assert_eq!(Cause::parse("Boredom"), None);
}

#[test]
fn a_canary_that_only_fails_is_found_by_its_fifth_request() {
    let mut world = World::after(50);
    assert_eq!(
        world.until(Arm::Canary, Outcome::Failed),
        (5, Cause::Errors)
    );
    let finding = world.recorder.judge(&world.rules, world.now).unwrap();
    assert_eq!((finding.count, finding.of), (5, 5));
}

#[test]
fn a_canary_that_refuses_or_cannot_be_reached_is_found_too() {
    let mut world = World::after(50);
    assert_eq!(
        world.until(Arm::Canary, Outcome::Refused),
        (5, Cause::Refused)
    );
    let mut world = World::after(50);
    let lost = world.until(Arm::Canary, Outcome::Unreachable);
    assert_eq!(lost, (5, Cause::Unreachable));
    assert!(!lost.1.blames_the_revision());
}

#[test]
fn a_canary_that_was_good_and_fails_now_is_found_by_its_users() {
    let mut world = World::after(200);
    world.several(60, Arm::Canary, Outcome::Answered);
    let (requests, cause) = world.until(Arm::Canary, Outcome::Failed);
    assert_eq!(cause, Cause::MoreErrors);
    assert!(requests <= 11, "{requests}");
}

#[test]
fn one_user_who_tries_again_and_again_is_no_evidence_against_a_canary() {
    let mut world = World::after(200);
    world.several(60, Arm::Canary, Outcome::Answered);
    for _ in 0..59 {
        world.user = 7;
        world.one(Arm::Canary, Outcome::Failed);
    }
    assert_eq!(world.cause(), None);
}

#[test]
fn a_canary_that_hangs_is_slow_now() {
    let mut world = World::after(50);
    let limit = 90 * MS;
    let tickets: Vec<_> = (0..5)
        .map(|_| world.begin(Arm::Canary, Some(limit)))
        .collect();
    assert_eq!(
        world.recorder.next_slow(world.now),
        Some(world.now.plus(limit))
    );
    world.wait(89 * MS);
    assert_eq!(world.cause(), None);
    world.wait(MS);
    assert_eq!(world.cause(), Some(Cause::Slow));
    assert_eq!(world.recorder.next_slow(world.now), None);
    // Each counts once, also when it is answered in the end.
    for ticket in tickets {
        world.recorder.end(ticket, Outcome::Answered, world.now);
    }
    let counters = world.recorder.counters(world.now);
    assert_eq!(
        (counters.window.canary.requests, counters.window.canary.slow),
        (5, 5)
    );
}

#[test]
fn a_request_that_nobody_waits_for_any_more_counts_only_if_it_was_slow() {
    let mut world = World::after(50);
    let [quick, slow] = [10 * MS, 90 * MS].map(|limit| world.begin(Arm::Canary, Some(limit)));
    world.wait(50 * MS);
    for ticket in [quick, slow] {
        world.recorder.end(ticket, Outcome::Abandoned, world.now);
    }
    let canary = world.recorder.counters(world.now).total.canary;
    assert_eq!((canary.requests, canary.slow), (1, 1));
}

#[test]
fn a_canary_that_stable_overtakes_is_slow_where_nothing_else_is_known() {
    let mut world = World::after(20);
    assert_eq!(
        world.until(Arm::Canary, Outcome::Overtaken),
        (5, Cause::Slow)
    );
    let mut world = World::after(20);
    for _ in 0..20 {
        let ticket = world.begin(Arm::Canary, Some(900 * MS));
        world.recorder.end(ticket, Outcome::Overtaken, world.now);
    }
    assert_eq!(world.cause(), None);
}

#[test]
fn a_score_that_is_no_number_is_found_at_once() {
    let mut world = World::after(0);
    assert_eq!(
        world.until(Arm::Canary, Outcome::NonFinite(1)),
        (1, Cause::NonFinite)
    );
    let mut world = World::after(0);
    world.rules.non_finite = 3;
    assert_eq!(
        world.until(Arm::Canary, Outcome::NonFinite(1)),
        (3, Cause::NonFinite)
    );
}

#[test]
fn one_score_for_twenty_inputs_is_found_and_for_nineteen_is_not() {
    let mut world = World::after(0);
    for input in 0..19 {
        world.scores(Arm::Canary, input, 9);
        world.scores(Arm::Canary, input, 9);
    }
    assert_eq!(world.cause(), None);
    world.scores(Arm::Canary, 19, 9);
    assert_eq!(world.cause(), Some(Cause::Constant));
    world.rules.constant_scores = false;
    assert_eq!(world.cause(), None);
}

#[test]
fn one_score_for_everything_is_the_inputs_fault_where_stable_has_it_too() {
    let mut world = World::after(0);
    for input in 0..25 {
        world.scores(Arm::Canary, input, 9);
        world.scores(Arm::Stable, input, 8);
    }
    assert_eq!(world.cause(), None);
}

#[test]
fn what_breaks_both_cuts_nobody_off() {
    let mut world = World::after(0);
    for outcome in [Outcome::Failed, Outcome::Unreachable] {
        world.several(15, Arm::Stable, outcome);
        world.several(5, Arm::Canary, outcome);
    }
    let limit = Some(MS);
    let slow: Vec<_> = [Arm::Stable, Arm::Canary]
        .map(|arm| world.begin(arm, limit))
        .into();
    world.wait(MS);
    assert_eq!(world.cause(), None);
    drop(slow);
}

#[test]
fn what_stable_refuses_excuses_no_canary_that_fails() {
    let mut world = World::after(30);
    world.several(40, Arm::Stable, Outcome::Refused);
    world.several(9, Arm::Canary, Outcome::Failed);
    assert!(world.cause().is_some());
}

#[test]
fn requests_that_fail_by_stable_as_well_count_for_nobody() {
    let mut world = World::after(50);
    world.several(30, Arm::Canary, Outcome::Excused);
    world.several(30, Arm::Canary, Outcome::Remembered);
    assert_eq!(world.cause(), None);
    assert_eq!(
        world.recorder.counters(world.now).total.canary,
        Tally::default()
    );
}

#[test]
fn few_errors_beside_a_stable_that_errs_as_often_are_none() {
    let mut world = World::after(40);
    world.several(20, Arm::Stable, Outcome::Failed);
    for outcome in [Outcome::Failed, Outcome::Answered, Outcome::Failed] {
        world.one(Arm::Canary, outcome);
    }
    world.several(2, Arm::Canary, Outcome::Failed);
    // 4 of 5 failed, and a third of stable's do.
    assert_eq!(world.cause(), None);
}

#[test]
fn the_window_moves_on() {
    let mut world = World::after(50);
    world.several(4, Arm::Canary, Outcome::Failed);
    world.wait(Duration::from_secs(6));
    world.several(4, Arm::Canary, Outcome::Answered);
    world.one(Arm::Canary, Outcome::Failed);
    let counters = world.recorder.counters(world.now);
    assert_eq!(
        (counters.window.canary.errors, counters.total.canary.errors),
        (1, 5)
    );
    world.recorder.set_window(Duration::from_mins(1));
    assert_eq!(world.recorder.counters(world.now).window, ByArm::default());
}

#[test]
fn after_a_cut_off_that_nobody_confirmed_counting_begins_anew() {
    let mut world = World::after(50);
    let ticket = world.begin(Arm::Canary, Some(MS));
    world.several(5, Arm::Canary, Outcome::Failed);
    assert!(world.cause().is_some());
    world.recorder.forget();
    assert_eq!(world.recorder.counters(world.now), Counters::default());
    world.wait(MS);
    world.recorder.end(ticket, Outcome::Answered, world.now);
    assert_eq!(world.recorder.counters(world.now).total.canary.slow, 1);
}

#[test]
fn the_inputs_of_one_request_are_one_towards_a_run() {
    let mut world = World::after(50);
    let alike: Vec<(u64, u64)> = (0..100).map(|input| (input, 9)).collect();
    let ticket = world.begin(Arm::Canary, None);
    world.recorder.scored_together(&ticket, &alike);
    world.recorder.end(ticket, Outcome::Answered, world.now);
    assert_eq!(world.recorder.counters(world.now).runs.canary.length(), 1);
    // So a constant is found in batches too.
    for batch in 1..u64::try_from(DISTINCT_INPUTS).unwrap() {
        assert_eq!(world.cause(), None);
        let ticket = world.begin(Arm::Canary, None);
        let inputs = [(100 * batch, 9), (100 * batch + 1, 9)];
        world.recorder.scored_together(&ticket, &inputs);
        world.recorder.end(ticket, Outcome::Answered, world.now);
    }
    assert_eq!(world.cause(), Some(Cause::Constant));
    // Wherever another score is among them, it is none.
    for other in 0..3 {
        let mut inputs = [(7_001, 9), (7_002, 9), (7_003, 9)];
        inputs[other].1 = 8;
        let mut world = world.recorder.clone();
        let ticket = world.begin(
            Start {
                arm: Arm::Canary,
                user: 1,
                weight: None,
                limit: None,
            },
            Millis(0),
        );
        world.scored_together(&ticket, &inputs);
        assert!(!world.repeats(), "{other}");
        world.end(ticket, Outcome::Answered, Millis(0));
    }
}

#[test]
fn what_is_answered_is_not_slow_while_it_is_found_out_what_that_is_worth() {
    let mut world = World::after(50);
    let [mut quick, mut late] = [(); 2].map(|()| world.begin(Arm::Canary, Some(MS)));
    world.recorder.answered(&mut quick, world.now);
    world.wait(5 * MS);
    world.recorder.answered(&mut late, world.now);
    assert_eq!(world.recorder.counters(world.now).total.canary.slow, 1);
    world.recorder.end(quick, Outcome::Answered, world.now);
    world.recorder.end(late, Outcome::Answered, world.now);
    let canary = world.recorder.counters(world.now).total.canary;
    assert_eq!((canary.requests, canary.slow), (2, 1));
}

#[test]
fn what_began_in_one_rollout_is_never_counted_for_the_next() {
    let mut world = World::after(50);
    let late: Vec<Ticket> = (0..40)
        .map(|_| world.begin(Arm::Canary, Some(MS)))
        .collect();
    world.wait(2 * MS);
    world.recorder.restart(Duration::from_secs(5));
    assert_eq!(world.recorder.next_slow(Millis(0)), None);
    for (input, ticket) in (0..).zip(late) {
        world.recorder.scored(&ticket, input, 9);
        world.recorder.end(ticket, Outcome::Failed, world.now);
    }
    assert_eq!(world.recorder.counters(world.now), Counters::default());
    // Its own are, under numbers that were given before.
    world.several(50, Arm::Stable, Outcome::Answered);
    world.several(5, Arm::Canary, Outcome::Failed);
    assert_eq!(world.cause(), Some(Cause::Errors));
}

#[test]
fn several_routers_find_together_what_each_sees_little_of() {
    let mut routers = [World::after(30), World::after(30), World::after(30)];
    for (place, router) in (0_u64..).zip(&mut routers) {
        router.user = 1_000 * (place + 1);
        router.several(2, Arm::Canary, Outcome::Failed);
        assert_eq!(router.cause(), None);
    }
    let all = routers
        .iter()
        .map(|router| router.recorder.counters(router.now));
    let sum = all.fold(Counters::default(), Counters::merge);
    assert_eq!(
        judge(&sum, &CutOff::default()).map(|f| f.cause),
        Some(Cause::Errors)
    );
}

#[test]
fn evidence_at_one_weight_is_kept_at_the_next() {
    let mut world = World::after(300);
    world.several(100, Arm::Canary, Outcome::Answered);
    world.several(4, Arm::Canary, Outcome::Failed);
    assert_eq!(world.cause(), None);
    world.weight = 5_000;
    let (more, cause) = world.until(Arm::Canary, Outcome::Failed);
    assert_eq!(cause, Cause::MoreErrors);
    let mut fresh = World::after(300);
    fresh.weight = 5_000;
    fresh.several(104, Arm::Canary, Outcome::Answered);
    assert!(more < fresh.until(Arm::Canary, Outcome::Failed).0);
}

fn outcome() -> impl Strategy<Value = Outcome> {
    proptest::sample::select(vec![
        Outcome::Answered,
        Outcome::Remembered,
        Outcome::Failed,
        Outcome::NonFinite(2),
        Outcome::Refused,
        Outcome::Unreachable,
        Outcome::Abandoned,
        Outcome::Overtaken,
        Outcome::Excused,
    ])
}

/// What one router has counted.
fn counters() -> impl Strategy<Value = Counters> {
    let arm = proptest::sample::select(vec![Arm::Stable, Arm::Canary]);
    let event = (arm, outcome(), 0_u64..60, 0_u64..3, 0_u64..40, 1_u16..4);
    proptest::collection::vec(event, 0..80).prop_map(|events| {
        let mut recorder = Recorder::new(Duration::from_secs(5));
        let mut now = Millis(0);
        for (arm, outcome, user, score, took, weight) in events {
            let start = Start {
                arm,
                user,
                weight: Weight::new(weight * 2_500),
                limit: Some(20 * MS),
            };
            let ticket = recorder.begin(start, now);
            now = Millis(now.0 + took);
            recorder.scored(&ticket, user, score);
            recorder.end(ticket, outcome, now);
        }
        recorder.counters(now)
    })
}

proptest! {
    #[test]
    fn counts_are_added_up_in_any_order(a in counters(), b in counters(), c in counters()) {
        let sum = a.clone().merge(b.clone()).merge(c.clone());
        prop_assert_eq!(&a.clone().merge(b.clone().merge(c.clone())), &sum);
        prop_assert_eq!(&c.merge(b.merge(a.clone())), &sum);
        prop_assert_eq!(&a.clone().merge(Counters::default()), &a);
    }

    #[test]
    fn counts_are_read_as_they_were_written(counters in counters()) {
        let text = serde_json::to_string(&counters).unwrap();
        prop_assert_eq!(serde_json::from_str::<Counters>(&text).unwrap(), counters);
    }

    #[test]
    fn a_canary_that_answers_like_stable_and_in_time_is_never_cut_off(requests in 0_u64..300) {
        let mut world = World::after(requests);
        world.several(requests, Arm::Canary, Outcome::Answered);
        prop_assert_eq!(world.cause(), None);
    }
}
