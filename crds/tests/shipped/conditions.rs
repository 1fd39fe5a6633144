//! `docs/conditions.md` has a row for each reason of each condition, and none for one that there is not.

use std::collections::BTreeSet;

use crds::conditions::{
    AS_EXPECTED, AppliedReason, AvailableReason, CompleteReason, ConditionType,
    ExperimentConditionType, ExperimentReadyReason, ExperimentStalledReason, NOT_YET_KNOWN,
    PausedReason, ReadyReason, ReconcilingReason, StalledReason, WARMING_VARIANTS,
};

use super::read;

/// The first cells of the table below a heading.
fn rows<'a>(page: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let mut sections = page.split("\n## ");
    let section = sections.find(|section| section.lines().next() == Some(heading));
    assert!(
        section.is_some(),
        "docs/conditions.md has no part \"{heading}\""
    );
    let section = section.unwrap();
    let cells = section.lines().filter_map(|line| {
        let (cell, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        // What it means, and what is to be done.
        let told = rest.split(" | ").count() == 2;
        assert!(told, "{heading}: {line}");
        Some(cell)
    });
    let mut found: BTreeSet<_> = cells.collect();
    assert!(found.remove("reason"), "{heading} has no table of reasons");
    found
}

fn assert_told(heading: &str, reasons: &[&str]) {
    let page = read("docs/conditions.md");
    let wanted: BTreeSet<_> = reasons.iter().copied().collect();
    assert_eq!(
        rows(&page, heading),
        wanted,
        "\"{heading}\" against crds/src/conditions.rs"
    );
}

/// The words of a set of reasons.
macro_rules! words {
    ($set:ty) => {
        &<$set>::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect::<Vec<_>>()
    };
}

#[test]
fn every_reason_of_a_reward_model_has_a_row() {
    assert_told("Reasons of Ready", words!(ReadyReason));
    assert_told("Reasons of Available", words!(AvailableReason));
    assert_told("Reasons of Reconciling", words!(ReconcilingReason));
    assert_told("Reasons of Stalled", words!(StalledReason));
    assert_told("Reasons of Paused", words!(PausedReason));
}

#[test]
fn every_reason_of_an_experiment_has_a_row() {
    assert_told(
        "Reasons of Ready of an experiment",
        words!(ExperimentReadyReason),
    );
    assert_told(
        "Reasons of Stalled of an experiment",
        words!(ExperimentStalledReason),
    );
    assert_told("Reasons of Complete", words!(CompleteReason));
    assert_told("Reasons of Applied", words!(AppliedReason));
    assert_told(
        "Reasons of Reconciling of an experiment",
        &[WARMING_VARIANTS],
    );
    // Of the reasons of a pause, an experiment has those that a human gives.
    let paused = [PausedReason::AwaitingApproval, PausedReason::UserRequested];
    assert_told(
        "Reasons of Paused of an experiment",
        &paused.map(PausedReason::as_str),
    );
}

#[test]
fn every_condition_is_in_its_table() {
    let page = read("docs/conditions.md");
    let (models, experiments) = page.split_once("\n# ").unwrap();
    for kind in ConditionType::ALL {
        let row = format!("\n| {kind} ");
        assert!(models.contains(&row), "{kind} of a RewardModel");
    }
    for kind in ExperimentConditionType::ALL {
        let row = format!("\n| {kind} ");
        assert!(experiments.contains(&row), "{kind} of an ABExperiment");
    }
    for word in [AS_EXPECTED, NOT_YET_KNOWN] {
        assert!(page.contains(word), "{word}");
    }
}
