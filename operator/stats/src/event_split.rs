//! Whether rare events fall to one of two arms more often than its traffic explains.
//!
//! Owns the comparison of event counts (Lindon and Malek 2022, "Anytime-valid inference for
//! multinomial count data"). Given that a user's first event happens, it falls to B with a share that
//! depends on the traffic of both arms alone, whatever the rate of events is at the time: exact from the
//! first event on, and robust to rates that change. Each user counts once, or one who tries again and
//! again would be taken for many.

use crate::beta_binomial::{BetaPrior, LogE, Share, Tally, beta_binomial};

/// One arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Events {
    /// Users that had an event, each counted once.
    pub users: u64,
    /// Its part of the traffic, in any unit that both arms share.
    pub weight: f64,
}

/// How many times more often than in A events may happen in B.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct RateRatio(f64);

impl RateRatio {
    /// As often.
    pub const SAME: Self = Self(1.0);

    /// `None` unless it is finite and above 0.
    pub fn new(ratio: f64) -> Option<Self> {
        (ratio > 0.0 && ratio.is_finite()).then_some(Self(ratio))
    }
}

/// How many events the prior is worth: the larger, the later it gives way.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Kappa(f64);

impl Kappa {
    /// That of the reference.
    pub const DEFAULT: Self = Self(20.0);

    /// `None` unless it is finite and above 0.
    pub fn new(kappa: f64) -> Option<Self> {
        (kappa > 0.0 && kappa.is_finite()).then_some(Self(kappa))
    }

    /// Of a number that is known to be finite and above 0.
    pub(crate) const fn of(kappa: f64) -> Self {
        Self(kappa)
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The evidence, and the share that B was expected to have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventSplit {
    /// B's expected share of the events.
    pub expected: Share,
    /// Evidence against it; `greater` is that events happen too often in B.
    pub evidence: LogE,
}

/// Evidence that events happen in `b` more or less than `ratio` times as often as in `a` (stats.md 1.2,
/// `event_split` of the reference). `None` where an arm has no traffic, so that nothing can be compared.
pub fn event_split(a: Events, b: Events, ratio: RateRatio, kappa: Kappa) -> Option<EventSplit> {
    let expected = Share::new(ratio.0 * b.weight / (ratio.0 * b.weight + a.weight))?;
    let prior = BetaPrior::new(kappa.0 * expected.get(), kappa.0 * (1.0 - expected.get()))?;
    let tally = Tally {
        successes: b.users,
        failures: a.users,
    };
    Some(EventSplit {
        expected,
        evidence: beta_binomial(tally, expected, prior),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_without_traffic_is_not_compared() {
        let arm = |weight| Events { users: 3, weight };
        for (a, b) in [
            (0.0, 1.0),
            (1.0, 0.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
        ] {
            assert_eq!(
                event_split(arm(a), arm(b), RateRatio::SAME, Kappa::DEFAULT),
                None
            );
        }
    }
}
