//! Labelled pairs that all variants scored.
//!
//! Owns which variants put the chosen answer above the rejected one, once for each unit: the user where one is
//! named, else the prompt. Invariants: a unit counts once, also where several routers saw it, so each is one
//! event of the sequential `McNemar` test (stats.md 1.2); a variant that did not score a pair is wrong about
//! it (stats.md 1.6), and one that the control did not score is no pair.

use super::super::Unit;
use super::super::preferences::Lots;
use super::users::{MAX_USERS, bit};
use crate::table::experiment::{Arm, MOST_VARIANTS};

/// How a candidate compares with the control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RightsCounts {
    /// Both were right.
    pub both_right: u64,
    /// The control alone.
    pub control_alone: u64,
    /// The candidate alone.
    pub candidate_alone: u64,
    /// Neither.
    pub both_wrong: u64,
}

impl RightsCounts {
    /// All units.
    pub const fn total(self) -> u64 {
        self.both_right + self.control_alone + self.candidate_alone + self.both_wrong
    }
}

/// Which variants were right about which unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// One bit for each arm, by unit, in order.
    pub(super) units: Vec<(Unit, u8)>,
    /// Pairs of units that were counted before.
    pub repeated: u64,
    /// Pairs that were not counted because so many were.
    pub beyond: u64,
    /// Pairs that the control did not score.
    pub failed: u64,
    /// Pairs that a variant did not score, by arm.
    pub missing: [u64; MOST_VARIANTS],
}

impl Rights {
    fn find(&self, unit: Unit) -> Result<usize, usize> {
        self.units.binary_search_by_key(&unit, |(unit, _)| *unit)
    }

    /// Whether a pair of the unit would be counted.
    pub fn admission(&self, unit: Unit) -> super::super::Admission {
        use super::super::Admission;
        if self.find(unit).is_ok() {
            Admission::Repeated
        } else if self.units.len() >= MAX_USERS {
            Admission::Full
        } else {
            Admission::Counted
        }
    }

    /// All have been asked about a pair: who put the chosen answer first, `None` where it did not answer.
    /// Nothing is counted where the control did not.
    pub(super) fn judged(&mut self, unit: Unit, of: &[Option<bool>]) -> super::super::Admission {
        use super::super::Admission;
        let admission = self.admission(unit);
        match admission {
            Admission::Repeated => self.repeated = self.repeated.saturating_add(1),
            Admission::Full => self.beyond = self.beyond.saturating_add(1),
            Admission::Counted if of.first().copied().flatten().is_none() => {
                self.failed = self.failed.saturating_add(1);
            }
            Admission::Counted => {
                let mut right = 0;
                for ((place, of), missing) in of.iter().enumerate().zip(&mut self.missing) {
                    match of {
                        Some(true) => right |= bit(place),
                        Some(false) => {}
                        None => *missing = missing.saturating_add(1),
                    }
                }
                if let Err(place) = self.find(unit) {
                    self.units.insert(place, (unit, right));
                }
            }
        }
        admission
    }

    /// Adds those of the router `instance`, where a unit that others saw too is counted as the one saw it that
    /// the lot falls on: no outcome is drawn more often than routers have seen it.
    pub(super) fn merge(&mut self, other: &Self, instance: &str, lots: &mut Lots) {
        let drawn = Lots::of(instance);
        let mut all = other.units.clone();
        all.retain(|(unit, _)| lots.falls_on(&drawn, *unit));
        // The sort is stable, so that those that win stand before those that were there.
        all.extend(&self.units);
        all.sort_by_key(|(unit, _)| *unit);
        all.dedup_by_key(|(unit, _)| *unit);
        self.units = all;
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.beyond = self.beyond.saturating_add(other.beyond);
        self.failed = self.failed.saturating_add(other.failed);
        for (count, more) in self.missing.iter_mut().zip(other.missing) {
            *count = count.saturating_add(more);
        }
    }

    /// How many units were counted.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// How an arm compares with the control.
    pub fn counts(&self, arm: Arm) -> RightsCounts {
        let mut counts = RightsCounts::default();
        for (_, right) in &self.units {
            let is = |arm: Arm| right & bit(arm.place()) != 0;
            match (is(Arm::CONTROL), is(arm)) {
                (true, true) => counts.both_right += 1,
                (true, false) => counts.control_alone += 1,
                (false, true) => counts.candidate_alone += 1,
                (false, false) => counts.both_wrong += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: u32 = 30_000;

    /// A router that saw the same outcome of all units.
    fn saw(right: u8) -> Rights {
        Rights {
            units: (0..UNITS).map(|unit| (Unit(unit), right)).collect(),
            ..Rights::default()
        }
    }

    fn together<'r>(all: impl IntoIterator<Item = (&'r str, &'r Rights)>) -> RightsCounts {
        let (mut total, mut lots) = (Rights::default(), Lots::default());
        for (instance, rights) in all {
            total.merge(rights, instance, &mut lots);
        }
        assert_eq!(total.len(), 30_000);
        total.counts(Arm::new(1).unwrap())
    }

    #[test]
    fn where_routers_differ_about_a_unit_each_is_believed_as_often() {
        let (control, candidate) = (saw(0b01), saw(0b10));
        let all = [("a", &control), ("b", &candidate), ("c", &control)];
        let counts = together(all);
        assert_eq!(counts, together(all.into_iter().rev()));
        // A third of 30,000, within six standard deviations.
        assert!(
            (9_500..10_500).contains(&counts.candidate_alone),
            "{counts:?}"
        );
    }
}
