//! Whether what was read can have been counted.
//!
//! Invariant: both forms are judged by this, so that what one takes the other takes.

use super::super::Refused;
use super::super::check::{MAX_NAME, is_sum, require};
use super::{ArmSums, Evidence, MetricSums, Sums};
use crate::table::experiment::{MOST_METRICS, MOST_VARIANTS};

/// Users, units and sums of users that are read: those of a few dozen routers together.
const MOST: usize = 1_000_000;

pub(super) fn check(evidence: Evidence) -> Result<Evidence, Refused> {
    let subject = &evidence.subject;
    require(
        (1..=MAX_NAME).contains(&evidence.instance.len()),
        "instance",
        "1 to 253 bytes",
    )?;
    require(evidence.pod.len() <= MAX_NAME, "pod", "at most 253 bytes")?;
    require(
        evidence.ready.len() == subject.variants.len(),
        "ready",
        "a number for each variant",
    )?;
    let sums = &evidence.sums;
    for (variant, arm) in subject.variants.iter().zip(&sums.arms) {
        self::arm(variant.as_str(), arm)?;
    }
    for (metric, of) in subject.metrics.iter().zip(&sums.metrics) {
        for (variant, of) in subject.variants.iter().zip(of) {
            self::metric(&format!("{}.{variant}", metric.name), of)?;
        }
    }
    sets(sums, subject.variants.len(), subject.metrics.len())?;
    Ok(evidence)
}

fn arm(variant: &str, sums: &ArmSums) -> Result<(), Refused> {
    for (cell, of) in sums.cells.active() {
        require(
            of.errors <= of.requests,
            format!("{variant}.cells[{cell}].errors"),
            "at most its requests",
        )?;
    }
    let done = sums.paired.saturating_add(sums.missing.total());
    require(
        done <= sums.eligible,
        format!("{variant}.eligible"),
        "at least what was paired and what is missing",
    )
}

fn metric(named: &str, sums: &MetricSums) -> Result<(), Refused> {
    let mut count = 0_u64;
    for (cell, of) in sums.cells.active() {
        count = count.saturating_add(of.count);
        require(
            is_sum(of.count, of.sum, 0.0) || of.count > 0 && of.sum.is_finite(),
            format!("{named}.cells[{cell}]"),
            "a sum of as many numbers",
        )?;
    }
    require(
        is_sum(count, 0.0, sums.squares),
        format!("{named}.squares"),
        "a sum of as many squares",
    )?;
    let Some(pairs) = &sums.pairs else {
        return Ok(());
    };
    for (cell, of) in pairs.cells.active() {
        require(
            of.sum.is_finite() && (of.count > 0 || is_sum(0, of.sum, 0.0)),
            format!("{named}.pairs[{cell}]"),
            "a sum of as many numbers",
        )?;
    }
    let cross = pairs.cross;
    let is_one = is_sum(cross.pairs, cross.a, cross.aa)
        && is_sum(cross.pairs, cross.b, cross.bb)
        && is_sum(cross.pairs, cross.ab, cross.aa.max(cross.bb));
    require(
        is_one && pairs.differ <= cross.pairs,
        format!("{named}.pairs"),
        "sums of as many pairs",
    )
}

fn sets(sums: &Sums, variants: usize, metrics: usize) -> Result<(), Refused> {
    let few = sums.users.len() <= MOST && sums.unseen.len() <= MOST && sums.rights.len() <= MOST;
    require(few, "users", "at most a million")?;
    let fit = |bits: u8, places: usize| u32::from(bits) >> places == 0;
    let users = sums
        .users
        .iter()
        .all(|(_, seen)| seen.arms != 0 && fit(seen.arms, variants) && fit(seen.events, metrics));
    require(users, "users", "users of its variants and metrics")?;
    let unseen = sums.unseen.0.iter().all(|(_, metric, told)| {
        usize::from(*metric) < metrics && told.cell.count > 0 && told.cell.sum.is_finite()
    });
    require(unseen, "unseen", "events of its metrics")?;
    let rights = sums
        .rights
        .units
        .iter()
        .all(|(_, right)| fit(*right, variants));
    require(rights, "rights", "verdicts of its variants")
}

// Bits are enough for all.
const _: () = assert!(MOST_VARIANTS <= 8 && MOST_METRICS <= 8);
