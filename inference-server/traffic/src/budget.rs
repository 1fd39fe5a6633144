//! How many requests may be sent a second time.
//!
//! Owns the bound that keeps failures from doubling the load: a share of the requests of the last ten
//! seconds, with a floor a second, so that a quiet router may still try again. One budget is for what
//! stable answers in place of the canary, another one for retries inside a revision. Invariant: more than
//! the larger of both is never spent within ten seconds.

use crate::Millis;

/// Seconds that are looked at.
const SECONDS: u64 = 10;

/// One budget.
#[derive(Clone, Debug)]
pub struct Budget {
    percent: u32,
    floor: u32,
    seconds: [Second; 10],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    number: u64,
    requests: u64,
    spent: u64,
}

impl Budget {
    /// At most `percent` of the requests, or `floor` a second where that is more.
    pub const fn new(percent: u32, floor: u32) -> Self {
        let none = Second {
            number: 0,
            requests: 0,
            spent: 0,
        };
        Self {
            percent,
            floor,
            seconds: [none; 10],
        }
    }

    /// Another share, as a new table says; what was spent stays spent.
    pub const fn set_percent(&mut self, percent: u32) {
        self.percent = percent;
    }

    /// A request arrived.
    pub fn arrived(&mut self, now: Millis) {
        if let Some(second) = self.second(now) {
            second.requests += 1;
        }
    }

    /// Whether one more may be sent; then it is spent.
    pub fn spend(&mut self, now: Millis) -> bool {
        let current = now.0 / 1_000;
        let recent = |second: &&Second| second.number + SECONDS > current;
        let (mut requests, mut spent) = (0, 0);
        for second in self.seconds.iter().filter(recent) {
            requests += second.requests;
            spent += second.spent;
        }
        let share = requests * u64::from(self.percent) / 100;
        let floor = if self.percent == 0 {
            0
        } else {
            u64::from(self.floor) * SECONDS
        };
        if spent >= share.max(floor) {
            return false;
        }
        if let Some(second) = self.second(now) {
            second.spent += 1;
        }
        true
    }

    fn second(&mut self, now: Millis) -> Option<&mut Second> {
        let number = now.0 / 1_000;
        let place = usize::try_from(number % SECONDS).ok()?;
        let second = self.seconds.get_mut(place)?;
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spent(budget: &mut Budget, now: Millis) -> usize {
        (0..10_000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_share_of_the_requests_may_be_sent_again() {
        let mut budget = Budget::new(20, 0);
        for _ in 0..1_000 {
            budget.arrived(Millis(500));
        }
        assert_eq!(spent(&mut budget, Millis(9_999)), 200);
        assert_eq!(spent(&mut budget, Millis(10_000)), 0);
    }

    #[test]
    fn a_quiet_router_may_still_try_again() {
        let mut budget = Budget::new(20, 20);
        assert_eq!(spent(&mut budget, Millis(0)), 200);
        assert_eq!(spent(&mut budget, Millis(9_999)), 0);
        assert_eq!(spent(&mut budget, Millis(10_000)), 200);
    }

    #[test]
    fn no_percent_is_none_at_all() {
        let mut budget = Budget::new(0, 20);
        budget.arrived(Millis(0));
        assert!(!budget.spend(Millis(0)));
    }

    proptest! {
        #[test]
        fn no_ten_seconds_see_more_than_the_budget(
            percent in 0_u32..=100, floor in 0_u32..3,
            events in proptest::collection::vec((0_u64..1_500, any::<bool>()), 1..300),
        ) {
            let mut budget = Budget::new(percent, floor);
            let (mut now, mut arrived, mut granted) = (0, Vec::new(), Vec::new());
            for (step, asks) in events {
                now += step;
                budget.arrived(Millis(now));
                arrived.push(now);
                if asks && budget.spend(Millis(now)) {
                    granted.push(now);
                }
                let recent = |times: &[u64]| {
                    let from = (now / 1_000).saturating_sub(SECONDS - 1) * 1_000;
                    u64::try_from(times.iter().filter(|time| **time >= from).count()).unwrap()
                };
                let share = arrived.len() as u64 * u64::from(percent) / 100;
                prop_assert!(recent(&granted) <= share.max(u64::from(floor) * SECONDS));
            }
        }
    }
}
