//! The experiment that is in force: who is in which arm, who serves it, and what is measured.
//!
//! Owns the table's member `experiment`. It must not know coverage, weights or epochs but by number: the
//! operator writes the slots of each arm, and everything that opens an epoch. Invariants: slots of two
//! variants never overlap; exactly one variant is the control, and the table's stable revision serves it;
//! a name stands for one variant and for one metric; every range that is added to an arm moves nobody who
//! was in another one.

mod document;
mod metric;
mod read;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::fmt;

pub(crate) use document::{ExperimentDocument, MetricDocument};
pub(super) use read::read;
pub(crate) use read::{metric as read_metric, name as read_name};
pub(crate) use write::metric as write_metric;
pub(super) use write::write;

pub use metric::{Clip, Event, Metric, Signal, Source};

use super::{Calibration, Place, UserKey};
use crate::Revision;
use crate::assignment::Slot;

/// The most variants of an experiment, the control included.
pub const MOST_VARIANTS: usize = 4;
/// The most metrics of an experiment.
pub const MOST_METRICS: usize = 8;
/// The most ranges of one variant's slots.
pub const MOST_RANGES: usize = 256;
/// The most overrides of an experiment.
pub const MOST_OVERRIDES: usize = 32;

/// The name of an experiment, a variant or a metric: 1 to 63 letters, digits, dots, underscores and dashes,
/// with a letter or a digit at both ends. It travels in headers and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let is_one = ends(text.bytes().next())
            && ends(text.bytes().last())
            && text.len() <= 63
            && text.bytes().all(inside);
        is_one.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who answers the requests of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each arm is answered by its variant.
    Split,
    /// The control answers all; each variant scores the same after the client has its answer.
    Paired,
}

/// What becomes of a request without the experiment's user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissingKey {
    /// It is answered as outside of the experiment, and counted as such.
    Control,
    /// It is refused.
    Reject,
}

/// Which variant, by its place in [`Experiment::variants`]; the control is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arm(u8);

impl Arm {
    /// The control's.
    pub const CONTROL: Self = Self(0);

    /// That of a place; `None` from [`MOST_VARIANTS`].
    pub fn new(place: usize) -> Option<Self> {
        let place = u8::try_from(place).ok()?;
        (usize::from(place) < MOST_VARIANTS).then_some(Self(place))
    }

    /// The place.
    pub const fn place(self) -> usize {
        self.0 as usize
    }

    /// Whether it is the control's.
    pub const fn is_control(self) -> bool {
        self.0 == 0
    }
}

/// Slots from `from` up to, and without, `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slots {
    pub(super) from: u16,
    pub(super) until: u16,
}

impl Slots {
    /// The first slot.
    pub const fn from(self) -> u16 {
        self.from
    }

    /// The one behind the last.
    pub const fn until(self) -> u16 {
        self.until
    }

    const fn has(self, slot: Slot) -> bool {
        self.from <= slot.get() && slot.get() < self.until
    }
}

/// Where a variant that is not the control is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The revision that its endpoints have to echo.
    pub revision: Revision,
    /// The digest that they have to echo.
    pub digest: Option<String>,
    /// Where they are.
    pub place: Place,
    /// How its scores become confidences.
    pub calibration: Option<Calibration>,
    /// Requests that one endpoint may have in flight.
    pub capacity: Option<u32>,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: Name,
    /// Who serves it; `None` for the control, which the table's stable revision does.
    pub target: Option<Target>,
    /// Whose requests are its own: in order, none of them empty.
    pub(super) slots: Vec<Slots>,
}

impl Variant {
    /// Its slots, in order.
    pub fn slots(&self) -> &[Slots] {
        &self.slots
    }
}

/// Requests that are served by a variant wherever their user's slot is. They are not evidence: whoever
/// chooses an arm is not like those who did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The header, in lower case.
    pub header: String,
    /// Its value.
    pub value: String,
    /// The variant.
    pub arm: Arm,
}

/// An experiment that was read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experiment {
    /// Its name.
    pub name: Name,
    /// Its uid.
    pub uid: String,
    /// Rises with each change of what is compared: counts begin anew with it.
    pub epoch: u64,
    /// What its users are hashed with. It has no zero byte.
    pub salt: String,
    /// Who answers.
    pub mode: Mode,
    /// Where its user key is; `None`: where the table's is.
    pub key: Option<UserKey>,
    /// What becomes of a request without it.
    pub on_missing_key: OnMissingKey,
    /// The arms; the control is the first.
    pub(super) variants: Vec<Variant>,
    /// Who is served by which variant in any case; the first that fits.
    pub overrides: Vec<Override>,
    /// What is measured: each name once.
    pub(super) metrics: Vec<Metric>,
}

impl Experiment {
    /// The arms; the control is the first.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// What is measured.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// That of an arm.
    pub fn variant(&self, arm: Arm) -> Option<&Variant> {
        self.variants.get(arm.place())
    }

    /// All arms, the control first.
    pub fn arms(&self) -> impl Iterator<Item = Arm> + '_ {
        (0..self.variants.len()).filter_map(Arm::new)
    }

    /// The arm that has a slot; `None`: its users are not in the experiment.
    pub fn arm(&self, slot: Slot) -> Option<Arm> {
        let has = |variant: &Variant| {
            let before = variant
                .slots
                .partition_point(|slots| slots.until <= slot.get());
            variant
                .slots
                .get(before)
                .is_some_and(|slots| slots.has(slot))
        };
        self.variants.iter().position(has).and_then(Arm::new)
    }

    /// The arm that the headers of a request ask for, where `value` gives the value of a header.
    pub fn forced<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<Arm> {
        let fits = |rule: &&Override| value(&rule.header) == Some(rule.value.as_str());
        self.overrides.iter().find(fits).map(|rule| rule.arm)
    }

    /// The Services whose endpoints are asked, beside the table's own.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.variants
            .iter()
            .filter_map(|variant| match &variant.target.as_ref()?.place {
                Place::Service(name) => Some(name.as_str()),
                Place::Addresses(_) => None,
            })
    }
}
