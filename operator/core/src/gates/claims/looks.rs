//! Looks in a row, and whatever may be measured.

use super::alike::shift;
use super::*;

fn query() -> Gate {
    gate(
        "prometheus",
        json!({"query": "up", "threshold": {"max": "0.5"}}),
    )
}

/// The verdicts of looks ten seconds apart.
fn looks(gate: &Gate, answers: &[PrometheusAnswer]) -> Vec<Verdict> {
    let mut track = Track::new("g", at(0));
    let seconds = (1..).map(|look| at(10 * look));
    let looks = answers.iter().zip(seconds).map(|(answer, now)| {
        track = track.look(gate, &Measurement::Prometheus(answer.clone()), now);
        track.verdict()
    });
    looks.collect()
}

#[test]
fn a_query_fails_the_third_time_in_a_row() {
    use PrometheusAnswer::Value;
    use Verdict::{Fail, Inconclusive, Pass};
    let high = Value(0.9);
    let low = Value(0.1);
    assert_eq!(
        looks(
            &query(),
            &[
                high.clone(),
                high.clone(),
                low,
                high.clone(),
                high.clone(),
                high.clone(),
                Value(0.0)
            ]
        ),
        [
            Inconclusive,
            Inconclusive,
            Pass,
            Inconclusive,
            Inconclusive,
            Fail,
            Fail
        ],
        "and what has failed stays failed"
    );
    // A gap in between is no good result.
    let last = looks(
        &query(),
        &[high.clone(), high.clone(), PrometheusAnswer::Empty, high],
    );
    assert_eq!(last.last(), Some(&Fail));
}

fn no_result() -> impl Strategy<Value = PrometheusAnswer> {
    prop_oneof![
        Just(PrometheusAnswer::Value(f64::NAN)),
        Just(PrometheusAnswer::Value(f64::INFINITY)),
        Just(PrometheusAnswer::Empty),
        Just(PrometheusAnswer::NotANumber),
        (2_usize..9).prop_map(PrometheusAnswer::Several),
        Just(PrometheusAnswer::NotAVector("string".to_owned())),
        Just(PrometheusAnswer::Unreachable(
            "connection refused".to_owned()
        )),
    ]
}

proptest! {
    #[test]
    fn a_dead_prometheus_never_fails_a_gate(answers in prop::collection::vec(no_result(), 1..40)) {
        for verdict in looks(&query(), &answers) {
            prop_assert!(matches!(verdict, Verdict::NoData | Verdict::Error), "{:?}", verdict);
        }
    }

    /// Whatever is counted, there is a verdict, and its numbers are decimals.
    #[test]
    fn every_measurement_has_a_verdict(
        counts in prop::array::uniform6(any::<u64>()),
        sums in prop::array::uniform5(any::<f64>()),
    ) {
        let [a, b, c, d, e, f] = counts;
        let [x, y, xx, xy, yy] = sums;
        let cells = Cells { units: a % 2000, x, y, xx, xy, yy };
        let mut rows = arm(300, 2, 3);
        rows.extend([(a, x), (b, y), (c, xx), (d, xy), (e, yy)]);
        let measured = [
            arms(arm(500, 2, 5), rows.clone()),
            arms(rows, arm(500, 2, 5)),
            Measurement::Golden(Golden { pairs: a, right: b, against_stable: Some(Scored { right: c, rank_correlation: Some(x), score_shift: Some(y) }) }),
            Measurement::Paired(Pairs { differences: cells, orders: cells, flips: cells, concordant: a, discordant: b, compared: c, flipped: d, eligible: e, answered: f }),
            Measurement::Preferences(Labelled { both_right: a, stable_alone: b, canary_alone: c, both_wrong: d }),
            Measurement::Prometheus(PrometheusAnswer::Value(x)),
        ];
        let margin = json!({"compareToStable": {"margin": "0.01", "direction": "Increase"}});
        let gates = [
            errors("0.01"), gate_spread(), threshold("ErrorRate", json!({"max": "0.1"})),
            threshold("ScoreSpread", json!({"min": "0.1"})),
            gate("golden", json!({"maxAccuracyDrop": "0.1", "minRankCorrelation": "0.5", "maxScoreShift": "1"})),
            shift(), gate("preferences", margin), query(),
        ];
        for gate in &gates {
            for measurement in &measured {
                let judgement = judged(gate, measurement.clone());
                prop_assert!(!judgement.message.is_empty());
            }
        }
    }
}

