//! The golden set, both scores of a request, and labelled pairs.

use super::*;

fn golden(right: u64, stable: Option<u64>) -> Measurement {
    Measurement::Golden(Golden {
        pairs: 200,
        right,
        against_stable: stable.map(|right| Scored {
            right,
            rank_correlation: Some(0.9),
            score_shift: Some(-0.3),
        }),
    })
}

#[rstest]
#[case::accurate(json!({"minAccuracy": "0.7"}), 140, Some(150), Verdict::Pass)]
#[case::inaccurate(json!({"minAccuracy": "0.7"}), 139, Some(150), Verdict::Fail)]
#[case::dropped(json!({"maxAccuracyDrop": "0.05"}), 139, Some(150), Verdict::Fail)]
#[case::dropped_a_little(json!({"maxAccuracyDrop": "0.05"}), 140, Some(150), Verdict::Pass)]
#[case::reordered(json!({"minRankCorrelation": "0.95"}), 150, Some(150), Verdict::Fail)]
#[case::moved(json!({"maxScoreShift": "0.2"}), 150, Some(150), Verdict::Fail)]
#[case::moved_a_little(json!({"maxScoreShift": "0.3"}), 150, Some(150), Verdict::Pass)]
#[case::all_have_to_hold(json!({"minAccuracy": "0.7", "maxScoreShift": "0.2"}), 190, Some(150), Verdict::Fail)]
#[case::the_first_one(json!({"maxAccuracyDrop": "0.05"}), 10, None, Verdict::Pass)]
fn a_golden_set_decides_by_what_it_is(
    #[case] rule: Value,
    #[case] right: u64,
    #[case] stable: Option<u64>,
    #[case] expected: Verdict,
) {
    let judgement = judged(&gate("golden", rule), golden(right, stable));
    assert_eq!(judgement.verdict, expected, "{}", judgement.message);
    assert_eq!(judgement.samples, Some(200));
}

#[test]
fn scores_that_are_all_alike_have_no_correlation_and_an_empty_set_is_an_error() {
    let rule = json!({"minRankCorrelation": "-1", "maxScoreShift": "100"});
    let flat = Measurement::Golden(Golden {
        pairs: 10,
        right: 0,
        against_stable: Some(Scored {
            right: 5,
            rank_correlation: None,
            score_shift: Some(f64::NAN),
        }),
    });
    let judgement = judged(&gate("golden", rule.clone()), flat);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(
        judgement.message.contains("all alike"),
        "{}",
        judgement.message
    );
    let empty = judged(
        &gate("golden", rule),
        Measurement::Golden(Golden::default()),
    );
    assert_eq!(empty.verdict, Verdict::Error);
    assert!(empty.message.contains("add pairs"), "{}", empty.message);
}

fn pairs(differences: Cells) -> Pairs {
    Pairs {
        differences,
        eligible: 2000,
        answered: 2000,
        ..Pairs::default()
    }
}

pub(super) fn shift() -> Gate {
    gate("paired", json!({"metric": "ScoreShift", "within": "0.1"}))
}

fn moved(by: f64) -> Cells {
    Cells::of((0..500_u32).map(|cell| (4, 4.0 * by + f64::from(cell % 5) * 0.01 - 0.02)))
}

#[test]
fn a_shift_is_found_and_the_same_scores_are_alike() {
    for (by, expected) in [
        (0.0, Verdict::Pass),
        (0.3, Verdict::Fail),
        (-0.3, Verdict::Fail),
        (0.1, Verdict::Inconclusive),
    ] {
        let judgement = judged(&shift(), Measurement::Paired(pairs(moved(by))));
        assert_eq!(judgement.verdict, expected, "{by}: {}", judgement.message);
    }
    // A shift that is the same in every pair has no error at all.
    for (by, expected) in [(0.0, Verdict::Pass), (0.25, Verdict::Fail)] {
        let same = Cells::of((0..500).map(|_| (4, 4.0 * by)));
        let judgement = judged(&shift(), Measurement::Paired(pairs(same)));
        assert_eq!(judgement.verdict, expected, "{by}: {}", judgement.message);
    }
}

#[test]
fn a_shift_needs_a_thousand_pairs_of_two_hundred_groups_of_users() {
    let few = Cells::of((0..200).map(|_| (4, 4.0)));
    let judgement = judged(&shift(), Measurement::Paired(pairs(few)));
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(
        judgement.message.contains("800 of 1000 pairs"),
        "{}",
        judgement.message
    );
    let of_few = Cells::of((0..20).map(|_| (400, 400.0)));
    let judgement = judged(&shift(), Measurement::Paired(pairs(of_few)));
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(
        judgement
            .message
            .contains("20 of 200 users that this test needs"),
        "{}",
        judgement.message
    );
}

