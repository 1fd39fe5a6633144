//! The two forms of a document, and what is none.

use proptest::prelude::*;

use super::super::*;
use super::{recorder, small};
use crate::assignment::{Assigner, Key};
use crate::cutoff::Arm;

/// One that nothing more fits into: 10 million requests of each arm, a fourth of them slow, four
/// thresholds, all cells, all units.
fn full() -> Evidence {
    let mut evidence = small();
    let sums = &mut evidence.sums;
    for arm in [Arm::Stable, Arm::Canary] {
        let of = sums.arms.of_mut(arm);
        of.slow.clear();
        for cell in 0..CELLS {
            let one = ArmCell {
                requests: 10_000,
                errors: 300,
                non_finite: 200,
                scores: 40_000,
                sum: 12_345.678_901_234,
                squares: 98_765.432_109_876,
            };
            of.cells.add(cell, one);
            for threshold in [50, 100, 250, 4_000_000_000] {
                let cells = of.slow.entry(threshold).or_default();
                cells.add(
                    cell,
                    SlowCell {
                        requests: 10_000,
                        slow: 2_500,
                    },
                );
            }
        }
    }
    for cell in 0..CELLS {
        let one = PairCell {
            pairs: 10_000,
            sum: -0.123_456_789,
            squares: 0.987_654_321,
            compared: 5_000,
            flipped: 500,
            ordered: 5_000,
            concordant: 2_500,
        };
        sums.shadow.cells.add(cell, one);
    }
    let compared = u64::from(CELLS) * 1_250;
    (sums.shadow.concordant, sums.shadow.discordant) = (compared, compared);
    let assigner = Assigner::new("full");
    for user in 0_u32..20_000 {
        let unit = Unit::of(&assigner, Key::prompt(&user.to_be_bytes()));
        sums.preferences.scored(unit, Verdict::OnlyStable);
    }
    assert_eq!(sums.preferences.units.len(), MAX_UNITS);
    evidence
}

#[test]
fn both_forms_say_the_same() {
    for evidence in [small(), full(), recorder("2").snapshot()] {
        assert_eq!(
            Evidence::parse(evidence.to_json().as_bytes()).unwrap(),
            evidence
        );
        let bytes = evidence.to_bytes();
        let read = Evidence::from_bytes(&bytes).unwrap();
        assert_eq!(read, evidence);
        assert_eq!(read.to_bytes(), bytes);
    }
}

#[test]
fn a_full_one_has_less_than_150_kb_and_can_be_read_as_json_too() {
    let (binary, json) = (full().to_bytes().len(), full().to_json().len());
    assert!(binary < 150_000, "{binary}");
    assert!(json < MAX_BYTES, "{json}");
}

