use rstest::rstest;
use serde_json::{Value, json};
use stats::{Inconclusive, Verdict};

use super::super::testing::{counted, design, goal, guardrail, look, users};
use super::super::totals::{Counted, Labelled, Pairs};
use super::*;

fn metrics(all: Value) -> Value {
    json!({"metrics": all})
}

fn verdict(look: &Look) -> Verdict {
    look.decision.as_ref().unwrap().verdict
}

fn row<'a>(look: &'a Look, design: &Design, metric: &str) -> &'a Row {
    let place = design
        .metrics
        .iter()
        .position(|one| one.name == metric)
        .unwrap();
    look.rows.iter().find(|row| row.metric == place).unwrap()
}

#[test]
fn an_arm_without_any_user_is_a_mismatch_and_not_no_data() {
    // growthbook#4439
    let design = design(&json!({}));
    let look = look(&design, &users(&[(200, 20), (0, 0)]).totals(&design), 2);
    assert_eq!(verdict(&look), Verdict::SampleRatioMismatch);
}

#[test]
fn unequal_weights_are_no_mismatch() {
    // mozilla/experimenter#16011
    let design = design(&json!({"variants": [
        {"name": "v1", "modelRef": {"name": "m1"}, "weight": 19}, {"name": "v2", "modelRef": {"name": "m2"}, "weight": 1},
    ]}));
    let look = look(
        &design,
        &users(&[(38_000, 3_800), (2_000, 200)]).totals(&design),
        2,
    );
    assert_eq!(verdict(&look), Verdict::Running);
    assert!(look.sample_ratio.log_e < 0.0);
}

#[test]
fn a_router_that_loses_a_tenth_of_an_arms_users_is_found() {
    let design = design(&json!({}));
    let look = look(
        &design,
        &users(&[(4_200, 420), (3_400, 340)]).totals(&design),
        2,
    );
    assert_eq!(verdict(&look), Verdict::SampleRatioMismatch);
}

#[test]
fn a_variant_that_is_better_is_promoted_after_the_least_duration_and_not_before() {
    let design = design(&json!({}));
    let totals = users(&[(5_000, 500), (5_000, 700)]).totals(&design);
    assert_eq!(verdict(&look(&design, &totals, 0)), Verdict::Running);
    assert_eq!(verdict(&look(&design, &totals, 2)), Verdict::Promote(0));
}

#[test]
fn a_variant_that_harms_is_out_before_the_least_duration() {
    let design = design(&json!({}));
    let totals = users(&[(5_000, 700), (5_000, 500)]).totals(&design);
    let look = look(&design, &totals, 0);
    assert_eq!(verdict(&look), Verdict::RollBack);
    assert_eq!(look.out.len(), 1);
    assert!(look.out[0].why.contains("goal clicks"), "{:?}", look.out);
}

#[test]
fn a_guardrail_without_any_error_does_not_hold_a_promotion_up() {
    let design = design(&json!({}));
    let totals = users(&[(5_000, 500), (5_000, 700)]).totals(&design);
    let look = look(&design, &totals, 2);
    assert_eq!(row(&look, &design, "errors").finding.collecting, None);
}

#[test]
fn at_the_end_of_the_time_it_says_whether_there_was_enough() {
    let design = design(&json!({}));
    let enough = users(&[(5_000, 500), (5_000, 505)]).totals(&design);
    let few = users(&[(100, 10), (100, 10)]).totals(&design);
    for (totals, expected) in [
        (enough, Inconclusive::MaxDuration),
        (few, Inconclusive::InsufficientData),
    ] {
        assert_eq!(
            verdict(&look(&design, &totals, 24)),
            Verdict::Inconclusive(expected)
        );
    }
}

#[test]
fn a_candidate_that_returns_a_constant_does_not_win() {
    let score = json!({"name": "score", "role": "Goal", "kind": "Mean", "source": {"router": {"signal": "Score"}}, "direction": "Increase"});
    let design = design(&metrics(json!([score])));
    let mut totals = users(&[(5_000, 0), (5_000, 0)]).totals(&design);
    for (arm, value) in [(0, 0.1), (1, 0.9)] {
        for (x, y) in &mut totals.metrics[0][arm].cells {
            *y = value * compare::number(*x);
        }
    }
    let look = look(&design, &totals, 2);
    assert_eq!(verdict(&look), Verdict::Running);
    let why = row(&look, &design, "score")
        .finding
        .collecting
        .clone()
        .unwrap();
    assert!(why.contains("DegenerateMetric"), "{why}");
}

