//! Whether what was read can have been counted.
//!
//! Invariant: both forms are judged by this, so that what one takes the other takes.

use super::{ArmSums, Evidence, Refused, Shadow};
use crate::cutoff::Arm;

/// Thresholds that are read: each takes room for all cells, whatever is in it. Sums of several routers may
/// have more than one router has.
pub(super) const MOST_THRESHOLDS: usize = 64;
/// The longest name of a pod or an instance.
pub(super) const MAX_NAME: usize = 253;

pub(super) fn check(evidence: Evidence) -> Result<Evidence, Refused> {
    let named = 1..=MAX_NAME;
    require(
        named.contains(&evidence.instance.len()),
        "instance",
        "1 to 253 bytes",
    )?;
    require(evidence.pod.len() <= MAX_NAME, "pod", "at most 253 bytes")?;
    for arm in [Arm::Stable, Arm::Canary] {
        self::arm(arm, evidence.sums.arms.of(arm))?;
    }
    shadow(&evidence.sums.shadow)?;
    Ok(evidence)
}

fn arm(arm: Arm, sums: &ArmSums) -> Result<(), Refused> {
    let arm = match arm {
        Arm::Stable => "stable",
        Arm::Canary => "canary",
    };
    for (cell, of) in sums.cells.active() {
        let at = |member: &str| format!("{arm}.cells[{cell}].{member}");
        require(
            of.non_finite <= of.errors && of.errors <= of.requests,
            at("errors"),
            "at most its requests",
        )?;
        require(
            is_sum(of.scores, of.sum, of.squares),
            at("sum"),
            "a sum of as many numbers",
        )?;
    }
    for (threshold, cells) in &sums.slow {
        let all = cells.active().all(|(_, of)| of.slow <= of.requests);
        require(
            all,
            format!("{arm}.slow[{threshold}]"),
            "at most its requests",
        )?;
    }
    Ok(())
}

fn shadow(shadow: &Shadow) -> Result<(), Refused> {
    for (cell, of) in shadow.cells.active() {
        let at = |member: &str| format!("shadow.cells[{cell}].{member}");
        require(
            is_sum(of.pairs, of.sum, of.squares),
            at("sum"),
            "a sum of as many numbers",
        )?;
        require(
            of.flipped <= of.compared,
            at("flipped"),
            "at most what was compared",
        )?;
        require(
            of.concordant <= of.ordered,
            at("concordant"),
            "at most what was put in order",
        )?;
    }
    let all = shadow.cells.total();
    let both = |of: u64| of.saturating_mul(2);
    require(
        all.concordant == both(shadow.concordant)
            && all.ordered == both(shadow.concordant.saturating_add(shadow.discordant)),
        "shadow.concordant",
        "half of what the cells have: each comparison is in two",
    )?;
    let cross = shadow.cross;
    let sums = is_sum(cross.pairs, cross.a, cross.aa)
        && is_sum(cross.pairs, cross.b, cross.bb)
        && is_sum(cross.pairs, cross.ab, cross.aa.max(cross.bb));
    require(sums, "shadow.cross", "sums of as many pairs")?;
    let done = shadow.paired.saturating_add(shadow.dropped.total());
    require(
        done <= shadow.eligible,
        "shadow.eligible",
        "at least what was paired and dropped",
    )
}

/// Whether so many numbers may have this sum and sum of squares.
pub(super) fn is_sum(count: u64, sum: f64, squares: f64) -> bool {
    let is_nought = |number: f64| number.abs() <= 0.0;
    let finite = sum.is_finite() && squares.is_finite() && squares >= 0.0;
    finite && (count > 0 || is_nought(sum) && is_nought(squares))
}

pub(super) fn require(
    holds: bool,
    member: impl Into<String>,
    want: &'static str,
) -> Result<(), Refused> {
    if holds {
        return Ok(());
    }
    Err(Refused::Value {
        member: member.into(),
        want,
    })
}
