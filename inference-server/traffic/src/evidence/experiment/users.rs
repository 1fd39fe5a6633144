//! Who was seen in which arm.
//!
//! Owns the set of users, by what their ids are hashed to, with the arms that they were seen in and the
//! metrics that they have had an event of. Invariants: a user is in it once, whoever has seen it, because
//! sets are merged by union; a set that is full takes nobody more (a test that stops looking stays valid).

use super::super::Unit;
use crate::table::experiment::{Arm, MOST_METRICS};

/// Users that one router counts, over all arms of an epoch.
pub const MAX_USERS: usize = 40_000;

/// What is known of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// One bit for each arm.
    pub(super) arms: u8,
    /// One bit for each metric: a request failed, or an event above 0 came.
    pub(super) events: u8,
}

impl Seen {
    pub(super) const fn in_arm(arm: Arm) -> Self {
        Self {
            arms: bit(arm.place()),
            events: 0,
        }
    }

    /// The arm; `None` where it was seen in two.
    pub fn arm(self) -> Option<Arm> {
        self.arms
            .is_power_of_two()
            .then(|| Arm::new(self.arms.trailing_zeros() as usize))
            .flatten()
    }

    /// Whether it was seen in more than one arm: such a user tells nothing of either.
    pub const fn is_in_two(self) -> bool {
        self.arms.count_ones() > 1
    }

    /// Whether it had an event of the metric of this place: an error of the signal Errors, an event above 0.
    pub const fn has(self, metric: usize) -> bool {
        self.events & bit(metric) != 0
    }

    const fn or(self, other: Self) -> Self {
        Self {
            arms: self.arms | other.arms,
            events: self.events | other.events,
        }
    }
}

pub(super) const fn bit(place: usize) -> u8 {
    if place < MOST_METRICS { 1 << place } else { 0 }
}

/// Users by what their ids are hashed to, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(pub(super) Vec<(Unit, Seen)>);

impl Users {
    fn find(&self, unit: Unit) -> Result<usize, usize> {
        self.0.binary_search_by_key(&unit, |(unit, _)| *unit)
    }

    /// What is known of a user.
    pub fn get(&self, unit: Unit) -> Option<Seen> {
        let place = self.find(unit).ok()?;
        self.0.get(place).map(|(_, seen)| *seen)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, Seen)> + '_ {
        self.0.iter().copied()
    }

    /// How many there are, those of two arms included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a user, where there is room for it. Says whether it is new.
    pub(super) fn add(&mut self, unit: Unit, arm: Arm) -> bool {
        match self.find(unit) {
            Ok(_) => false,
            Err(place) => {
                let has_room = self.0.len() < MAX_USERS;
                if has_room {
                    self.0.insert(place, (unit, Seen::in_arm(arm)));
                }
                has_room
            }
        }
    }

    /// Notes more of a user who is known.
    pub(super) fn mark(&mut self, unit: Unit, more: Seen) {
        if let Ok(place) = self.find(unit)
            && let Some((_, seen)) = self.0.get_mut(place)
        {
            *seen = seen.or(more);
        }
    }

    /// A user of the metric had an event.
    pub(super) fn had(&mut self, unit: Unit, metric: usize) {
        let more = Seen {
            arms: 0,
            events: bit(metric),
        };
        self.mark(unit, more);
    }

    /// Adds those of another router.
    pub fn merge(&mut self, other: &Self) {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut all = Vec::with_capacity(self.0.len().max(other.0.len()));
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some((one, seen)), Some((two, more))) if one == two => {
                    let both = (*one, seen.or(*more));
                    ours.next();
                    theirs.next();
                    Some(both)
                }
                (Some((one, _)), Some((two, _))) if one < two => ours.next().copied(),
                (Some(_), None) => ours.next().copied(),
                (_, Some(_)) => theirs.next().copied(),
                (None, None) => None,
            };
            match next {
                Some(next) => all.push(next),
                None => break,
            }
        }
        self.0 = all;
    }

    /// The users of an arm, and of no other.
    pub fn of(&self, arm: Arm) -> u64 {
        self.count(|seen| seen.arm() == Some(arm))
    }

    /// The users of an arm who had an event of a metric.
    pub fn with(&self, arm: Arm, metric: usize) -> u64 {
        self.count(|seen| seen.arm() == Some(arm) && seen.has(metric))
    }

    /// Users who were seen in two arms.
    pub fn in_two(&self) -> u64 {
        self.count(Seen::is_in_two)
    }

    fn count(&self, fits: impl Fn(Seen) -> bool) -> u64 {
        let fitting = self.0.iter().filter(|(_, seen)| fits(*seen));
        u64::try_from(fitting.count()).unwrap_or(u64::MAX)
    }

    /// With the events of one metric alone, which becomes the first.
    pub(super) fn only(mut self, metric: usize) -> Self {
        for (_, seen) in &mut self.0 {
            seen.events = u8::from(seen.has(metric));
        }
        self
    }
}
