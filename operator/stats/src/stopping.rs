//! When a sequential test will stop: how much it takes, said before it begins.
//!
//! Owns the distribution of the information at which the one-sided normal mixture rejects, by recursive
//! numerical integration of a normal walk below a boundary (Armitage, `McPherson` and Rowe 1969), with
//! Siegmund's correction (1985) for looks that follow each other without a gap. It must not know of users or
//! time: information is `(effect/se)^2`, and [`crate::Plan::units`] says what it costs. Invariants: what has
//! stopped never grows less with more information; a test that looks at every moment stops no earlier for it
//! than its level allows.

use libm::{floor, sqrt};

use crate::estimate::{Scale, bisect};
use crate::level::Alpha;
use crate::normal::{bell, log_ndtr};
use crate::normal_mixture::one_sided_multiplier;

/// The first look, in units of information.
const FIRST: f64 = 0.05;
/// Each look has so many times the information of the one before.
const GROWTH: f64 = 1.005;
/// Looks at most: the last has 800 times what a fixed test needs at a level of 0.025.
const LOOKS: u32 = 2_350;
/// Points of the walk at a look, and how many standard deviations around its mean they cover.
const POINTS: u32 = 400;
const REACH: f64 = 8.0;
/// `-zeta(1/2)/sqrt(2 pi)`: what a walk goes beyond a boundary on average, in standard deviations of a step.
const OVERSHOOT: f64 = 0.582_597;
/// Enough has stopped.
const ALL: f64 = 0.9999;
/// `1/sqrt(2 pi)`.
const BELL: f64 = 0.398_942_280_401_432_7;

/// The distribution of the information at which a test stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopping {
    /// Information, and the part of the tests that has stopped by then.
    looks: Vec<(f64, f64)>,
}

impl Stopping {
    /// Of the test "the effect is above the null" at a level, where it truly lies `distance` above it.
    pub fn new(distance: Scale, tau: Scale, alpha: Alpha) -> Self {
        let ratio = distance.get() / tau.get();
        let boundary = |information: f64| {
            let root = sqrt(information);
            root * one_sided_multiplier(ratio / root, alpha)
        };
        let mut looks = Vec::new();
        let (mut information, mut walk) = (FIRST, None::<Walk>);
        for _ in 0..LOOKS {
            let before = walk.take();
            let step = before.as_ref().map_or(0.0, |walk| information - walk.at);
            let top = boundary(information) - OVERSHOOT * sqrt(step);
            let now = Walk::at(information, top, before.as_ref());
            let stopped = (1.0 - now.left()).clamp(0.0, 1.0);
            looks.push((information, stopped));
            if stopped > ALL {
                break;
            }
            walk = Some(now);
            information *= GROWTH;
        }
        Self { looks }
    }

    /// The information by which this part of the tests has stopped. `None` where that takes more than anybody
    /// would plan for.
    pub fn information(&self, part: f64) -> Option<f64> {
        let after = self.looks.iter().find(|(_, stopped)| *stopped >= part);
        after.map(|(information, _)| *information)
    }

    /// The part of the tests that has stopped by then.
    pub fn power(&self, information: f64) -> f64 {
        let mut before = self.looks.iter().rev();
        let look = before.find(|(at, _)| *at <= information);
        look.map_or(0.0, |(_, stopped)| *stopped)
    }
}

/// The information that a test with one look needs, `(z_alpha + z_power)^2`. `None` unless the power lies
/// strictly between 0 and 1.
pub fn fixed_information(alpha: Alpha, power: f64) -> Option<f64> {
    let miss = Alpha::new(1.0 - power)?;
    let z = upper_quantile(alpha) + upper_quantile(miss);
    Some(z.max(0.0) * z.max(0.0))
}

/// The z above which a standard normal number lies with this probability.
fn upper_quantile(alpha: Alpha) -> f64 {
    bisect(-40.0, 40.0, |z| log_ndtr(-z) > -alpha.threshold())
}

/// Where the walk is at a look, of those that have not stopped.
struct Walk {
    /// The information.
    at: f64,
    /// The lowest point, and the distance to the next.
    low: f64,
    width: f64,
    /// Probabilities of the points.
    mass: Vec<f64>,
}

