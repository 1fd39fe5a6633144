//! What was said of users whom this router has not seen.
//!
//! Owns the events of users whose requests another router may have answered: `/feedback` and the score may
//! meet two routers. Whether they were seen anywhere is known when sets are merged ([`super::Sums::settled`]).
//! Invariant: as many are kept as [`MAX_UNSEEN`] says, over all metrics.

use super::super::Unit;
use super::Cell;

/// Sums of users and metrics that one router keeps for users whom it has not seen.
pub const MAX_UNSEEN: usize = 24_000;

/// Events of users who are not known here, by user and place of the metric, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unseen(pub(super) Vec<(Unit, u8, Told)>);

/// The events of one user and metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Told {
    /// How many there are, and the sum of their values.
    pub cell: Cell,
    /// Whether one of them was above 0.
    pub is_positive: bool,
}

impl Told {
    pub(super) fn one(value: f64) -> Self {
        Self {
            cell: Cell {
                count: 1,
                sum: value,
            },
            is_positive: value > 0.0,
        }
    }

    fn plus(self, other: Self) -> Self {
        use super::super::Sum;
        Self {
            cell: self.cell.plus(other.cell),
            is_positive: self.is_positive || other.is_positive,
        }
    }
}

impl Unseen {
    /// Adds an event. Says whether there is room for it.
    pub(super) fn add(&mut self, unit: Unit, metric: u8, told: Told) -> bool {
        let key = |(unit, metric, _): &(Unit, u8, Told)| (*unit, *metric);
        match self.0.binary_search_by_key(&(unit, metric), key) {
            Ok(place) => {
                if let Some((_, _, kept)) = self.0.get_mut(place) {
                    *kept = kept.plus(told);
                }
                true
            }
            Err(place) => {
                let has_room = self.0.len() < MAX_UNSEEN;
                if has_room {
                    self.0.insert(place, (unit, metric, told));
                }
                has_room
            }
        }
    }

    /// Takes what is there of a user who is seen now: places of metrics and events.
    pub(super) fn take(&mut self, unit: Unit) -> Vec<(u8, Told)> {
        let from = self.0.partition_point(|(other, _, _)| *other < unit);
        let until = self.0.partition_point(|(other, _, _)| *other <= unit);
        let taken = self.0.drain(from..until);
        taken.map(|(_, metric, told)| (metric, told)).collect()
    }

    /// Adds those of another router.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut all: Vec<(Unit, u8, Told)> = Vec::with_capacity(self.0.len() + other.0.len());
        all.extend(&self.0);
        all.extend(&other.0);
        // Stable: of one user and metric ours is first.
        all.sort_by_key(|(unit, metric, _)| (*unit, *metric));
        let mut merged: Vec<(Unit, u8, Told)> = Vec::with_capacity(all.len());
        for (unit, metric, told) in all {
            match merged.last_mut() {
                Some((last, of, kept)) if (*last, *of) == (unit, metric) => *kept = kept.plus(told),
                Some(_) | None => merged.push((unit, metric, told)),
            }
        }
        self.0 = merged;
    }

    /// How many sums are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one metric alone, which becomes the first.
    pub(super) fn only(mut self, metric: usize) -> Self {
        self.0.retain(|(_, of, _)| usize::from(*of) == metric);
        for (_, of, _) in &mut self.0 {
            *of = 0;
        }
        self
    }
}
