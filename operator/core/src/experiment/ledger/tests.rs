use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;
use traffic::evidence::Unit;
use traffic::evidence::experiment::{Ended, Happening, MAX_USERS, Recorder};

use super::super::testing::{World, experiment};
use super::*;

fn subject(metric: &str) -> Subject {
    let mut world = World::new(&json!({}));
    let step = world.step();
    let subjects = subjects(
        step.design.as_ref().unwrap(),
        step.state.epoch.as_ref().unwrap(),
    );
    subjects[metric].clone()
}

fn router(instance: &str) -> Recorder {
    Recorder::new(
        instance.to_owned(),
        format!("pod-{instance}"),
        subject("clicks"),
    )
}

/// The same for each call with the same number.
fn unit(user: u32) -> Unit {
    Unit(user.wrapping_mul(0x9E37_79B1))
}

fn arm(user: u32) -> Arm {
    Arm::new(usize::try_from(user % 2).unwrap()).unwrap()
}

fn asks(router: &mut Recorder, user: u32) {
    router.expose(unit(user), arm(user));
    let answered = Ended {
        is_error: false,
        is_remembered: false,
        is_fallback: false,
        took: None,
    };
    router.ended(unit(user), arm(user), answered);
}

fn clicks(router: &mut Recorder, user: u32) {
    let event = Happening {
        event: "click",
        value: 1.0,
        id: None,
    };
    router.happened(unit(user), true, event);
}

fn pods(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("pod-{name}")).collect()
}

#[test]
fn a_user_of_two_routers_is_one_and_its_event_that_met_the_other_counts() {
    let (mut a, mut b) = (router("a"), router("b"));
    for user in 0..100 {
        asks(&mut a, user);
        asks(&mut b, user);
    }
    asks(&mut a, 200);
    clicks(&mut b, 200);
    let mut ledger = Ledger::new(subject("clicks"));
    assert!(ledger.is_empty());
    for router in [&mut a, &mut b] {
        assert!(ledger.take(router.snapshot()));
    }
    let totals = totals(
        &super::super::testing::design(&json!({})),
        &Ledgers::from([("clicks".to_owned(), ledger)]),
        &BTreeMap::new(),
    );
    assert_eq!((totals.arm(0).users, totals.arm(1).users), (51, 50));
    assert_eq!((totals.arm(0).requests, totals.users()), (101, 101));
    assert_eq!((totals.counted(0, 0).had, totals.counted(0, 1).had), (1, 0));
}

#[test]
fn a_user_in_two_arms_is_counted_in_none_and_shown() {
    // growthbook#844, posthog#29336
    let (mut a, mut b) = (router("a"), router("b"));
    a.expose(unit(1), Arm::CONTROL);
    b.expose(unit(1), Arm::new(1).unwrap());
    asks(&mut a, 2);
    let mut ledger = Ledger::new(subject("clicks"));
    ledger.take(a.snapshot());
    ledger.take(b.snapshot());
    let totals = totals(
        &super::super::testing::design(&json!({})),
        &Ledgers::from([("clicks".to_owned(), ledger)]),
        &BTreeMap::new(),
    );
    assert_eq!((totals.users(), totals.left_out.in_two_variants), (1, 1));
}

#[test]
fn the_mean_of_an_event_is_that_of_all_who_were_served() {
    let mut a = router("a");
    for user in 0..10 {
        asks(&mut a, user);
    }
    clicks(&mut a, 0);
    clicks(&mut a, 0);
    let sums = {
        let mut ledger = Ledger::new(subject("clicks"));
        ledger.take(a.snapshot());
        ledger.total()
    };
    let cells = |kind| {
        let source = Source::Event("click".to_owned());
        counted(&sums, Arm::CONTROL, kind, &source, Mode::Split).cells
    };
    let sum = |cells: &totals::Sums| cells.iter().fold((0, 0.0), |(x, y), (a, b)| (x + a, y + b));
    assert_eq!(sum(&cells(Kind::Mean)), (5, 2.0));
    assert_eq!(sum(&cells(Kind::Ratio)), (2, 2.0));
}

#[test]
fn nothing_that_a_look_leaves_is_lost_also_where_no_router_counts() {
    let track = |beyond| Track {
        tau: None,
        harm: 0.0,
        beyond,
    };
    let of = |metric: &str| (metric.to_owned(), "v2".to_owned());
    let left = Tracks::from([
        (of("clicks"), track(1)),
        (of("latency of a gateway"), track(2)),
    ]);
    let mut ledgers = Ledgers::from([("clicks".to_owned(), Ledger::new(subject("clicks")))]);
    keep(&mut ledgers, &left);
    let mut known = tracks(&ledgers);
    known.extend(unkept(&ledgers, &left));
    assert_eq!(known, left);
}

