//! The clock and the random numbers that the rules are given.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use traffic::Millis;

/// A monotonic clock, and random numbers that no client can foresee much of.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    seed: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            seed: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Millis {
        let since = instant.saturating_duration_since(self.began);
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// 64 bits (`SplitMix64`, Steele et al. 2014).
    pub(crate) fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .seed
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
