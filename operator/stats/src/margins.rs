//! Which way is better, and how much worse is allowed: what is tested of a metric.
//!
//! Owns directions, margins and the tests of each role (stats.md 2.2). Every effect is turned so that
//! larger is better before it is tested. Invariant: a relative margin compares with a multiple of
//! control, so that nothing is added to the error for not knowing control's mean.

use libm::log1p;

use crate::beta_binomial::LogE;
use crate::estimate::{Estimate, Factor, Null, Scale, Undefined};
use crate::event_split::RateRatio;
use crate::normal_mixture::NormalMixture;

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The more the better.
    Higher,
    /// The less the better: errors, latency.
    Lower,
}

impl Direction {
    /// A difference `B - A`, turned so that larger is better.
    pub fn turn(self, difference: Estimate) -> Estimate {
        match self {
            Self::Higher => difference,
            Self::Lower => difference.reversed(),
        }
    }
}

/// A part of control's value, as 0.02 for 2 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct RelativeMargin(f64);

impl RelativeMargin {
    /// `None` unless it lies between 0 and 1,000. From 1 on it says something only of a metric of which
    /// less is better.
    pub fn new(part: f64) -> Option<Self> {
        (0.0..=1000.0).contains(&part).then_some(Self(part))
    }

    /// Of a metric that is recorded as a logarithm: `ln(1 + delta)`, an absolute margin.
    pub fn of_logarithm(self) -> Null {
        Null::new(-log1p(self.0)).unwrap_or(Null::ZERO)
    }

    /// Of events that are split between arms: `1 + delta` times as often.
    pub fn of_events(self) -> RateRatio {
        RateRatio::new(1.0 + self.0).unwrap_or(RateRatio::SAME)
    }

    /// The effect beyond the margin, larger is better, to be tested against 0: `mB - (1 - delta) mA` of a
    /// metric whose higher is better, `(1 + delta) mA - mB` of another. `psi` is the comparison, of means,
    /// ratios or proportions, for the factor it is given. `OutOfRange` where all of control's value may be lost.
    pub fn effect(
        self,
        direction: Direction,
        psi: impl FnOnce(Factor) -> Result<Estimate, Undefined>,
    ) -> Result<Estimate, Undefined> {
        let factor = match direction {
            Direction::Higher => 1.0 - self.0,
            Direction::Lower => 1.0 + self.0,
        };
        let factor = Factor::new(factor).ok_or(Undefined::OutOfRange)?;
        psi(factor).map(|difference| direction.turn(difference))
    }
}

/// What a metric has to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// That it is better: harm is that it is worse.
    Superior,
    /// That it is not worse by the margin: harm is that it is.
    NotWorse(Scale),
}

/// Evidence of both sides, natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sides {
    /// That it is as the role wants.
    pub benefit: f64,
    /// That it is the contrary.
    pub harm: f64,
}

impl From<LogE> for Sides {
    fn from(evidence: LogE) -> Self {
        Self {
            benefit: evidence.greater,
            harm: evidence.less,
        }
    }
}

impl Role {
    /// Evidence over an effect of which larger is better. With a relative margin, which the effect has in
    /// it already, the role is [`Role::Superior`].
    pub fn evidence(self, effect: Estimate, tau: Scale) -> Result<Sides, Undefined> {
        let null = match self {
            Self::Superior => Null::ZERO,
            Self::NotWorse(margin) => Null::below(margin),
        };
        NormalMixture::new(effect, tau).map(|mixture| mixture.log_e(null).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arm, difference_of_means};

    fn arm(mean: f64) -> Arm {
        Arm::new(1000, mean, 1.0).unwrap()
    }

    #[test]
    fn fewer_errors_are_better() {
        let fewer = Estimate::new(-0.1, 0.01).unwrap();
        assert!(Direction::Lower.turn(fewer).effect() > 0.0);
        assert!(Direction::Higher.turn(fewer).effect() < 0.0);
    }

    #[test]
    fn at_the_margin_the_effect_is_nothing() {
        let margin = RelativeMargin::new(0.1).unwrap();
        for (direction, b) in [(Direction::Higher, 9.0), (Direction::Lower, 11.0)] {
            let at = |b| {
                margin
                    .effect(direction, |factor| {
                        difference_of_means(arm(10.0), arm(b), factor)
                    })
                    .unwrap()
                    .effect()
            };
            assert!(at(b).abs() < 1e-12, "{direction:?}");
            assert!(at(10.0) > 0.0, "{direction:?}");
        }
    }

    #[test]
    fn a_margin_is_a_part_of_the_whole() {
        for bad in [-0.1, 1001.0, f64::NAN] {
            assert_eq!(RelativeMargin::new(bad), None);
        }
        let whole = RelativeMargin::new(1.0).unwrap();
        let compare = |factor| difference_of_means(arm(10.0), arm(15.0), factor);
        let lost = whole.effect(Direction::Higher, compare);
        assert_eq!(lost, Err(Undefined::OutOfRange));
        assert!(whole.effect(Direction::Lower, compare).unwrap().effect() > 4.9);
        let tenth = RelativeMargin::new(0.1).unwrap();
        assert!((tenth.of_logarithm().get() + libm::log(1.1)).abs() < 1e-15);
        assert_eq!(tenth.of_events(), RateRatio::new(1.1).unwrap());
    }

    #[test]
    fn not_worse_is_easier_to_show_than_better_and_harder_to_harm() {
        let (effect, tau) = (Estimate::new(0.0, 0.01).unwrap(), Scale::new(0.05).unwrap());
        let better = Role::Superior.evidence(effect, tau).unwrap();
        let no_worse = Role::NotWorse(tau).evidence(effect, tau).unwrap();
        assert!(no_worse.benefit > 5.0 && better.benefit < 0.0);
        assert!(no_worse.harm < better.harm);
        let constant = Estimate::new(0.0, 0.0).unwrap();
        assert!(Role::Superior.evidence(constant, tau).is_err());
    }
}