#[test]
fn an_operator_that_starts_goes_on_where_the_last_one_was() {
    let (mut a, mut b) = (router("a"), router("b"));
    for user in 0..300 {
        asks(&mut a, user);
        asks(&mut b, user + 100);
    }
    let mut ledger = Ledger::new(subject("clicks"));
    ledger.take(a.snapshot());
    ledger.take(b.snapshot());
    ledger.retire(&pods(&["b"]));
    let track = Track {
        tau: stats::Scale::new(0.1 + 0.2),
        harm: 1.0 / 3.0,
        beyond: 2,
    };
    ledger.tracks.insert("v2".to_owned(), track);
    let object = ledger.object(&experiment(&json!({})), "clicks");
    assert_eq!(object.metadata.name.as_deref(), Some("x-evidence-clicks"));
    assert!(object.metadata.owner_references.is_some());
    let read = Ledger::read(&object, &subject("clicks")).unwrap().unwrap();
    assert_eq!(read, ledger);
    // Of another epoch it is none, and changed by somebody it is an error.
    let other = Subject {
        epoch: 2,
        ..subject("clicks")
    };
    assert_eq!(Ledger::read(&object, &other), Ok(None));
    let mut cut = object.clone();
    for bytes in cut.binary_data.iter_mut().flat_map(|all| all.values_mut()) {
        bytes.0.truncate(20);
    }
    assert!(Ledger::read(&cut, &subject("clicks")).is_err());
    let mut without = object;
    without.data = None;
    assert!(Ledger::read(&without, &subject("clicks")).is_err());
}

#[test]
fn a_killed_router_is_counted_as_lost_and_one_that_left_in_order_is_not() {
    let (mut a, mut b, mut c) = (router("a"), router("b"), router("c"));
    for user in 0..30 {
        asks(&mut a, user);
        asks(&mut b, user);
        asks(&mut c, user + 30);
    }
    b.leave();
    let late = a.snapshot();
    let mut ledger = Ledger::new(subject("clicks"));
    for router in [&mut a, &mut b, &mut c] {
        ledger.take(router.snapshot());
    }
    let before = ledger.total();
    ledger.retire(&pods(&["c"]));
    assert_eq!((ledger.lost(), ledger.total()), (1, before.clone()));
    // What comes of it afterwards is not counted twice.
    assert!(!ledger.take(late));
    ledger.retire(&[]);
    assert_eq!(
        (ledger.lost(), ledger.total().users.len()),
        (2, before.users.len())
    );
}

#[test]
fn what_is_kept_stays_below_what_an_api_server_takes() {
    let mut ledger = Ledger::new(subject("clicks"));
    for instance in 0..6_u32 {
        let mut full = router(&instance.to_string());
        for user in 0..u32::try_from(MAX_USERS).unwrap() {
            asks(&mut full, user * 6 + instance);
        }
        ledger.take(full.snapshot());
    }
    ledger.retire(&pods(&["1", "2", "3", "4", "5"]));
    let object = ledger.object(&experiment(&json!({})), "clicks");
    let kept = object.binary_data.as_ref().unwrap();
    let bytes: usize = kept.values().map(|bytes| bytes.0.len()).sum();
    assert!(bytes <= KEPT_BYTES && bytes > KEPT_BYTES / 2, "{bytes}");
    // What nobody can be asked for again is there.
    let read = Ledger::read(&object, &subject("clicks")).unwrap().unwrap();
    assert_eq!(read.gone, ledger.gone);
}

proptest! {
    /// Documents come in any order, twice, and of routers that are gone in between: users are the union.
    #[test]
    fn users_are_the_union_of_what_routers_saw(
        events in prop::collection::vec((0..3_usize, 0..40_u32, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut routers = [router("0"), router("1"), router("2")];
        let mut ledger = Ledger::new(subject("clicks"));
        let mut told = BTreeSet::new();
        let mut pending: [BTreeSet<u32>; 3] = Default::default();
        let mut gone = [false; 3];
        for (place, user, tells, goes) in events {
            if gone[place] {
                continue;
            }
            asks(&mut routers[place], user);
            pending[place].insert(user);
            if tells {
                let document = routers[place].snapshot();
                ledger.take(document.clone());
                prop_assert!(!ledger.take(document));
                told.append(&mut pending[place]);
            }
            if tells && goes {
                gone[place] = true;
                let names: Vec<String> = (0..3).filter(|one| !gone[*one]).map(|one| format!("pod-{one}")).collect();
                ledger.retire(&names);
            }
            prop_assert_eq!(ledger.total().users.len(), told.len());
        }
    }
}
