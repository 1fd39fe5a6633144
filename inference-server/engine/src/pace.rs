//! How fast the engine is, so that what cannot be in time is known before it costs anything.
//!
//! Owns a moving average of tokens and of the time that they took. It must not know of requests.
//! Invariant: before anything was computed nothing is claimed: every time is zero.

use std::time::Duration;

/// What a batch leaves of the average before it.
const KEEP: f64 = 0.95;

/// How fast an engine is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    tokens: f64,
    seconds: f64,
}

impl Pace {
    /// A batch was computed.
    pub(crate) fn observe(&mut self, tokens: usize, took: Duration) {
        self.tokens = self.tokens.mul_add(KEEP, float(tokens));
        self.seconds = self.seconds.mul_add(KEEP, took.as_secs_f64());
    }

    /// The time that so many tokens take.
    pub(crate) fn time(&self, tokens: usize) -> Duration {
        let seconds = float(tokens) * self.seconds / self.tokens.max(1.0);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

fn float(tokens: usize) -> f64 {
    f64::from(u32::try_from(tokens).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_before_the_first_batch_and_a_change_is_followed() {
        let mut pace = Pace::default();
        assert_eq!(pace.time(1_000_000), Duration::ZERO);
        pace.observe(100, Duration::from_millis(100));
        assert_eq!(pace.time(1_000), Duration::from_secs(1));
        for _ in 0..200 {
            pace.observe(100, Duration::from_millis(200));
        }
        assert!(pace.time(1_000).abs_diff(Duration::from_secs(2)) < Duration::from_millis(10));
    }
}
