//! What one look at a gate says, and what looks in a row do.

use crds::v1alpha1::reward_model::gate::OnNoData;
use crds::v1alpha1::reward_model::status::Verdict;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use stats::Cells;

use super::*;
use crate::capacity::Percent;

mod alike;
mod looks;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn gate(kind: &str, written: Value) -> Gate {
    let gate = json!({"name": "g", "interval": "10s", kind: written});
    let rollout = json!({
        "gates": [gate],
        "steps": [{"setWeight": 10}, {"shadow": {}}, {"gate": {"names": ["g"]}}],
        "goldenSet": {"configMapRef": {"name": "set", "key": "pairs.jsonl"}},
    });
    let read = read(&serde_json::from_value(rollout).unwrap());
    read.unwrap().remove(0)
}

fn judged(gate: &Gate, measurement: Measurement) -> Judgement {
    judge(gate, &Frozen::default(), &measurement).judgement
}

/// So many cells with `requests` each, of which every `nth` cell has one event.
fn arm(cells: u64, requests: u64, nth: u64) -> Sums {
    let of = |cell| (requests, f64::from(u8::from(nth > 0 && cell % nth == 0)));
    (0..cells).map(of).collect()
}

fn arms(stable: Sums, canary: Sums) -> Measurement {
    Measurement::Router(vec![Stratum {
        share: Percent::clamped(50),
        stable,
        canary,
    }])
}

fn errors(margin: &str) -> Gate {
    let comparison = json!({"margin": margin, "direction": "Decrease"});
    gate(
        "router",
        json!({"metric": "ErrorRate", "compareToStable": comparison}),
    )
}

fn threshold(metric: &str, bound: Value) -> Gate {
    gate("router", json!({"metric": metric, "threshold": bound}))
}

#[test]
fn a_revision_with_as_many_errors_passes_and_one_with_many_more_fails() {
    for margin in ["0", "0.05"] {
        let gate = errors(margin);
        let equal = judged(&gate, arms(arm(1000, 10, 50), arm(1000, 10, 50)));
        assert_eq!(equal.verdict, Verdict::Pass, "{margin}: {}", equal.message);
        let worse = judged(&gate, arms(arm(1000, 1, 50), arm(1000, 1, 5)));
        assert_eq!(worse.verdict, Verdict::Fail, "{margin}: {}", worse.message);
        assert_eq!(worse.estimate.unwrap().as_str(), "0.18");
        assert!(worse.message.contains('%'), "{}", worse.message);
    }
}

#[test]
fn with_a_margin_it_has_to_be_shown_that_it_is_no_worse() {
    let few = arms(arm(250, 1, 25), arm(250, 1, 25));
    let open = judged(&errors("0.005"), few.clone());
    assert_eq!(open.verdict, Verdict::Inconclusive, "{}", open.message);
    // Without one it is enough that no harm is seen.
    assert_eq!(judged(&errors("0"), few).verdict, Verdict::Pass);
}

#[test]
fn without_an_error_in_either_revision_there_is_no_harm() {
    let none = arms(arm(500, 4, 0), arm(500, 4, 0));
    assert_eq!(judged(&errors("0"), none.clone()).verdict, Verdict::Pass);
    assert_eq!(judged(&errors("0.01"), none.clone()).verdict, Verdict::Pass);
    let far = judged(&errors("0.001"), none);
    assert_eq!(far.verdict, Verdict::Inconclusive, "{}", far.message);
}

#[test]
fn too_little_is_no_verdict() {
    let gate = errors("0");
    let nothing = judged(&gate, arms(Sums::new(), Sums::new()));
    assert_eq!(nothing.verdict, Verdict::NoData);
    let few_requests = judged(&gate, arms(arm(50, 1, 1), arm(50, 1, 1)));
    assert_eq!(few_requests.verdict, Verdict::Inconclusive);
    assert!(
        few_requests.message.contains("50 of 100 requests"),
        "{}",
        few_requests.message
    );
    // A thousand requests of three users are three users.
    let few_users = judged(&gate, arms(arm(3, 400, 2), arm(3, 400, 1)));
    assert_eq!(few_users.verdict, Verdict::Inconclusive);
    assert!(
        few_users
            .message
            .contains("3 of 200 users that this test needs"),
        "{}",
        few_users.message
    );
}

#[test]
fn one_user_who_tries_again_and_again_is_one() {
    let stable = arm(1000, 10, 0);
    let mut canary = arm(1000, 1, 0);
    canary[0] = (500, 500.0);
    let verdict = judged(&errors("0"), arms(stable, canary)).verdict;
    assert_ne!(verdict, Verdict::Fail);
}