#[test]
fn what_the_shadow_did_not_answer_lets_nothing_pass_and_still_fails() {
    let uncovered = |differences| {
        Measurement::Paired(Pairs {
            answered: 1800,
            concordant: 1000,
            orders: spread(2000, 2000),
            compared: 1000,
            flips: spread(1000, 0),
            ..pairs(differences)
        })
    };
    for metric in ["ScoreShift", "RankAgreement", "PreferenceFlips"] {
        let gate = gate("paired", json!({"metric": metric, "within": "0.2"}));
        let judgement = judged(&gate, uncovered(moved(0.0)));
        assert_eq!(judgement.verdict, Verdict::Inconclusive, "{metric}");
        assert!(judgement.message.contains("95 %"), "{}", judgement.message);
    }
    assert_eq!(
        judged(&shift(), uncovered(moved(0.9))).verdict,
        Verdict::Fail
    );
}

#[rstest]
#[case::agree("RankAgreement", "0.8", 990, 10, Verdict::Pass)]
#[case::disagree("RankAgreement", "0.8", 600, 400, Verdict::Fail)]
#[case::near("RankAgreement", "0.8", 900, 100, Verdict::Inconclusive)]
#[case::few_flips("PreferenceFlips", "0.1", 990, 10, Verdict::Pass)]
#[case::many_flips("PreferenceFlips", "0.1", 600, 400, Verdict::Fail)]
#[case::some_flips("PreferenceFlips", "0.1", 900, 100, Verdict::Inconclusive)]
#[case::collecting("PreferenceFlips", "0.1", 9, 1, Verdict::Inconclusive)]
#[case::nothing("RankAgreement", "0.8", 0, 0, Verdict::NoData)]
fn rankings_are_compared_exactly(
    #[case] metric: &str,
    #[case] within: &str,
    #[case] alike: u64,
    #[case] other: u64,
    #[case] expected: Verdict,
) {
    let gate = gate("paired", json!({"metric": metric, "within": within}));
    let all = alike + other;
    let measured = Measurement::Paired(Pairs {
        orders: spread(2 * all, 2 * alike),
        concordant: alike,
        discordant: other,
        flips: spread(all, other),
        compared: all,
        flipped: other,
        ..Pairs::default()
    });
    let judgement = judged(&gate, measured);
    assert_eq!(judgement.verdict, expected, "{}", judgement.message);
}

/// So many among 500 cells of users, of which so many have something.
fn spread(all: u64, having: u64) -> Cells {
    let until = |cell: u64, of: u64| cell * of / 500;
    Cells::of((0..500).map(|cell| {
        let part = |of| until(cell + 1, of) - until(cell, of);
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let having = part(having) as f64;
        (part(all), having)
    }))
}

#[test]
fn what_few_users_send_again_and_again_is_no_more_evidence() {
    let flips = |cells: Cells| {
        let gate = gate(
            "paired",
            json!({"metric": "PreferenceFlips", "within": "0.1"}),
        );
        let measured = Measurement::Paired(Pairs {
            flips: cells,
            compared: 2500,
            flipped: 350,
            ..Pairs::default()
        });
        judged(&gate, measured).verdict
    };
    assert_eq!(flips(spread(2500, 350)), Verdict::Fail);
    // Every fifth user has sent the same 25 times.
    let again = (0..500_u32).map(|cell| match cell % 50 {
        0 => (15, 15.0),
        1..10 => (15, 0.0),
        10..14 => (5, 5.0),
        _ => (4, 0.0),
    });
    let cells = Cells::of(again);
    assert_eq!(flips(cells), Verdict::Inconclusive);
}

#[rstest]
#[case::as_good(json!({"compareToStable": {"direction": "Increase"}}), [300, 20, 20, 60], Verdict::Pass)]
#[case::regressed(json!({"compareToStable": {"direction": "Increase"}}), [100, 100, 20, 80], Verdict::Fail)]
#[case::no_worse(json!({"compareToStable": {"margin": "0.2", "direction": "Increase"}}), [300, 20, 20, 60], Verdict::Pass)]
#[case::not_yet(json!({"compareToStable": {"margin": "0.01", "direction": "Increase"}}), [300, 20, 20, 60], Verdict::Inconclusive)]
#[case::beyond(json!({"compareToStable": {"margin": "0.05", "direction": "Increase"}}), [100, 250, 20, 30], Verdict::Fail)]
#[case::accurate(json!({"minAccuracy": "0.7"}), [300, 20, 20, 60], Verdict::Pass)]
#[case::inaccurate(json!({"minAccuracy": "0.7"}), [100, 100, 20, 180], Verdict::Fail)]
#[case::below(json!({"minAccuracy": "0.7"}), [250, 40, 20, 90], Verdict::Inconclusive)]
#[case::few(json!({"minAccuracy": "0.7"}), [5, 5, 5, 5], Verdict::Inconclusive)]
#[case::none(json!({"minAccuracy": "0.7"}), [0, 0, 0, 0], Verdict::NoData)]
fn labelled_pairs_say_what_people_prefer(
    #[case] rule: Value,
    #[case] counts: [u64; 4],
    #[case] expected: Verdict,
) {
    let [both_right, stable_alone, canary_alone, both_wrong] = counts;
    let labelled = Labelled {
        both_right,
        stable_alone,
        canary_alone,
        both_wrong,
    };
    let judgement = judged(
        &gate("preferences", rule),
        Measurement::Preferences(labelled),
    );
    assert_eq!(judgement.verdict, expected, "{}", judgement.message);
}
