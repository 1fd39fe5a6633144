//! What an experiment measures.
//!
//! Owns what is made of a request or an event. It must not know who is better. Invariant: bounds are fixed
//! before anything was seen, so that no value is cut by what others are (stats.md 1.1 b).

use super::Name;
use crate::Decimal;

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: Name,
    /// What is measured.
    pub source: Source,
    /// Values beyond these are taken for them.
    pub clip: Option<Clip>,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Something of each request.
    Signal(Signal),
    /// What `/feedback` says of a user.
    Event(Event),
    /// Who is right about labelled pairs.
    Preferences,
}

/// What is measured of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The scores that the client got.
    Score,
    /// How long the arm's variant took, or its client waited: the logarithm of the milliseconds.
    Latency,
    /// Whether it took longer than so many milliseconds.
    SlowerThan(u32),
    /// Whether the arm's variant did not answer.
    Errors,
}

/// The name of what happened to a user: 1 to 63 bytes that are printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event(String);

impl Event {
    /// `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let printed = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=63).contains(&text.len()) && printed).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The values between two bounds, the lower one below the upper one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    pub(super) min: Decimal,
    pub(super) max: Decimal,
}

impl Clip {
    /// `None` unless `min` is below `max`.
    pub fn new(min: Decimal, max: Decimal) -> Option<Self> {
        (min.get() < max.get()).then_some(Self { min, max })
    }

    /// A value within the bounds. What is no number is not one here.
    pub fn apply(&self, value: f64) -> f64 {
        // Not `clamp`, which ends the process where the bounds are none.
        value.max(self.min.get()).min(self.max.get())
    }
}

impl Metric {
    /// A value as it is summed.
    pub fn clipped(&self, value: f64) -> f64 {
        self.clip.as_ref().map_or(value, |clip| clip.apply(value))
    }

    /// Whether latencies are counted by their size.
    pub const fn is_of_latency(&self) -> bool {
        matches!(
            self.source,
            Source::Signal(Signal::Latency | Signal::SlowerThan(_))
        )
    }
}

impl Signal {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Score => "Score",
            Self::Latency | Self::SlowerThan(_) => "Latency",
            Self::Errors => "Errors",
        }
    }
}
