//! Whether users fall to arms as their weights say: the sequential test of a sample ratio mismatch.
//!
//! Owns the mixture of Dirichlet-multinomials (Lindon and Malek 2022, "Anytime-valid inference for
//! multinomial count data"). Only distinct users count, never requests; a count that is estimated is
//! itself a mismatch. An arm that gets nobody is one too, and not "no data".

use libm::{exp, log};

use crate::event_split::Kappa;
use crate::special::{count, log_m_of};

/// Of the default test: the lower finds gross failures within 48 users, the higher is Optimizely's.
const CONCENTRATIONS: [Kappa; 2] = [Kappa::of(100.0), Kappa::of(10_000.0)];

/// One arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmUsers {
    /// Distinct users that were counted.
    pub users: u64,
    /// Its part of the traffic, in any unit that all arms share.
    pub weight: f64,
}

/// Evidence against "users fall to arms by weight" (stats.md 1.5, `srm` of the reference): the mean of
/// the mixtures with concentrations 100 and 10,000. Between epochs, add it ([`crate::carried`]). `None`
/// with fewer than two arms, or with a weight that is not finite and above 0.
pub fn sample_ratio(arms: &[ArmUsers]) -> Option<f64> {
    sample_ratio_of(arms, &CONCENTRATIONS)
}

/// The same with other concentrations. `None` without one, too.
pub fn sample_ratio_of(arms: &[ArmUsers], concentrations: &[Kappa]) -> Option<f64> {
    let sound = arms
        .iter()
        .all(|arm| arm.weight > 0.0 && arm.weight.is_finite());
    let whole: f64 = arms.iter().map(|arm| arm.weight).sum();
    if !sound || arms.len() < 2 || concentrations.is_empty() || !whole.is_finite() {
        return None;
    }
    let each: Vec<f64> = concentrations
        .iter()
        .map(|kappa| mixture(arms, whole, kappa.get()))
        .collect();
    let most = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = each.iter().map(|ln_e| exp(ln_e - most)).sum();
    Some(most + log(sum / count(each.len() as u64))).filter(|ln_e| ln_e.is_finite())
}

fn mixture(arms: &[ArmUsers], whole: f64, kappa: f64) -> f64 {
    let parts = |counted: fn(&ArmUsers) -> f64| -> Vec<(f64, f64)> {
        let part = |arm: &ArmUsers| {
            (
                kappa * (arm.weight / whole) + counted(arm),
                arm.weight / whole,
            )
        };
        arms.iter().map(part).collect()
    };
    log_m_of(&parts(|arm| count(arm.users))) - log_m_of(&parts(|_| 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Alpha;

    fn arms(counts: &[(u64, f64)]) -> Vec<ArmUsers> {
        let arm = |&(users, weight)| ArmUsers { users, weight };
        counts.iter().map(arm).collect()
    }

    #[test]
    fn an_arm_that_gets_nobody_is_found_within_48_users() {
        let alpha = Alpha::new(0.001).unwrap();
        let found = |users| alpha.rejects(sample_ratio(&arms(&[(users, 1.0), (0, 1.0)])).unwrap());
        assert!(
            found(48) && !found(10),
            "{:?}",
            sample_ratio(&arms(&[(48, 1.0), (0, 1.0)]))
        );
    }

    #[test]
    fn unequal_weights_are_no_mismatch() {
        let ln_e = sample_ratio(&arms(&[(100, 1.0), (1900, 19.0)])).unwrap();
        assert!(ln_e < 0.0, "{ln_e}");
    }

    #[test]
    fn arms_that_cannot_be_compared_are_refused() {
        for bad in [
            arms(&[]),
            arms(&[(3, 1.0)]),
            arms(&[(3, 1.0), (3, 0.0)]),
            arms(&[(3, 1.0), (3, f64::NAN)]),
            arms(&[(3, f64::MAX), (3, f64::MAX)]),
            arms(&[(3, 1e-300), (3, 1e300)]),
        ] {
            assert_eq!(sample_ratio(&bad), None, "{bad:?}");
        }
        assert_eq!(sample_ratio_of(&arms(&[(3, 1.0), (3, 1.0)]), &[]), None);
        assert!(sample_ratio(&arms(&[(u64::MAX, 1.0), (u64::MAX, 1.0)])).is_some());
    }
}