impl Walk {
    fn at(information: f64, top: f64, before: Option<&Self>) -> Self {
        let spread = REACH * sqrt(information);
        let low = information - spread;
        let width = (top.min(information + spread) - low).max(0.0) / f64::from(POINTS);
        let point = |index: u32| low + (f64::from(index) + 0.5) * width;
        let density = |point: f64| {
            let first = || {
                let sd = sqrt(information);
                BELL / sd * bell((point - information) / sd)
            };
            before.map_or_else(first, |before| {
                before.onward(information - before.at, point)
            })
        };
        let mass = (0..POINTS).map(|index| width * density(point(index)));
        Self {
            at: information,
            low,
            width,
            mass: mass.collect(),
        }
    }

    /// The density at `point` after a step of this information.
    fn onward(&self, step: f64, point: f64) -> f64 {
        let sd = sqrt(step);
        if self.width <= 0.0 {
            return 0.0;
        }
        // Farther points add nothing.
        let first = floor((point - step - REACH * sd - self.low) / self.width).max(0.0);
        let many = floor(2.0 * REACH * sd / self.width) + 2.0;
        let (skip, take) = (index(first), index(many));
        let mut from = self.low + (first + 0.5) * self.width;
        let mut sum = 0.0;
        for mass in self.mass.iter().skip(skip).take(take) {
            sum += mass * bell((point - from - step) / sd);
            from += self.width;
        }
        sum * BELL / sd
    }

    fn left(&self) -> f64 {
        self.mass.iter().sum()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, at least 0, and the cast stops at the ends"
)]
const fn index(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopping(ratio: f64) -> Stopping {
        let scale = |size| Scale::new(size).unwrap();
        Stopping::new(scale(ratio), scale(1.0), Alpha::new(0.025).unwrap())
    }

    #[test]
    fn it_stops_when_the_simulations_of_the_specification_do() {
        // stats.md 7, "Cost vs a fixed-horizon one-sided 2.5 % / 80 % z-test": true effect / MDE, median
        // stop and size for 80 % power, in parts of the fixed size for the true effect.
        let fixed = fixed_information(Alpha::new(0.025).unwrap(), 0.8).unwrap();
        for (ratio, median, size) in [
            (0.5, 0.92, 1.72),
            (1.0, 0.93, 1.65),
            (1.5, 1.01, 1.63),
            (2.0, 1.15, 1.78),
            (3.0, 1.41, 2.02),
        ] {
            let stopping = stopping(ratio);
            for (part, wanted) in [(0.5, median), (0.8, size)] {
                let found = stopping.information(part).unwrap() / fixed;
                assert!(
                    (found / wanted - 1.0).abs() < 0.06,
                    "{ratio} {part}: {found} instead of {wanted}"
                );
            }
        }
    }

    #[test]
    fn a_fixed_test_detects_2_80_errors() {
        let fixed = fixed_information(Alpha::new(0.025).unwrap(), 0.8).unwrap();
        assert!((sqrt(fixed) - 2.8016).abs() < 1e-4, "{fixed}");
        assert_eq!(fixed_information(Alpha::new(0.025).unwrap(), 1.0), None);
    }

    #[test]
    fn what_has_stopped_never_grows_less() {
        let stopping = stopping(1.0);
        let rises = stopping
            .looks
            .windows(2)
            .all(|two| two[0].1 <= two[1].1 + 1e-9);
        assert!(rises && stopping.looks.last().unwrap().1 > ALL);
        let half = stopping.information(0.5).unwrap();
        assert!((stopping.power(half) - 0.5).abs() < 0.01);
        assert!(stopping.power(0.0).abs() < f64::EPSILON);
        assert_eq!(stopping.information(1.0), None);
    }

    #[test]
    fn looking_all_the_time_finds_at_least_what_one_look_would() {
        let (stopping, alpha) = (stopping(1.0), Alpha::new(0.025).unwrap());
        for information in [4.0, 8.0, 16.0, 25.0] {
            let root = sqrt(information);
            let alone = libm::exp(log_ndtr(root - one_sided_multiplier(1.0 / root, alpha)));
            let found = stopping.power(information);
            assert!(
                found > alone && found < alone + 0.2,
                "{information}: {found} {alone}"
            );
        }
    }
}