#[rstest]
#[case(json!({"kind": "Ratio"}))]
#[case(json!({"kind": "Proportion"}))]
#[case(json!({"kind": "Proportion", "margin": {"relative": "0.1"}}))]
#[case(json!({"kind": "Ratio", "margin": {"absolute": "0.01"}}))]
#[case(json!({"kind": "Ratio", "margin": {"relative": "0.1"}}))]
#[case(json!({"kind": "Ratio", "margin": {"absolute": "0.01"}, "test": "NonInferiority"}))]
fn a_guardrail_of_errors_finds_ten_times_as_many(#[case] patch: Value) {
    let mut errors = guardrail();
    super::super::testing::merge(&mut errors, &patch);
    let design = design(&metrics(json!([goal(), errors])));
    let mut totals = users(&[(5_000, 500), (5_000, 700)]).totals(&design);
    totals.metrics[1] = vec![counted(5_000, 25), counted(5_000, 250)];
    let look = look(&design, &totals, 0);
    assert_eq!(verdict(&look), Verdict::RollBack);
    assert!(look.out[0].why.contains("errors"), "{:?}", look.out);
    // And equal ones are none.
    totals.metrics[1] = vec![counted(5_000, 25), counted(5_000, 25)];
    let look = super::super::testing::look(&design, &totals, 0);
    assert_eq!(verdict(&look), Verdict::Running);
    assert_eq!(look.out, []);
}

#[test]
fn what_is_surely_above_its_bound_breaks_whatever_control_does() {
    let mut errors = guardrail();
    errors["absoluteMax"] = json!("0.05");
    let design = design(&metrics(json!([goal(), errors])));
    let mut totals = users(&[(300, 30), (300, 30)]).totals(&design);
    totals.metrics[1] = vec![counted(300, 60), counted(300, 60)];
    let look = look(&design, &totals, 0);
    assert_eq!(verdict(&look), Verdict::RollBack);
    assert!(look.out[0].why.contains("absoluteMax"), "{:?}", look.out);
}

#[test]
fn a_score_that_is_the_same_within_its_margin_passes_and_a_shift_is_harm() {
    let same = json!({"name": "shift", "role": "Guardrail", "kind": "Equivalence", "source": {"router": {"signal": "Score"}}, "direction": "Increase", "margin": {"absolute": "0.2"}});
    let design = design(&metrics(json!([goal(), same])));
    let scores = |shift: f64| {
        let mut counted = counted(5_000, 0);
        for (cell, (x, y)) in counted.cells.iter_mut().enumerate() {
            let wave = if cell % 2 == 0 { 1.0 } else { -1.0 };
            *y = compare::number(*x) * (shift + wave);
        }
        counted
    };
    let mut totals = users(&[(5_000, 500), (5_000, 700)]).totals(&design);
    totals.metrics[1] = vec![scores(0.0), scores(0.0)];
    assert_eq!(verdict(&look(&design, &totals, 2)), Verdict::Promote(0));
    totals.metrics[1] = vec![scores(0.0), scores(0.5)];
    let look = look(&design, &totals, 2);
    assert_eq!(verdict(&look), Verdict::RollBack);
}

