//! The normal mixture over hash cells, as gates use it (stats.md 1.1 (e), guards 1.6).
//!
//! Owns what is frozen at the first look that counts, and which error a rate has at least.

use stats::eligibility::{self, Collecting, Seen};
use stats::{Arm, Estimate, NormalMixture, Scale, tau_of_spread};

use super::super::figures::{kept, number};
use super::super::track::Frozen;

/// Cells of users that each arm needs. Each user lies in one cell, so that there are as many users.
pub(super) const CELLS: u64 = 200;
/// What there have to be so many of, whatever `minSamples` says.
pub(super) const NEEDED: &str = "users that this test needs";

/// The prior's standard deviation: as it was frozen; else the smallest effect that matters, which the
/// margin is; else 0.08 standard deviations of a unit. `None` where nothing varies.
pub(super) fn tau(frozen: &Frozen, margin: f64, a: Arm, b: Arm) -> Option<(Scale, Frozen)> {
    let before = frozen.tau.as_ref().and_then(number).and_then(Scale::new);
    if let Some(tau) = before {
        return Some((tau, frozen.clone()));
    }
    let tau = Scale::new(margin).or_else(|| tau_of_spread(a, b))?;
    // What is written down is what is computed with, now as later.
    let written = kept(tau.get())?;
    let tau = number(&written).and_then(Scale::new)?;
    let next = Frozen { tau: Some(written) };
    Some((tau, next))
}

/// Whether both arms have enough cells, and vary.
pub(super) fn enough(a: Arm, b: Arm, estimate: Estimate) -> Result<(), Collecting> {
    let seen = |arm: Arm| Seen {
        users: arm.units(),
        cells: arm.units(),
    };
    eligibility::means(seen(a), seen(b), estimate)
}

/// The arm with at least the error that a rate of `rate` has where requests are independent: few events
/// vary less among themselves than they would in the next sample.
pub(super) fn at_least_binomial(arm: Arm, rate: f64, requests: f64) -> Arm {
    #[expect(clippy::cast_precision_loss, reason = "1,024 cells at most")]
    let units = arm.units() as f64;
    let floor = rate * (1.0 - rate) / requests.max(1.0) * units;
    Arm::new(arm.units(), arm.mean(), arm.variance().max(floor)).unwrap_or(arm)
}

/// The mean of one arm as an estimate, and the mixture over it.
pub(super) fn one(arm: Arm, tau: Scale) -> Option<NormalMixture> {
    let estimate = Estimate::new(arm.mean(), arm.variance_of_mean().sqrt()).ok()?;
    NormalMixture::new(estimate, tau).ok()
}

/// In words.
pub(super) fn told(collecting: Collecting) -> String {
    match collecting {
        Collecting::Users { seen, needed } | Collecting::Cells { seen, needed } => {
            format!("collecting: {seen} of {needed} {NEEDED} in the smaller arm")
        }
        Collecting::Requests { seen, needed } => format!("collecting: {seen} of {needed} requests"),
        Collecting::Events { seen, needed } => {
            format!("collecting: {seen:.1} of {needed:.0} events in the smaller arm")
        }
        Collecting::Pairs { seen, needed } => {
            format!("collecting: {seen} of {needed} pairs that this test needs")
        }
        Collecting::Differences { seen, needed } => {
            format!("collecting: {seen} of {needed} pairs that differ")
        }
        Collecting::Exceedances { seen, needed } => {
            format!("collecting: {seen} of {needed} slow requests")
        }
        Collecting::DegenerateMetric => {
            "nothing varies: a constant is not judged (DegenerateMetric)".to_owned()
        }
        Collecting::ShadowCoverage => {
            "fewer than 95 % of the shadowed requests were answered (ShadowCoverage)".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_below_the_floor_is_told_whatever_min_samples_says() {
        let cells = Collecting::Cells {
            seen: 31,
            needed: CELLS,
        };
        assert_eq!(
            told(cells),
            "collecting: 31 of 200 users that this test needs in the smaller arm"
        );
    }
}
