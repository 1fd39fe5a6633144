//! Latencies by their size.
//!
//! Owns the grid of stats.md 0: a ratio of 2^(1/16), from 0.5 ms to 65 s. Invariant: there is one count more
//! than there are edges.

use std::sync::LazyLock;
use std::time::Duration;

/// Edges of the grid: 17 octaves above 0.5 ms, 16 each.
pub const LATENCY_EDGES: usize = 17 * 16 + 1;
/// The first edge, in milliseconds.
const FIRST: f64 = 0.5;

static EDGES: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let edges = u16::try_from(LATENCY_EDGES).unwrap_or_default();
    let edge = |place: u16| FIRST * (f64::from(place) / 16.0).exp2();
    (0..edges).map(edge).collect()
});

/// How many requests took how long: the first count is of all up to the first edge, the last of all above the
/// last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies(pub(super) Vec<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(vec![0; LATENCY_EDGES + 1])
    }
}

impl Latencies {
    /// The edges, in milliseconds.
    pub fn edges() -> &'static [f64] {
        &EDGES
    }

    pub(super) fn add(&mut self, took: Duration) {
        let took = milliseconds(took);
        let place = EDGES.partition_point(|edge| *edge < took);
        if let Some(count) = self.0.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count = count.saturating_add(*more);
        }
    }

    /// The counts, one more than edges.
    pub fn counts(&self) -> &[u64] {
        &self.0
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

pub(super) fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
