//! Whether a variant of an experiment that keeps failing is asked at all.
//!
//! Owns the last outcomes of one variant at one router, and for how long it is left alone. It must not know
//! what a failure is, nor what the experiment concludes: that is decided by what is counted, and a request
//! that is not sent to its variant counts as the variant's error. Invariants: a variant that fails less than
//! half of its requests is asked for all of them, but for what chance does; one that is left alone is asked
//! again, one request at a time, and needs some good answers in a row to come back.
//!
//! Why it is here: stable answers in a variant's place within a budget, which a variant with half of the
//! traffic exhausts when it fails wholly, and then clients would see its errors until the next look. Below
//! half, the budget is enough for it.

use std::time::Duration;

use crate::Millis;

/// Outcomes that are looked at.
const LAST: u32 = 20;
/// Failures among them that open it. With failures of 5 % that are nobody's fault, twenty outcomes have ten
/// with a probability of 1.1e-8 (binomial).
const OPENS: u32 = 10;
/// Good answers in a row that close it.
const CLOSES: u32 = 3;
/// For how long nobody asks, the first time.
const FIRST: Duration = Duration::from_secs(2);
/// And at most.
const LONGEST: Duration = Duration::from_secs(30);

/// The last outcomes of a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// How often it was opened without a close between.
    times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// All are asked. A bit for each outcome, set where it was a failure, the last one lowest.
    Closed { failures: u32 },
    /// Nobody is, until then.
    Open { until: Millis },
    /// One at a time: so many were good, and one that was sent is waited for until then.
    Trying { good: u32, until: Option<Millis> },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// Whether a request may go to its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It may.
    Ask,
    /// Stable answers in its place.
    LeaveAlone,
}

impl Breaker {
    /// A request of the variant's users is here. One whose outcome is never told is waited for no longer
    /// than `patience`.
    pub fn asks(&mut self, patience: Duration, now: Millis) -> Leave {
        let good = match self.state {
            State::Closed { .. } => return Leave::Ask,
            State::Open { until } if now < until => return Leave::LeaveAlone,
            State::Open { .. } => 0,
            State::Trying {
                until: Some(until), ..
            } if now < until => return Leave::LeaveAlone,
            State::Trying { good, .. } => good,
        };
        let until = Some(now.plus(patience));
        self.state = State::Trying { good, until };
        Leave::Ask
    }

    /// A request that was sent to the variant is done.
    pub fn ended(&mut self, is_good: bool, now: Millis) {
        match (self.state, is_good) {
            (State::Closed { failures }, _) => {
                let kept = (failures << 1 | u32::from(!is_good)) & ((1 << LAST) - 1);
                self.state = State::Closed { failures: kept };
                if kept.count_ones() >= OPENS {
                    self.open(now);
                }
            }
            // One that was sent before.
            (State::Open { .. }, _) => {}
            (State::Trying { good, .. }, true) if good + 1 < CLOSES => {
                let good = good + 1;
                self.state = State::Trying { good, until: None };
            }
            (State::Trying { .. }, true) => *self = Self::default(),
            (State::Trying { .. }, false) => self.open(now),
        }
    }

    /// Whether the variant is left alone, but for trials.
    pub const fn is_open(&self) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { .. } | State::Trying { .. } => true,
        }
    }

    fn open(&mut self, now: Millis) {
        let span = FIRST.saturating_mul(1 << self.times.min(6)).min(LONGEST);
        self.times = self.times.saturating_add(1);
        self.state = State::Open {
            until: now.plus(span),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn failed(times: u32, now: Millis) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..times {
            breaker.ended(false, now);
        }
        breaker
    }

    #[test]
    fn a_variant_that_fails_wholly_is_left_alone_after_ten_answers() {
        let now = Millis(0);
        assert!(!failed(OPENS - 1, now).is_open());
        let mut breaker = failed(OPENS, now);
        assert_eq!(breaker.asks(PATIENCE, now), Leave::LeaveAlone);
        let later = now.plus(FIRST);
        assert_eq!(breaker.asks(PATIENCE, later), Leave::Ask);
        // One at a time.
        assert_eq!(breaker.asks(PATIENCE, later), Leave::LeaveAlone);
        // Whoever left without a word is not waited for.
        assert_eq!(breaker.asks(PATIENCE, later.plus(PATIENCE)), Leave::Ask);
    }

    #[test]
    fn it_comes_back_after_three_good_answers_in_a_row() {
        let mut breaker = failed(OPENS, Millis(0));
        let mut now = Millis(0).plus(FIRST);
        for closes in [false, false, true] {
            assert_eq!(breaker.asks(PATIENCE, now), Leave::Ask);
            breaker.ended(true, now);
            now = now.plus(Duration::from_millis(1));
            assert_eq!(breaker.is_open(), !closes);
        }
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_half_a_minute() {
        let mut breaker = failed(OPENS, Millis(0));
        let mut now = Millis(0);
        for span in [2, 4, 8, 16, 30, 30] {
            let almost = now.plus(Duration::from_millis(span * 1_000 - 1));
            assert_eq!(breaker.asks(PATIENCE, almost), Leave::LeaveAlone);
            now = now.plus(Duration::from_secs(span));
            assert_eq!(breaker.asks(PATIENCE, now), Leave::Ask);
            breaker.ended(false, now);
        }
    }

    #[test]
    fn answers_that_were_under_way_when_it_opened_change_nothing() {
        let mut breaker = failed(OPENS, Millis(0));
        let before = breaker;
        breaker.ended(true, Millis(1));
        breaker.ended(false, Millis(1));
        assert_eq!(breaker, before);
    }

    proptest! {
        /// One failure among any three outcomes never opens it.
        #[test]
        fn a_variant_that_mostly_answers_is_always_asked(
            rounds in proptest::collection::vec(0..3_usize, 0..200),
        ) {
            let mut breaker = Breaker::default();
            for place in rounds {
                for at in 0..3 {
                    breaker.ended(at != place, Millis(0));
                    prop_assert!(!breaker.is_open());
                }
            }
        }
    }
}
