//! Values as they are recorded, so that few of them do not weigh more than all others.
//!
//! Owns what is done to a value before it is summed. Both are fixed in the spec: what depends on the
//! data, as winsorising does, would break every guarantee here (stats.md 1.1 (b)).

use libm::log;

/// The range that a value is brought into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    low: f64,
    high: f64,
}

impl Clip {
    /// `None` unless both are finite and `low` is below `high`.
    pub fn new(low: f64, high: f64) -> Option<Self> {
        (low.is_finite() && high.is_finite() && low < high).then_some(Self { low, high })
    }

    /// The value, or the end it is beyond. `None` for NaN.
    pub fn clip(self, value: f64) -> Option<f64> {
        (!value.is_nan()).then(|| value.clamp(self.low, self.high))
    }
}

/// A latency as its natural logarithm, in that of its unit: effects are then log ratios. `None` unless it
/// is finite and above 0.
pub fn ln_latency(latency: f64) -> Option<f64> {
    (latency > 0.0 && latency.is_finite()).then(|| log(latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_the_range_is_its_end_and_nan_is_none() {
        let clip = Clip::new(0.0, 10.0).unwrap();
        let clipped = [-1.0, 3.0, f64::INFINITY, f64::NAN].map(|value| clip.clip(value));
        assert_eq!(clipped, [Some(0.0), Some(3.0), Some(10.0), None]);
        for (low, high) in [(1.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(Clip::new(low, high), None);
        }
    }

    #[test]
    fn no_latency_has_no_logarithm() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(ln_latency(bad), None);
        }
        assert_eq!(ln_latency(1.0), Some(0.0));
    }
}
