use clap::Parser;

use super::*;
use crate::args::{Args, Command};
use crate::manifest;

const SAMPLE: &str = include_str!("../../../../manifests/samples/experiment.yaml");

fn given(flags: &str) -> Plan {
    let line = format!("rewards plan {flags}");
    let args = Args::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Plan(plan) = args.command else {
        panic!("{line}")
    };
    *plan
}

fn planned(flags: &str) -> String {
    answer(&given(flags), None).unwrap()
}

/// Of the sample, with `from` in it replaced.
fn of_sample(flags: &str, (from, to): (&str, &str)) -> Result<String, Failure> {
    let text = SAMPLE.replace(from, to);
    assert!(
        from.is_empty() || text != SAMPLE,
        "{from:?} is not in the sample"
    );
    let design = manifest::design(&manifest::read(&text).unwrap()).unwrap();
    answer(&given(&format!("-f x {flags}")), Some(&design))
}

fn json(flags: &str) -> serde_json::Value {
    let text = planned(&format!("{flags} -o json"));
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["metrics"][0].clone()
}

fn is_near(value: &serde_json::Value, wanted: f64, part: f64) {
    let value = value.as_f64().unwrap();
    assert!(
        (value / wanted - 1.0).abs() < part,
        "{value} instead of {wanted}"
    );
}

#[test]
fn labelled_pairs_cost_what_the_specification_has_simulated() {
    // stats.md 7: A, B, discordance; McNemar's median and 80 % quantile; fixed n80 of both.
    for (baseline, mde, discordance, median, size, fixed, split) in [
        (0.70, 0.02, 0.10, 1866.0, 3094.0, 1954.0, 16153.0),
        (0.70, 0.02, 0.16, 2814.0, 4813.0, 3132.0, 16153.0),
        (0.70, 0.05, 0.15, 498.0, 768.0, 463.0, 2496.0),
        (0.85, 0.01, 0.05, 3449.0, 5879.0, 3917.0, 38915.0),
    ] {
        let plan = json(&format!(
            "--kind paired-accuracy --baseline {baseline} --mde {mde} --discordance {discordance}"
        ));
        is_near(&plan["paired"]["typical"], median, 0.15);
        is_near(&plan["paired"]["planned"], size, 0.15);
        is_near(&plan["paired"]["oneLook"], fixed, 0.01);
        is_near(&plan["split"]["oneLook"], split, 0.01);
    }
}

#[test]
fn paired_takes_one_minus_rho_halves_of_split() {
    // stats.md 7: theory 2 / (1 - rho).
    for (rho, times) in [(0.0, 2.0), (0.5, 4.0), (0.8, 10.0)] {
        let plan = json(&format!(
            "--kind paired --sd 1 --mde 0.02 --correlation {rho}"
        ));
        let of = |mode: &str| plan[mode]["planned"].as_f64().unwrap();
        assert!(
            (of("split") / of("paired") / times - 1.0).abs() < 0.001,
            "{rho}"
        );
    }
}

#[test]
fn what_one_look_takes_is_the_textbook_s() {
    // Two proportions, 0.3 and 0.32, one-sided 2.5 %, power 80 %: 8,389 users in each arm.
    let plan = json("--kind proportion --baseline 0.3 --mde 0.02");
    is_near(&plan["split"]["oneLook"], 2.0 * 8389.0, 0.002);
}

#[test]
fn fewer_users_of_one_variant_and_more_variants_cost_more() {
    let of = |split: &str| {
        let plan = json(&format!("--kind mean --sd 1 --mde 0.1 --split {split}"));
        plan["split"]["planned"].as_f64().unwrap()
    };
    assert!(of("90/10") > 2.5 * of("50/50"));
    // Three arms of which each is as large, and half the level for each candidate.
    assert!(of("1/1/1") > 1.5 * of("1/1"));
    assert!((of("2/2") - of("50/50")).abs() < 1e-6);
}

#[test]
fn events_that_are_alike_cost_more_than_those_that_are_not() {
    let of = |icc: f64| {
        let plan = json(&format!(
            "--kind ratio --baseline 0.01 --mde 0.005 --events-per-user 5 --icc {icc}"
        ));
        plan["split"]["planned"].as_f64().unwrap()
    };
    // All alike: five events of a user are one.
    assert!((of(1.0) / of(0.0) - 5.0).abs() < 0.01);
}

#[test]
fn plans_read_well() {
    insta::assert_snapshot!(planned(
        "--kind proportion --baseline 0.3 --mde 0.02 --users-per-day 5000"
    ));
    insta::assert_snapshot!(planned(
        "--kind paired --sd 2 --mde 0.1 --correlation 0.9 --pairs-per-day 20000"
    ));
    insta::assert_snapshot!(planned(
        "--kind paired-accuracy --discordance 0.1 --mde 0.02"
    ));
    insta::assert_snapshot!(planned(
        "--kind ratio --sd 1.2 --mde 0.05 --events-per-user 4 --icc 0.2 --split 80/10/10 --users-per-day 300 --power 0.9 --alpha 0.1"
    ));
    insta::assert_snapshot!(of_sample("--baseline 0.3 --users-per-day 1000", ("", "")).unwrap());
    insta::assert_snapshot!(planned(
        "--kind proportion --baseline 0.3 --mde 0.1 --users-per-day 500 -o json"
    ));
}

