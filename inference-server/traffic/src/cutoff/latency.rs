//! What is slow: how long stable's requests take, by their size.
//!
//! Owns histograms of stable's latencies and the limit that they set. Like is compared with like:
//! requests of about the same number of bytes, which were computed and not remembered, of the last
//! minutes. Decisions:
//!
//! - **A size of which stable has answered fewer than 100 has no limit.** Where nothing is known, nothing
//!   is slow, unless stable overtakes it ([`super::Outcome::Overtaken`]).
//! - **The first [`COLD_ANSWERS`] of an endpoint may take half a second**, where the limit is less.
//!   A canary has been warmed before it gets traffic, so what is left to be cold are its connections and
//!   caches; and one that hangs is found after half a second all the same.
//! - **Below 10 ms nothing is slow**: such differences are the network's.
//! - Histograms are renewed every five minutes and the last two count, so that the limit follows the
//!   load of the day; where stable has no traffic, the last that is known stays.
//!
//! Invariant: memory is fixed. Edges are those of stats.md: a ratio of 2^(1/16), from 0.5 ms to 65 s.

use std::time::Duration;

use crate::Millis;

/// Answers of an endpoint to one router after which it is warm.
pub const COLD_ANSWERS: u64 = 3;
/// The least limit of one that is cold.
const COLD: Duration = Duration::from_millis(500);
/// The least limit.
const NOISE: Duration = Duration::from_millis(10);
/// Samples below which there is no limit.
const ENOUGH: u64 = 100;
/// How long one generation of histograms is filled.
const RENEWED: Duration = Duration::from_mins(5);
/// 17 octaves above 0.5 ms, 16 edges each.
const EDGES: u16 = 17 * 16;
/// The first edge, in microseconds.
const FIRST_EDGE: f64 = 500.0;

/// How large a request is: classes of bytes, each four times as wide as the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(usize);

impl Size {
    const CLASSES: usize = 8;

    /// The class of so many bytes of inputs: below 1 KiB, 4 KiB, and so on.
    pub fn of(bytes: usize) -> Self {
        let kibibytes = bytes / 1024;
        let octaves = usize::BITS - kibibytes.leading_zeros();
        let class = usize::try_from(octaves.div_ceil(2)).unwrap_or(Self::CLASSES);
        Self(class.min(Self::CLASSES - 1))
    }
}

/// Stable's latencies.
#[derive(Clone, Debug)]
pub struct Latency {
    edges: Vec<u64>,
    current: Generation,
    before: Generation,
    began: Millis,
}

type Generation = Vec<Histogram>;

#[derive(Clone, Debug)]
struct Histogram {
    total: u64,
    counts: Vec<u64>,
}

fn generation() -> Generation {
    let empty = Histogram {
        total: 0,
        counts: vec![0; usize::from(EDGES) + 2],
    };
    vec![empty; Size::CLASSES]
}

impl Latency {
    /// Nothing is known.
    pub fn new(now: Millis) -> Self {
        Self {
            edges: (0..=EDGES).map(edge).collect(),
            current: generation(),
            before: generation(),
            began: now,
        }
    }