#[test]
fn one_that_breaks_off_anywhere_is_refused() {
    let bytes = small().to_bytes();
    for length in 0..bytes.len() {
        let refused = Evidence::from_bytes(&bytes[..length]).unwrap_err();
        assert_eq!(refused.word(), "Shape", "{length}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Evidence::from_bytes(&longer).unwrap_err().word(), "Shape");
    let json = small().to_json();
    for length in 0..json.len() {
        assert!(
            Evidence::parse(&json.as_bytes()[..length]).is_err(),
            "{length}"
        );
    }
}

#[test]
fn one_of_another_schema_is_refused_as_such() {
    let mut bytes = small().to_bytes();
    bytes[3] = 2;
    assert_eq!(
        Evidence::from_bytes(&bytes),
        Err(Refused::Schema { found: 2 })
    );
    let json = r#"{"schemaVersion": 9, "cells": "another"}"#;
    assert_eq!(
        Evidence::parse(json.as_bytes()),
        Err(Refused::Schema { found: 9 })
    );
    let long = vec![b' '; MAX_BYTES + 1];
    let bytes = long.len();
    assert_eq!(Evidence::parse(&long), Err(Refused::TooLong { bytes }));
    assert_eq!(Evidence::from_bytes(&long), Err(Refused::TooLong { bytes }));
}

/// What stands in a document where it is changed, and the member that is named then.
fn broken(from: &str, to: &str) -> Refused {
    let json = small().to_json();
    assert!(json.contains(from), "{from} is not in {json}");
    Evidence::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err()
}

#[test]
fn what_cannot_have_been_counted_is_refused() {
    for (from, to, word, member) in [
        (
            "[3,1,0,0,1,0.1",
            "[1024,1,0,0,1,0.1",
            "Value",
            "stable.cells[1024]",
        ),
        (
            "[3,1,0,0,1,0.1",
            "[3,1,2,0,1,0.1",
            "Value",
            "stable.cells[3].errors",
        ),
        (
            "[3,1,0,0,1,0.1",
            "[3,1,0,0,0,0.1",
            "Value",
            "stable.cells[3].sum",
        ),
        ("[3,1,0,0,1,0.1", "[3,-1,0,0,1,0.1", "Shape", ""),
        ("[3,1,0,0,1,0.1", "[3,1,0,0,1,1e999", "Shape", ""),
        ("[3,1,0,0,1,0.1", "[3,1,0,0,1,NaN", "Shape", ""),
        ("[3,1,0,0,1,0.1", "[3,1,0,0,1", "Shape", ""),
        (
            "[3,1,0,0,1,0.1",
            "[4,1,0,0,1,0.1,0.1],[3,1,0,0,1,0.1",
            "Value",
            "stable.cells[3]",
        ),
        ("[3,1,1]", "[3,1,2]", "Value", "stable.slow[100]"),
        (
            "\"thanMs\":250",
            "\"thanMs\":100",
            "Value",
            "stable.slow[100]",
        ),
        (
            "\"eligible\":2",
            "\"eligible\":1",
            "Value",
            "shadow.eligible",
        ),
        (
            "\"instance\":\"1f\"",
            "\"instance\":\"\"",
            "Value",
            "instance",
        ),
        (
            "\"bothRight\":[]",
            "\"bothRight\":[0]",
            "Value",
            "preferences",
        ),
        ("\"stable\":\"aaaaaaaaaa\"", "\"stable\":\"A\"", "Shape", ""),
    ] {
        let refused = broken(from, to);
        assert_eq!(refused.word(), word, "{to}: {refused}");
        assert!(refused.to_string().contains(member), "{to}: {refused}");
    }
}

#[test]
fn numbers_that_are_none_are_refused_in_the_binary_form_too() {
    for sum in [f64::NAN, f64::INFINITY, 1.0] {
        let mut evidence = small();
        evidence.sums.shadow.cross.pairs = 0;
        evidence.sums.shadow.cross.a = sum;
        let refused = Evidence::from_bytes(&evidence.to_bytes()).unwrap_err();
        assert_eq!(refused.word(), "Value", "{sum}");
    }
}

#[test]
fn thresholds_are_not_made_room_for_without_end() {
    let with = |thresholds: u32| {
        let mut evidence = small();
        let slow = &mut evidence.sums.arms.canary.slow;
        slow.extend((0..thresholds).map(|threshold| (1_000 + threshold, ByCell::default())));
        evidence
    };
    // Two are there.
    let many = with(62);
    assert_eq!(Evidence::from_bytes(&many.to_bytes()).as_ref(), Ok(&many));
    assert_eq!(
        Evidence::parse(many.to_json().as_bytes()).as_ref(),
        Ok(&many)
    );
    let more = with(63);
    let refused = Evidence::from_bytes(&more.to_bytes()).unwrap_err();
    assert_eq!(refused.word(), "Shape");
    let refused = Evidence::parse(more.to_json().as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("canary.slow"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_of_anybody_are_refused_and_break_nothing(
        place in any::<prop::sample::Index>(), byte in any::<u8>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = small().to_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = Evidence::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
        let noise = [&b"\xe7EV\x01"[..], &noise].concat();
        let _ = Evidence::from_bytes(&noise);
        let _ = Evidence::parse(&noise);
    }
}