#[test]
fn a_manifest_that_ends_too_early_is_told_so() {
    let short = (
        "  control: v1",
        "  control: v1\n  schedule: {maxDuration: 48h}",
    );
    let text = of_sample("--baseline 0.3 --users-per-day 1000", short).unwrap();
    assert!(
        text.contains("maxDuration ends it after 2.0 days: make it longer"),
        "{text}"
    );
    let coverage = ("assignment:", "assignment:\n    coveragePercent: 10");
    let text = of_sample("--baseline 0.3 --users-per-day 100000", coverage).unwrap();
    assert!(
        text.contains("2.7 days"),
        "a tenth of the users come in: {text}"
    );
}

#[test]
fn what_a_manifest_cannot_know_is_asked_for_by_metric_and_flag() {
    let relative = ("{absolute: \"0.02\"}", "{relative: \"0.1\"}");
    let smaller = ("minimumEffect: {absolute: \"0.02\"}", "weight: 1");
    let second = (
        "  metrics:",
        "  metrics:\n    - {name: kept, role: Goal, kind: Mean, source: {feedback: {event: kept}}, direction: Increase}",
    );
    for (flags, change, part) in [
        ("", ("", ""), "metric accepted: --baseline is missing"),
        ("--baseline 1.5", ("", ""), "--baseline is 1.5: it must be"),
        ("--baseline 0.99", ("", ""), "plan for a smaller effect"),
        (
            "--baseline 0.3",
            smaller,
            "minimumEffect is not in the manifest",
        ),
        ("--baseline 0.3 --sd 2", ("", ""), "--sd says nothing"),
        ("--baseline other=0.3", ("", ""), "--baseline names other"),
        (
            "--baseline 0.3",
            second,
            "--baseline could be of kept and accepted",
        ),
        (
            "--baseline accepted=0.3",
            second,
            "metric kept: --sd is missing",
        ),
        (
            "--metric nobody",
            ("", ""),
            "--metric is nobody, and the manifest has accepted, errors, slow",
        ),
        (
            "--metric errors --baseline 0.01 --events-per-user 3 --icc 0.1",
            ("", ""),
            "NoHarm has nothing to show",
        ),
        ("--baseline 0.3 --power 1", ("", ""), "--power is 1"),
        ("--baseline 0.3 --alpha 0.9", ("", ""), "--alpha is 0.9"),
        (
            "--baseline 0.3 --users-per-day 0",
            ("", ""),
            "--users-per-day is 0",
        ),
    ] {
        let failure = of_sample(flags, change).unwrap_err();
        assert!(failure.to_string().contains(part), "{flags}: {failure}");
        assert_eq!(failure.code(), 2);
    }
    assert!(
        of_sample("--baseline 0.3", relative)
            .unwrap()
            .contains("better by 0.03")
    );
}

#[test]
fn a_guardrail_that_has_to_be_shown_can_be_planned() {
    let strict = (
        "      margin: {absolute: \"0.005\"}",
        "      margin: {absolute: \"0.005\"}\n      test: NonInferiority",
    );
    let flags = "--metric errors --baseline 0.01 --events-per-user 3 --icc 0.1";
    let text = of_sample(flags, strict).unwrap();
    assert!(text.contains("no worse by 0.005, at level 0.025"), "{text}");
}

#[test]
fn flags_that_are_wrong_say_what_to_write() {
    for (flags, part) in [
        ("--kind proportion --mde 0.1", "--baseline is missing"),
        ("--kind mean --mde 0.1", "--sd is missing"),
        ("--kind mean --sd 1", "--mde is missing"),
        ("--kind mean --sd -1 --mde 1", "unexpected argument"),
        ("--kind mean --sd 0 --mde 1", "--sd is 0"),
        (
            "--kind ratio --sd 1 --mde 1",
            "--events-per-user is missing",
        ),
        (
            "--kind ratio --sd 1 --mde 1 --events-per-user 2",
            "--icc is missing",
        ),
        (
            "--kind ratio --sd 1 --mde 1 --events-per-user 0.5 --icc 0",
            "--events-per-user is 0.5",
        ),
        (
            "--kind paired --sd 1 --mde 1 --correlation 1",
            "--correlation is 1",
        ),
        (
            "--kind paired --sd 1 --mde 1 --correlation 0.5 --icc 1",
            "--icc says nothing",
        ),
        (
            "--kind paired-accuracy --mde 0.2 --discordance 0.1",
            "it must be larger",
        ),
        (
            "--kind mean --sd 1 --mde 1 --split 100",
            "two to four weights",
        ),
        (
            "--kind mean --sd 1 --mde 1 --split 50/0",
            "two to four weights",
        ),
        ("--kind mean --sd x=1 --mde 1", "--sd names x"),
        ("--kind mean --sd 1e70 --mde 1", "out of range"),
        (
            "--kind mean --sd 1 --mde 1e70",
            "beyond what can be planned",
        ),
    ] {
        let line = format!("rewards plan {flags}");
        let why = match Args::try_parse_from(line.split_whitespace()) {
            Err(error) => error.to_string(),
            Ok(_) => answer(&given(flags), None).unwrap_err().to_string(),
        };
        assert!(why.contains(part), "{flags}: {why}");
    }
}