    /// Stable answered a request in this time. Answers that were remembered are left out.
    pub fn answered(&mut self, size: Size, took: Duration, now: Millis) {
        let known = self
            .current
            .iter()
            .any(|histogram| histogram.total >= ENOUGH);
        if known && now.since(self.began) >= RENEWED {
            self.before = std::mem::replace(&mut self.current, generation());
            self.began = now;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = self.edges.partition_point(|edge| *edge < micros);
        if let Some(histogram) = self.current.get_mut(size.0)
            && let Some(count) = histogram.counts.get_mut(place)
        {
            *count += 1;
            histogram.total += 1;
        }
    }

    /// From when on a request of this size is slow, where that is known. `answers` are those of its
    /// endpoint to this router so far, and `factor` the table's `slowFactor`.
    pub fn limit(&self, size: Size, factor: f64, answers: u64) -> Option<Duration> {
        let slow = self.p99(size)?.mul_f64(factor.clamp(1.0, 1e6));
        let least = if answers < COLD_ANSWERS { COLD } else { NOISE };
        Some(slow.max(least))
    }

    /// The 99th percentile, rounded up to an edge.
    pub fn p99(&self, size: Size) -> Option<Duration> {
        let [current, before] = [self.current.get(size.0)?, self.before.get(size.0)?];
        let total = current.total + before.total;
        if total < ENOUGH {
            return None;
        }
        let above = total / 100;
        let mut counts = current.counts.iter().zip(&before.counts).enumerate().rev();
        let mut seen = 0;
        let place = counts.find_map(|(place, (now, then))| {
            seen += now + then;
            (seen > above).then_some(place)
        })?;
        // What is above all edges has the last.
        let edge = self.edges.get(place).or_else(|| self.edges.last())?;
        Some(Duration::from_micros(*edge))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 500 to 65,536,000"
)]
fn edge(index: u16) -> u64 {
    (FIRST_EDGE * (f64::from(index) / 16.0).exp2()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size(0);

    fn after(samples: u64, took: Duration) -> Latency {
        let mut latency = Latency::new(Millis(0));
        for _ in 0..samples {
            latency.answered(SMALL, took, Millis(0));
        }
        latency
    }

    #[test]
    fn sizes_are_powers_of_four() {
        let classes = [0, 1_023, 1_024, 4_095, 4_096, 16_384, 65_536, usize::MAX];
        let classes = classes.map(|bytes| Size::of(bytes).0);
        assert_eq!(classes, [0, 0, 1, 1, 2, 3, 4, 7]);
    }

    #[test]
    fn nothing_is_slow_where_little_is_known() {
        let took = Duration::from_millis(20);
        assert_eq!(after(99, took).limit(SMALL, 3.0, 10), None);
        assert!(after(100, took).limit(SMALL, 3.0, 10).is_some());
        assert_eq!(after(100, took).limit(Size(1), 3.0, 10), None);
    }

    #[test]
    fn the_limit_is_a_multiple_of_the_p99_of_like_size() {
        let mut latency = after(980, Duration::from_millis(20));
        for _ in 0..20 {
            latency.answered(SMALL, Duration::from_millis(200), Millis(0));
        }
        let p99 = latency.p99(SMALL).unwrap().as_secs_f64();
        assert!((0.2..0.2 * 1.045).contains(&p99), "{p99}");
        let limit = latency.limit(SMALL, 3.0, 10).unwrap().as_secs_f64();
        assert!((limit / p99 - 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_cold_endpoint_has_half_a_second_and_nobody_less_than_ten_milliseconds() {
        let latency = after(100, Duration::from_millis(1));
        assert_eq!(latency.limit(SMALL, 3.0, 0), Some(COLD));
        assert_eq!(latency.limit(SMALL, 3.0, COLD_ANSWERS), Some(NOISE));
    }

    #[test]
    fn what_is_off_the_scale_has_the_last_edge() {
        let latency = after(100, Duration::from_hours(1));
        assert_eq!(latency.p99(SMALL), Some(Duration::from_millis(65_536)));
        assert_eq!(
            after(100, Duration::ZERO).p99(SMALL).unwrap().as_micros(),
            500
        );
    }

    #[test]
    fn the_limit_follows_the_load_of_the_day() {
        let mut latency = after(1_000, Duration::from_millis(10));
        for round in 1..=2 {
            let now = Millis(0).plus(RENEWED * round);
            for _ in 0..1_000 {
                latency.answered(SMALL, Duration::from_millis(40), now);
            }
        }
        assert!(latency.p99(SMALL).unwrap() >= Duration::from_millis(40));
        assert!(
            latency.before[0]
                .counts
                .iter()
                .filter(|count| **count > 0)
                .count()
                == 1
        );
    }
}