#[test]
fn first_errors_alone_are_found_before_the_rates_are_known() {
    // A tenth of the traffic, in 150 cells; the stable revision has errors in three of them.
    let few = |of_canary: u64| {
        let mut canary = arm(100, 1, 0);
        for cell in 0..of_canary {
            canary[usize::try_from(cell).unwrap() + 10].1 = 1.0;
        }
        let strata = Stratum {
            share: Percent::clamped(10),
            stable: arm(150, 6, 51),
            canary,
        };
        judged(&errors("0"), Measurement::Router(vec![strata]))
    };
    let judgement = few(10);
    assert_eq!(judgement.verdict, Verdict::Fail, "{}", judgement.message);
    assert!(
        judgement.message.contains("10 of 13"),
        "{}",
        judgement.message
    );
    assert_ne!(few(1).verdict, Verdict::Fail);
}

#[test]
fn what_one_revision_did_alone_is_held_against_nobody() {
    // It has all the traffic by now, and an incident.
    let both = Stratum {
        share: Percent::clamped(50),
        stable: arm(1000, 10, 50),
        canary: arm(1000, 10, 50),
    };
    let alone = Stratum {
        share: Percent::ALL,
        stable: Sums::new(),
        canary: arm(1000, 10, 1),
    };
    for margin in ["0", "0.05"] {
        let strata = vec![both.clone(), alone.clone()];
        let judgement = judged(&errors(margin), Measurement::Router(strata));
        assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.message);
    }
    let only = judged(&errors("0"), Measurement::Router(vec![alone]));
    assert_eq!(only.verdict, Verdict::NoData, "{}", only.message);
}

#[test]
fn a_threshold_fails_only_where_the_sequence_excludes_it() {
    let gate = threshold("ErrorRate", json!({"max": "0.05"}));
    for (nth, expected) in [
        (100, Verdict::Pass),
        (18, Verdict::Inconclusive),
        (3, Verdict::Fail),
    ] {
        let judgement = judged(&gate, arms(Sums::new(), arm(1000, 1, nth)));
        assert_eq!(judgement.verdict, expected, "{}", judgement.message);
    }
    let none = judged(&gate, arms(Sums::new(), arm(1000, 1, 0)));
    assert_eq!(none.verdict, Verdict::Pass, "{}", none.message);
    let few = judged(&gate, arms(Sums::new(), arm(120, 1, 18)));
    assert_eq!(few.verdict, Verdict::Inconclusive, "{}", few.message);
}

#[test]
fn one_number_for_everything_has_no_spread() {
    let gate = threshold("ScoreSpread", json!({"min": "0.1"}));
    let same = judged(&gate, arms(Sums::new(), arm(500, 2, 0)));
    assert_eq!(same.verdict, Verdict::Fail, "{}", same.message);
    let spread = |nth: u64| -> Sums {
        (0..500)
            .map(|cell| (1, if cell % nth == 0 { 4.0 } else { 0.5 }))
            .collect()
    };
    let wide = judged(&gate, arms(Sums::new(), spread(3)));
    assert_eq!(wide.verdict, Verdict::Pass, "{}", wide.message);
    let compared = gate_spread();
    let narrow = judged(
        &compared,
        arms(
            spread(3),
            (0..500).map(|c| (1, f64::from(c % 3) * 0.01)).collect(),
        ),
    );
    assert_eq!(narrow.verdict, Verdict::Fail, "{}", narrow.message);
    let constant = judged(&compared, arms(arm(500, 2, 0), arm(500, 2, 0)));
    assert_eq!(
        constant.verdict,
        Verdict::Inconclusive,
        "{}",
        constant.message
    );
}

fn gate_spread() -> Gate {
    gate(
        "router",
        json!({"metric": "ScoreSpread", "compareToStable": {"direction": "Increase"}}),
    )
}

#[test]
fn sums_that_are_no_numbers_are_an_error_and_never_a_failure() {
    let mut broken = arm(500, 2, 5);
    broken[7].1 = f64::NAN;
    for gate in [
        errors("0"),
        threshold("ErrorRate", json!({"max": "0.1"})),
        gate_spread(),
    ] {
        let judgement = judged(&gate, arms(arm(500, 2, 5), broken.clone()));
        assert_eq!(judgement.verdict, Verdict::Error, "{}", judgement.message);
    }
}
