use proptest::prelude::*;
use serde_json::json;
use traffic::Revision;
use traffic::cutoff::Arm;
use traffic::evidence::{ArmCell, CELLS, Evidence, Subject, Sums};

use super::*;
use crate::gates::{Gate, Measurement, Stratum, read};
use crds::RewardModel;

fn subject() -> Subject {
    Subject {
        rollout: Some("r-1".to_owned()),
        stable: Revision::parse("aaaaaaaaaa").unwrap(),
        canary: Revision::parse("bbbbbbbbbb").unwrap(),
    }
}

/// What a router has seen: so many requests and errors of each arm, all of one cell.
fn told(instance: &str, sequence: u64, cell: u16, stable: [u64; 2], canary: [u64; 2]) -> Evidence {
    let mut sums = Sums::default();
    for (arm, [requests, errors]) in [(Arm::Stable, stable), (Arm::Canary, canary)] {
        let one = ArmCell {
            requests,
            errors,
            ..ArmCell::default()
        };
        let arms = &mut sums.arms;
        match arm {
            Arm::Stable => arms.stable.cells.add(cell, one),
            Arm::Canary => arms.canary.cells.add(cell, one),
        }
    }
    Evidence {
        instance: instance.to_owned(),
        pod: format!("router-{instance}"),
        subject: subject(),
        sequence,
        leaving: false,
        sums,
    }
}

fn gate() -> Gate {
    let written = json!({"gates": [{"name": "g", "router": {"metric": "ErrorRate", "compareToStable": {"margin": "0.01", "direction": "Decrease"}}}], "steps": [{"setWeight": 10}, {"gate": {"names": ["g"]}}]});
    let rollout = serde_json::from_value(written).unwrap();
    read(&rollout).unwrap().remove(0)
}

fn strata(ledger: &Ledger) -> Vec<Stratum> {
    match measurement(&gate(), Some(ledger)) {
        Some(Measurement::Router(strata)) => strata,
        other => panic!("{other:?}"),
    }
}

fn model() -> RewardModel {
    serde_json::from_value(json!({
        "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
        "metadata": {"name": "m", "namespace": "n", "uid": "u"},
        "spec": {"model": {"source": {"pvc": {"claimName": "c"}}}},
    }))
    .unwrap()
}

#[test]
fn what_was_counted_at_one_share_is_apart_from_what_came_at_another() {
    let mut ledger = Ledger::new(subject());
    ledger.enters(Percent::clamped(10));
    ledger.take(told("a", 1, 7, [90, 1], [10, 2]));
    ledger.enters(Percent::clamped(50));
    ledger.take(told("a", 2, 7, [140, 1], [60, 5]));
    ledger.take(told("b", 1, 8, [5, 0], [5, 1]));
    let of = |sums: &[(u64, f64)], cell: usize| sums[cell];
    let strata = strata(&ledger);
    assert_eq!(strata.len(), 2);
    assert_eq!(of(&strata[0].stable, 7), (90, 1.0));
    assert_eq!(of(&strata[0].canary, 7), (10, 2.0));
    assert_eq!(of(&strata[1].stable, 7), (50, 0.0));
    assert_eq!(of(&strata[1].canary, 7), (50, 3.0));
    assert_eq!(of(&strata[1].canary, 8), (5, 1.0));
}

#[test]
fn a_share_of_which_nothing_was_told_is_none() {
    let mut ledger = Ledger::new(subject());
    for share in [10, 20, 20, 30] {
        ledger.enters(Percent::clamped(share));
    }
    ledger.take(told("a", 1, 1, [9, 0], [1, 0]));
    assert_eq!(strata(&ledger).len(), 1);
    assert_eq!(ledger.share(), Percent::clamped(30));
}

#[test]
fn evidence_of_another_rollout_or_of_before_is_not_added() {
    let mut ledger = Ledger::new(subject());
    assert!(ledger.take(told("a", 5, 1, [9, 0], [1, 0])));
    assert!(!ledger.take(told("a", 5, 1, [9, 0], [1, 0])));
    assert!(!ledger.take(told("a", 4, 1, [3, 0], [1, 0])));
    let mut strange = told("b", 9, 1, [900, 0], [1, 0]);
    strange.subject.rollout = Some("r-0".to_owned());
    assert!(!ledger.take(strange));
    assert_eq!(ledger.total().arms.stable.cells.get(1).requests, 9);
}

#[test]
fn the_same_told_again_is_no_news_but_a_farewell_is() {
    let mut ledger = Ledger::new(subject());
    assert!(ledger.take(told("a", 1, 1, [9, 0], [1, 0])));
    assert!(!ledger.take(told("a", 2, 1, [9, 0], [1, 0])));
    let mut last = told("a", 3, 1, [9, 0], [1, 0]);
    last.leaving = true;
    assert!(ledger.take(last));
}

