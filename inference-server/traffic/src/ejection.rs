//! Which endpoints of a revision are left alone for a while, because they failed.
//!
//! Owns the count of failures in a row and how long an endpoint is put aside: 1 s, doubled each time up
//! to a minute, and forgotten after as long a time without a failure. It must not know what failed: the
//! caller counts what an endpoint owes (no connection, a reset, a 5xx), and not what the revision or the
//! client does. Invariants: never more than half of the endpoints are put aside; a single one never.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Millis;

/// Failures in a row that put an endpoint aside.
const IN_A_ROW: u32 = 3;
/// For how long, the first time.
const FIRST: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST: Duration = Duration::from_mins(1);

/// The endpoints of one revision that failed of late, by a name of the caller's.
#[derive(Clone, Debug)]
pub struct Ejections<Id> {
    records: BTreeMap<Id, Record>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    in_a_row: u32,
    times: u32,
    until: Option<Millis>,
}

impl<Id: Ord + Clone> Default for Ejections<Id> {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
        }
    }
}

impl<Id: Ord + Clone> Ejections<Id> {
    /// An endpoint answered.
    pub fn succeeded(&mut self, id: &Id, now: Millis) {
        let forgotten = self.records.get_mut(id).is_some_and(|record| {
            record.in_a_row = 0;
            record.until.is_none_or(|until| now.since(until) >= LONGEST)
        });
        if forgotten {
            self.records.remove(id);
        }
    }

    /// An endpoint of `endpoints` failed. Says whether it is put aside now.
    pub fn failed(&mut self, id: &Id, endpoints: usize, now: Millis) -> bool {
        let aside = self.aside(now);
        let record = self.records.entry(id.clone()).or_default();
        record.in_a_row = record.in_a_row.saturating_add(1);
        let may = (aside + 1) * 2 <= endpoints;
        let is_aside = record.until.is_some_and(|until| now < until);
        if record.in_a_row < IN_A_ROW || !may || is_aside {
            return false;
        }
        let doubled = FIRST.saturating_mul(1 << record.times.min(6));
        record.until = Some(now.plus(doubled.min(LONGEST)));
        record.times += 1;
        record.in_a_row = 0;
        true
    }

    /// Whether an endpoint is put aside.
    pub fn is_ejected(&self, id: &Id, now: Millis) -> bool {
        let until = self.records.get(id).and_then(|record| record.until);
        until.is_some_and(|until| now < until)
    }

    /// When the next one comes back; the candidates change then.
    pub fn next_return(&self, now: Millis) -> Option<Millis> {
        let untils = self.records.values().filter_map(|record| record.until);
        untils.filter(|until| now < *until).min()
    }

    /// Forgets all endpoints but these. Where so many are gone that more than half of the rest would be
    /// put aside, the rest are taken back.
    pub fn keep(&mut self, is_here: impl Fn(&Id) -> bool, endpoints: usize, now: Millis) {
        self.records.retain(|id, _| is_here(id));
        if self.aside(now) * 2 > endpoints {
            for record in self.records.values_mut() {
                record.until = None;
            }
        }
    }

    fn aside(&self, now: Millis) -> usize {
        let is_aside = |record: &&Record| record.until.is_some_and(|until| now < until);
        self.records.values().filter(is_aside).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fail(ejections: &mut Ejections<u8>, id: u8, endpoints: usize, now: Millis) -> bool {
        (0..IN_A_ROW).any(|_| ejections.failed(&id, endpoints, now))
    }

    #[test]
    fn three_failures_in_a_row_put_an_endpoint_aside_and_two_do_not() {
        let mut ejections = Ejections::default();
        let now = Millis(0);
        assert!(!ejections.failed(&1, 4, now) && !ejections.failed(&1, 4, now));
        ejections.succeeded(&1, now);
        assert!(!ejections.failed(&1, 4, now) && !ejections.failed(&1, 4, now));
        assert!(ejections.failed(&1, 4, now));
        assert!(ejections.is_ejected(&1, Millis(999)));
        assert!(!ejections.is_ejected(&1, Millis(1_000)));
        assert_eq!(ejections.next_return(now), Some(Millis(1_000)));
        assert_eq!(ejections.next_return(Millis(1_000)), None);
    }

    #[test]
    fn the_time_doubles_up_to_a_minute_and_is_forgotten() {
        let mut ejections = Ejections::default();
        let mut now = Millis(0);
        let mut times = Vec::new();
        for _ in 0..8 {
            assert!(fail(&mut ejections, 1, 2, now));
            let until = ejections.next_return(now).unwrap();
            times.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
        ejections.succeeded(&1, now.plus(LONGEST));
        let later = now.plus(LONGEST);
        assert!(fail(&mut ejections, 1, 2, later));
        assert_eq!(ejections.next_return(later), Some(later.plus(FIRST)));
    }

    #[test]
    fn a_single_endpoint_is_never_put_aside() {
        let mut ejections = Ejections::default();
        assert!(!fail(&mut ejections, 1, 1, Millis(0)));
        assert!(!fail(&mut ejections, 1, 0, Millis(0)));
    }

    #[test]
    fn those_that_are_left_are_taken_back_where_too_many_are_gone() {
        let mut ejections = Ejections::default();
        assert!(fail(&mut ejections, 1, 4, Millis(0)) && fail(&mut ejections, 2, 4, Millis(0)));
        ejections.keep(|id| *id <= 2, 2, Millis(0));
        assert!(!ejections.is_ejected(&1, Millis(0)) && !ejections.is_ejected(&2, Millis(0)));
    }

    proptest! {
        #[test]
        fn never_more_than_half_are_put_aside(
            endpoints in 0_u8..9, events in proptest::collection::vec((0_u8..9, 0_u64..400, any::<bool>()), 0..200),
        ) {
            let mut ejections = Ejections::default();
            let mut now = Millis(0);
            for (id, step, fails) in events {
                now = Millis(now.0 + step);
                let id = id % endpoints.max(1);
                if fails {
                    ejections.failed(&id, endpoints.into(), now);
                } else {
                    ejections.succeeded(&id, now);
                }
                let aside = (0..endpoints).filter(|id| ejections.is_ejected(id, now)).count();
                prop_assert!(aside * 2 <= usize::from(endpoints));
            }
        }
    }
}
