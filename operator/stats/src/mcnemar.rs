//! Paired accuracy: labelled pairs that both arms judge.
//!
//! Owns the counts of pairs on which the arms differ, and the two tests over them: exact (the sequential
//! McNemar test) for "better", the mean difference for "no worse". A score tie is wrong for both. One
//! pair counts once, however often it is sent.

use crate::beta_binomial::{BetaPrior, LogE, Share, Tally, beta_binomial};
use crate::moments::Moments;
use crate::special::count;

/// What the prior of [`Discordance::log_e`] is worth on each side.
const PRIOR: f64 = 10.0;

/// Labelled pairs, and those on which one arm alone is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discordance {
    pairs: u64,
    candidate: u64,
    control: u64,
}

impl Discordance {
    /// `None` where the arms differ on more pairs than there are.
    pub fn new(pairs: u64, candidate_alone: u64, control_alone: u64) -> Option<Self> {
        let differ = candidate_alone.checked_add(control_alone)?;
        (differ <= pairs).then_some(Self {
            pairs,
            candidate: candidate_alone,
            control: control_alone,
        })
    }

    /// Evidence on which arm is right more often (stats.md 1.2, `mcnemar` of the reference): against a
    /// half of the pairs on which they differ, with the prior Beta(10, 10). `greater` is that the
    /// candidate is.
    pub fn log_e(self) -> Option<LogE> {
        let tally = Tally {
            successes: self.candidate,
            failures: self.control,
        };
        Some(beta_binomial(
            tally,
            Share::new(0.5)?,
            BetaPrior::new(PRIOR, PRIOR)?,
        ))
    }

    /// The difference of accuracies, pair by pair: +1, 0 or -1. For [`crate::paired`] and
    /// [`crate::Bounded`].
    pub fn differences(self) -> Option<Moments> {
        let (candidate, control) = (count(self.candidate), count(self.control));
        Moments::new(self.pairs, candidate - control, candidate + control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired;

    #[test]
    fn arms_differ_on_no_more_pairs_than_there_are() {
        assert_eq!(Discordance::new(10, 6, 5), None);
        assert_eq!(Discordance::new(u64::MAX, u64::MAX, 1), None);
    }

    #[test]
    fn swapping_the_arms_swaps_the_evidence() {
        let one = Discordance::new(1000, 60, 30).unwrap().log_e().unwrap();
        let other = Discordance::new(1000, 30, 60).unwrap().log_e().unwrap();
        assert!((one.greater - other.less).abs() < 1e-9, "{one:?} {other:?}");
        assert!(one.greater > 3.0 && one.less < 0.0);
        let none = Discordance::new(1000, 0, 0).unwrap().log_e().unwrap();
        assert!(none.two_sided.abs() < 1e-12 && none.greater.abs() < 1e-12);
    }

    #[test]
    fn the_difference_of_accuracies_is_that_of_the_pairs() {
        let differences = Discordance::new(1000, 60, 30)
            .unwrap()
            .differences()
            .unwrap();
        let estimate = paired(differences).unwrap();
        assert!((estimate.effect() - 0.03).abs() < 1e-12);
        // sqrt((90 - 900/1000) / 999 / 1000)
        assert!(
            (estimate.error() - 0.009_444_4).abs() < 1e-6,
            "{}",
            estimate.error()
        );
    }
}