#[test]
fn labelled_pairs_decide_in_mode_paired() {
    let pref = json!({"name": "pref", "role": "Goal", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase"});
    let paired = json!({"mode": "Paired", "metrics": [pref]});
    let design = design(&paired);
    let labelled = |control_alone, candidate_alone| Counted {
        labelled: Some(Labelled {
            both_right: 700,
            control_alone,
            candidate_alone,
            both_wrong: 150,
        }),
        ..Counted::default()
    };
    let mut totals = users(&[(900, 0), (900, 0)]).totals(&design);
    for (counts, expected) in [
        (labelled(40, 110), Verdict::Promote(0)),
        (labelled(110, 40), Verdict::RollBack),
        (labelled(75, 75), Verdict::Running),
        // Ties are wrong for both: nothing but them is no evidence.
        (labelled(0, 0), Verdict::Running),
    ] {
        totals.metrics[0] = vec![Counted::default(), counts];
        assert_eq!(verdict(&look(&design, &totals, 2)), expected);
    }
    // Where fewer than 95 % of the requests were scored by the variant too, nothing is promoted.
    totals.metrics[0] = vec![Counted::default(), labelled(40, 110)];
    totals.arms[1].eligible = 1_000;
    totals.arms[1].answered = 900;
    assert_eq!(verdict(&look(&design, &totals, 2)), Verdict::Running);
}

#[test]
fn differences_of_one_text_need_far_fewer_than_two_arms() {
    let score = json!({"name": "score", "role": "Goal", "kind": "Mean", "source": {"router": {"signal": "Score"}}, "direction": "Increase", "clip": {"min": "-5", "max": "5"}});
    let design = design(&json!({"mode": "Paired", "metrics": [score]}));
    let mut totals = users(&[(600, 0), (600, 0)]).totals(&design);
    let mut pairs = Pairs {
        cells: counted(600, 0).cells,
        differ: 600,
    };
    for (cell, (x, y)) in pairs.cells.iter_mut().enumerate() {
        let wave = if cell % 2 == 0 { 0.3 } else { -0.3 };
        *y = compare::number(*x) * (0.1 + wave);
    }
    totals.metrics[0][1].pairs = Some(pairs);
    assert_eq!(verdict(&look(&design, &totals, 2)), Verdict::Promote(0));
}

#[test]
fn prometheus_breaks_after_three_answers_in_a_row_and_never_when_it_is_away() {
    let query = json!({"name": "load", "role": "Guardrail", "kind": "Mean", "source": {"prometheus": {"query": "q"}}, "direction": "Decrease", "absoluteMax": "10"});
    let design = design(&metrics(json!([goal(), query])));
    let mut tracks = Tracks::new();
    let mut outs = Vec::new();
    for answer in [
        Some(11.0),
        Some(9.0),
        Some(12.0),
        None,
        Some(f64::NAN),
        Some(12.0),
        Some(13.0),
    ] {
        let mut totals = users(&[(500, 50), (500, 50)]).totals(&design);
        totals.metrics[1][1].answer = answer;
        let look = super::look(&Looked {
            design: &design,
            strata: &[totals],
            tracks: &tracks,
            slots: &[5000, 5000],
            out: &[],
            elapsed: Duration::from_mins(1),
            sample_ratio_before: 0.0,
        });
        tracks = look.tracks.clone();
        outs.push(look.out.len());
    }
    assert_eq!(outs, [0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn tau_is_frozen_and_harm_latched_at_looks_that_count_alone() {
    let design = design(&json!({}));
    let one = |totals: &Totals, tracks: &Tracks| {
        super::look(&Looked {
            design: &design,
            strata: std::slice::from_ref(totals),
            tracks,
            slots: &[5000, 5000],
            out: &[],
            elapsed: Duration::from_mins(1),
            sample_ratio_before: 0.0,
        })
    };
    let key = ("clicks".to_owned(), "v2".to_owned());
    // Too few users: nothing is kept.
    let first = one(
        &users(&[(100, 60), (100, 10)]).totals(&design),
        &Tracks::new(),
    );
    assert_eq!(first.tracks[&key], Track::default());
    let bad = one(
        &users(&[(1_000, 130), (1_000, 100)]).totals(&design),
        &first.tracks,
    );
    let (tau, harm) = (bad.tracks[&key].tau, bad.tracks[&key].harm);
    assert!(tau.is_some() && harm > 0.0);
    let good = one(
        &users(&[(9_000, 2_000), (9_000, 2_100)]).totals(&design),
        &bad.tracks,
    );
    assert_eq!(
        (good.tracks[&key].tau, good.tracks[&key].harm.to_bits()),
        (tau, harm.to_bits())
    );
}

#[test]
fn numbers_that_are_none_decide_nothing() {
    let design = design(&json!({}));
    for value in [f64::NAN, f64::INFINITY, 1e300] {
        let mut totals = users(&[(5_000, 500), (5_000, 700)]).totals(&design);
        totals.metrics[1][1].cells[3].1 = value;
        let look = look(&design, &totals, 2);
        assert_eq!(verdict(&look), Verdict::Running, "{value}");
    }
}

#[test]
fn one_that_is_out_is_no_part_of_the_ratio_and_the_others_go_on() {
    let design = design(&json!({"variants": [
        {"name": "v1", "modelRef": {"name": "m1"}}, {"name": "v2", "modelRef": {"name": "m2"}}, {"name": "v3", "modelRef": {"name": "m3"}},
    ]}));
    // v2 is out since 500 users: nobody is dealt to it any more.
    let totals = users(&[(5_000, 500), (500, 10), (5_000, 760)]).totals(&design);
    let look = super::look(&Looked {
        design: &design,
        strata: &[totals],
        tracks: &Tracks::new(),
        slots: &[3334, 3333, 3333],
        out: &["v2".to_owned()],
        elapsed: Duration::from_hours(2),
        sample_ratio_before: 0.0,
    });
    assert_eq!(verdict(&look), Verdict::Promote(1));
    assert_eq!(look.sample_ratio.observed, [5_000, 5_000]);
    assert!(look.out.is_empty());
}

#[test]
fn a_variant_that_is_shown_to_be_no_worse_is_named() {
    let mut clicks = goal();
    clicks["margin"] = json!({"absolute": "0.05"});
    let mut errors = guardrail();
    errors["margin"] = json!({"absolute": "0.05"});
    let design = design(&metrics(json!([clicks, errors])));
    let look = look(
        &design,
        &users(&[(9_000, 900), (9_000, 905)]).totals(&design),
        24,
    );
    assert_eq!(look.no_worse.as_deref(), Some("v2"));
    let worse =
        super::super::testing::look(&design, &users(&[(900, 90), (900, 60)]).totals(&design), 24);
    assert_eq!(worse.no_worse, None);
}