#[test]
fn a_ledger_is_kept_anew_when_a_share_ends_and_when_a_router_goes() {
    let mut ledger = Ledger::new(subject());
    ledger.enters(Percent::clamped(10));
    ledger.take(told("a", 1, 1, [9, 0], [1, 0]));
    let mut before = ledger.progress();
    ledger.take(told("a", 2, 1, [90, 0], [10, 0]));
    assert_eq!(ledger.progress(), before, "counts alone are told again");
    let mut last = told("a", 3, 1, [90, 0], [10, 0]);
    last.leaving = true;
    let changes: [&dyn Fn(&mut Ledger); 2] =
        [&|ledger| ledger.enters(Percent::clamped(50)), &|ledger| {
            assert!(ledger.take(last.clone()));
        }];
    for change in changes {
        change(&mut ledger);
        assert_ne!(ledger.progress(), before);
        before = ledger.progress();
    }
    let annotations = ledger.object(&model()).metadata.annotations.unwrap();
    assert_eq!(annotations.get(crds::labels::KEPT), Some(&before));
}

#[test]
fn nobody_who_has_told_anything_is_no_data() {
    let empty = Ledger::new(subject());
    for ledger in [None, Some(&empty)] {
        let measured = measurement(&gate(), ledger);
        assert!(
            matches!(measured, Some(Measurement::Nothing(_))),
            "{measured:?}"
        );
    }
}

#[test]
fn an_operator_that_starts_goes_on_where_the_last_one_was() {
    let mut ledger = Ledger::new(subject());
    ledger.enters(Percent::clamped(10));
    ledger.take(told("a", 1, 7, [90, 1], [10, 2]));
    ledger.enters(Percent::clamped(50));
    ledger.take(told("b", 3, 8, [5, 0], [5, 1]));
    let object = ledger.object(&model());
    assert_eq!(Ledger::read(&object).unwrap(), ledger);
    assert_eq!(object.metadata.name.as_deref(), Some("m-evidence"));
    // What a router tells again is not counted again.
    let mut read = Ledger::read(&object).unwrap();
    assert!(!read.take(told("a", 1, 7, [90, 1], [10, 2])));
}

#[test]
fn what_is_kept_stays_below_what_an_api_server_takes() {
    let mut ledger = Ledger::new(subject());
    for router in 0..40_u64 {
        let mut full = told(&router.to_string(), 1, 0, [0, 0], [0, 0]);
        for cell in 0..CELLS {
            let one = ArmCell {
                requests: u64::MAX / 1_000,
                errors: u64::MAX / 1_000,
                non_finite: 0,
                scores: u64::MAX / 1_000,
                sum: 0.1,
                squares: 0.1,
            };
            full.sums.arms.stable.cells.add(cell, one);
            full.sums.arms.canary.cells.add(cell, one);
        }
        ledger.take(full);
        ledger.enters(Percent::clamped(i32::try_from(router).unwrap()));
    }
    let object = ledger.object(&model());
    let kept = object.binary_data.as_ref().unwrap();
    let bytes: usize = kept.values().map(|bytes| bytes.0.len()).sum();
    assert!(bytes <= KEPT_BYTES, "{bytes}");
    assert!(bytes > KEPT_BYTES / 2, "{bytes}");
    let read = Ledger::read(&object).unwrap();
    assert_eq!(read.subject(), ledger.subject());
}

#[test]
fn an_object_that_somebody_has_changed_is_no_ledger() {
    let mut ledger = Ledger::new(subject());
    ledger.take(told("a", 1, 7, [90, 1], [10, 2]));
    let object = ledger.object(&model());
    let mut without = object.clone();
    without.data = None;
    let mut cut = object.clone();
    for bytes in cut.binary_data.iter_mut().flat_map(|all| all.values_mut()) {
        bytes.0.truncate(20);
    }
    let mut twice = object.clone();
    let kept = twice.binary_data.as_mut().unwrap();
    let one = kept.values().next().unwrap().clone();
    kept.insert("router-9".to_owned(), one);
    for broken in [without, cut, twice] {
        let error = Ledger::read(&broken).unwrap_err().to_string();
        assert!(error.starts_with("m-evidence: "), "{error}");
    }
}

proptest! {
    /// Whatever comes at which share, in whatever order: the strata add up to the whole.
    #[test]
    fn the_strata_add_up_to_the_whole(events in prop::collection::vec((0..3_u8, 0..50_u64, 0..50_u64, 1..100_i32), 1..30)) {
        let mut ledger = Ledger::new(subject());
        let mut totals = std::collections::BTreeMap::<u8, (u64, u64, u64)>::new();
        for (router, stable, canary, share) in events {
            ledger.enters(Percent::clamped(share));
            let total = totals.entry(router).or_default();
            *total = (total.0 + 1, total.1 + stable, total.2 + canary);
            ledger.take(told(&router.to_string(), total.0, 0, [total.1, 0], [total.2, 0]));
        }
        let strata = strata(&ledger);
        let sum = |of: &dyn Fn(&Stratum) -> &Vec<(u64, f64)>| -> u64 {
            strata.iter().flat_map(|stratum| of(stratum).iter()).map(|(x, _)| *x).sum()
        };
        let all = ledger.total().arms;
        prop_assert_eq!(sum(&|s| &s.stable), all.stable.cells.total().requests);
        prop_assert_eq!(sum(&|s| &s.canary), all.canary.cells.total().requests);
    }
}
