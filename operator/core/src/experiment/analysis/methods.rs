//! What each method says, where the verdict alone would not tell it.

use rstest::rstest;
use serde_json::{Value, json};
use stats::Verdict;
use stats::eligibility::Collecting;

use super::super::testing::{counted, design, goal, guardrail, merge, users};
use super::super::totals::{Counted, Labelled};
use super::finding::told;
use super::*;

fn look_at(design: &Design, strata: &[Totals]) -> Look {
    super::look(&Looked {
        design,
        strata,
        tracks: &Tracks::new(),
        slots: &[5000, 5000],
        out: &[],
        elapsed: Duration::from_hours(2),
        sample_ratio_before: 0.0,
    })
}

fn verdict(look: &Look) -> Verdict {
    look.decision.as_ref().unwrap().verdict
}

fn first(look: &Look) -> &Finding {
    &look.rows[0].finding
}

#[rstest]
#[case::of_users("Proportion")]
#[case::of_events("Mean")]
fn epochs_are_put_together_and_no_epoch_of_busy_users_speaks_for_an_arm(#[case] kind: &str) {
    let mut clicks = goal();
    clicks["kind"] = json!(kind);
    let design = design(&json!({"metrics": [clicks]}));
    // Most of control's users are of a week in which all clicked more: pooled, the variant would look worse.
    let busy = users(&[(4_000, 1_200), (1_000, 360)]).totals(&design);
    let quiet = users(&[(1_000, 100), (4_000, 560)]).totals(&design);
    let look = look_at(&design, &[busy, quiet]);
    let effect = first(&look).effect.unwrap();
    assert!((0.03..0.07).contains(&effect), "{effect}");
    assert!(first(&look).benefit > first(&look).harm);
}