#[test]
fn errors_of_a_source_are_borne_for_a_while() {
    use Verdict::{Error, NoData, Pass};
    let dead = PrometheusAnswer::Unreachable("refused".to_owned());
    let mut answers = vec![dead.clone(); 5];
    answers.extend([PrometheusAnswer::Value(0.1), dead]);
    assert_eq!(
        looks(&query(), &answers),
        [NoData, NoData, NoData, Error, Error, Pass, NoData]
    );
}

#[test]
fn no_data_is_a_failure_only_where_the_gate_says_so_and_an_error_never() {
    let mut gate = query();
    gate.on_no_data = OnNoData::Fail;
    let empty = looks(&gate, &vec![PrometheusAnswer::Empty; 5]);
    assert_eq!(
        empty
            .iter()
            .filter(|verdict| **verdict == Verdict::Fail)
            .count(),
        2
    );
    let dead = PrometheusAnswer::Unreachable("refused".to_owned());
    assert!(!looks(&gate, &vec![dead; 20]).contains(&Verdict::Fail));
}

#[test]
fn looks_while_the_source_was_away_are_none_without_data() {
    use PrometheusAnswer::{Empty, Unreachable};
    let mut gate = query();
    (gate.on_no_data, gate.error_limit) = (OnNoData::Fail, 2);
    let away = Unreachable("refused".to_owned());
    let answers = [away.clone(), away.clone(), away.clone(), away, Empty, Empty];
    let back = looks(&gate, &answers);
    assert_eq!(back.last(), Some(&Verdict::NoData), "{back:?}");
    let answers = [&answers[..], &[Empty]].concat();
    assert_eq!(looks(&gate, &answers).last(), Some(&Verdict::Fail));
}

#[test]
fn two_looks_lie_an_interval_apart_also_where_clocks_differ() {
    let gate = query();
    let answer = |value| Measurement::Prometheus(PrometheusAnswer::Value(value));
    let first = Track::new("g", at(0)).look(&gate, &answer(0.1), at(100));
    for second in [-50, 100, 109] {
        assert_eq!(
            first.look(&gate, &answer(0.9), at(second)),
            first,
            "{second}"
        );
    }
    let next = first.look(&gate, &answer(0.9), at(110));
    assert_eq!((next.beyond, next.looked_at), (1, Some(at(110))));
    assert_eq!(first.next_look(&gate, at(103)).as_secs(), 7);
}

#[test]
fn time_that_is_given_anew_forgives_what_was_missed() {
    let mut gate = query();
    gate.error_limit = 0;
    let dead = Measurement::Prometheus(PrometheusAnswer::Unreachable("refused".to_owned()));
    let track = Track::new("g", at(0)).look(&gate, &dead, at(10));
    assert_eq!(track.verdict(), Verdict::Error);
    let forgiven = track.forgiven(at(20));
    assert_eq!((forgiven.verdict(), forgiven.missed), (Verdict::NoData, 0));
    assert_eq!(forgiven.look(&gate, &dead, at(25)), forgiven, "not at once");
}

#[test]
fn the_prior_is_frozen_at_the_first_look_that_counts() {
    let gate = errors("0");
    let few = Track::new("g", at(0)).look(&gate, &arms(arm(150, 1, 9), arm(150, 1, 9)), at(10));
    assert_eq!(few.frozen.tau, None);
    let first = few.look(&gate, &arms(arm(400, 1, 9), arm(400, 1, 9)), at(20));
    let frozen = first.frozen.tau.clone();
    assert!(frozen.is_some());
    let later = first.look(&gate, &arms(arm(900, 3, 2), arm(900, 3, 2)), at(30));
    assert_eq!(later.frozen.tau, frozen);
}

#[test]
fn a_measurement_of_another_kind_is_an_error() {
    let judgement = judged(&query(), Measurement::Preferences(Labelled::default()));
    assert_eq!(judgement.verdict, Verdict::Error);
    for (measurement, expected) in [
        (
            Measurement::Nothing("no router answers".to_owned()),
            Verdict::NoData,
        ),
        (
            Measurement::Failed("the Job failed".to_owned()),
            Verdict::Error,
        ),
    ] {
        assert_eq!(judged(&query(), measurement).verdict, expected);
    }
}