/// A guardrail on labelled pairs, which is given by how many only one of both has right.
fn preferences(patch: &Value, control_alone: u64, candidate_alone: u64) -> Look {
    let mut pref = json!({"name": "pref", "role": "Goal", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase"});
    merge(&mut pref, patch);
    let design = design(&json!({"mode": "Paired", "metrics": [pref]}));
    let mut totals = users(&[(900, 0), (900, 0)]).totals(&design);
    let labelled = Labelled {
        both_right: 700,
        control_alone,
        candidate_alone,
        both_wrong: 150,
    };
    totals.metrics[0][1] = Counted {
        labelled: Some(labelled),
        ..Counted::default()
    };
    look_at(&design, &[totals])
}

#[test]
fn labels_of_what_is_bad_are_better_where_fewer_agree() {
    let lower = json!({"direction": "Decrease"});
    assert_eq!(verdict(&preferences(&lower, 110, 40)), Verdict::Promote(0));
    assert_eq!(verdict(&preferences(&lower, 40, 110)), Verdict::RollBack);
}

#[test]
fn labelled_pairs_show_that_nothing_is_lost_beyond_a_margin() {
    let margin = json!({"test": "NonInferiority", "margin": {"absolute": "0.1"}});
    let equal = preferences(&margin, 75, 75);
    assert_eq!(first(&equal).method, "exact bounded differences");
    assert_eq!(verdict(&equal), Verdict::Promote(0));
    assert_eq!(verdict(&preferences(&margin, 260, 20)), Verdict::RollBack);
    // So near to the margin nobody knows yet.
    assert_eq!(verdict(&preferences(&margin, 140, 50)), Verdict::Running);
}

#[test]
fn without_labelled_pairs_it_says_what_it_waits_for() {
    let pref = json!({"name": "pref", "role": "Goal", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase"});
    let design = design(&json!({"mode": "Paired", "metrics": [pref]}));
    let look = look_at(&design, &[users(&[(900, 0), (900, 0)]).totals(&design)]);
    assert_eq!(
        first(&look).collecting.as_deref(),
        Some("collecting: no labelled pairs yet")
    );
}

#[rstest]
#[case::half_as_many(json!({"direction": "Decrease", "margin": {"relative": "0.1"}}), 250, 25, "benefit")]
#[case::ten_times(json!({"direction": "Decrease", "margin": {"relative": "0.1"}}), 25, 250, "harm")]
#[case::more_is_better(json!({"direction": "Increase", "margin": {"relative": "0.1"}, "test": "NonInferiority"}), 25, 250, "benefit")]
#[case::fewer_is_worse(json!({"direction": "Increase", "margin": {"relative": "0.1"}, "test": "NonInferiority"}), 250, 25, "harm")]
fn rare_events_are_judged_by_whose_they_are(
    #[case] patch: Value,
    #[case] of_control: u64,
    #[case] of_variant: u64,
    #[case] shown: &str,
) {
    let mut errors = guardrail();
    errors["kind"] = json!("Proportion");
    merge(&mut errors, &patch);
    let design = design(&json!({"metrics": [goal(), errors]}));
    let mut totals = users(&[(5_000, 500), (5_000, 500)]).totals(&design);
    totals.metrics[1] = vec![counted(5_000, of_control), counted(5_000, of_variant)];
    let finding = look_at(&design, &[totals]).rows.remove(1).finding;
    assert_eq!(finding.method, "event split");
    let (strong, weak) = match shown {
        "benefit" => (finding.benefit, finding.harm),
        _ => (finding.harm, finding.benefit),
    };
    assert!(strong > 10.0 && weak < 0.0, "{finding:?}");
}

#[test]
fn each_reason_to_wait_is_said_in_numbers() {
    let (seen, needed) = (3, 200);
    for (collecting, words) in [
        (Collecting::Users { seen, needed }, "3 of 200 users"),
        (
            Collecting::Cells { seen, needed },
            "3 of 200 groups of users",
        ),
        (Collecting::Requests { seen, needed }, "3 of 200 requests"),
        (Collecting::Pairs { seen, needed }, "3 of 200 pairs"),
        (
            Collecting::Differences { seen, needed },
            "3 of 200 pairs that differ",
        ),
        (
            Collecting::Exceedances { seen, needed },
            "3 of 200 slow requests",
        ),
        (
            Collecting::Events {
                seen: 3.0,
                needed: 10.0,
            },
            "3.0 of 10 events",
        ),
        (Collecting::DegenerateMetric, "DegenerateMetric"),
        (Collecting::ShadowCoverage, "ShadowCoverage"),
    ] {
        assert!(told(collecting).contains(words), "{}", told(collecting));
    }
}

#[test]
fn what_has_no_users_and_what_is_out_of_range_say_so() {
    let mut clicks = goal();
    clicks["kind"] = json!("Mean");
    let design = design(&json!({"metrics": [clicks]}));
    let nobody = users(&[(0, 0), (0, 0)]).totals(&design);
    let waits = first(&look_at(&design, &[nobody])).collecting.clone();
    assert_eq!(waits.as_deref(), Some("collecting: no users yet"));
    let mut huge = users(&[(5_000, 500), (5_000, 500)]).totals(&design);
    huge.metrics[0][1].cells[0].1 = f64::INFINITY;
    let clip = first(&look_at(&design, &[huge])).collecting.clone();
    assert_eq!(
        clip.as_deref(),
        Some("a sum is out of range: clip the metric")
    );
}

#[test]
fn a_variant_that_scored_too_few_of_the_requests_is_not_shown_to_be_no_worse() {
    let pref = json!({"name": "pref", "role": "Goal", "kind": "PairedAccuracy", "source": {"preferences": {}}, "direction": "Increase", "test": "NonInferiority", "margin": {"absolute": "0.1"}});
    let design = design(&json!({"mode": "Paired", "metrics": [pref]}));
    let mut totals = users(&[(900, 0), (900, 0)]).totals(&design);
    totals.metrics[0][1].labelled = Some(Labelled {
        both_right: 700,
        control_alone: 75,
        candidate_alone: 75,
        both_wrong: 150,
    });
    (totals.arms[1].eligible, totals.arms[1].answered) = (1_000, 1_000);
    assert_eq!(
        look_at(&design, &[totals.clone()]).no_worse.as_deref(),
        Some("v2")
    );
    totals.arms[1].answered = 600;
    assert_eq!(look_at(&design, &[totals]).no_worse, None);
}

#[test]
fn what_is_info_takes_nobody_out() {
    let query = json!({"name": "load", "role": "Info", "kind": "Mean", "source": {"prometheus": {"query": "q"}}, "direction": "Decrease", "absoluteMax": "10"});
    let design = design(&json!({"metrics": [goal(), query]}));
    let mut totals = users(&[(500, 50), (500, 50)]).totals(&design);
    totals.metrics[1][1].answer = Some(12.0);
    let mut tracks = Tracks::new();
    for _ in 0..4 {
        let look = super::look(&Looked {
            tracks: &tracks,
            design: &design,
            strata: std::slice::from_ref(&totals),
            slots: &[5000, 5000],
            out: &[],
            elapsed: Duration::from_mins(1),
            sample_ratio_before: 0.0,
        });
        assert_eq!(look.out, []);
        tracks = look.tracks;
    }
}
