//! A share of the traffic in whole percent.

use std::fmt;

/// From 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(100);

    /// `value`, or the nearest that there is.
    pub fn clamped(value: i32) -> Self {
        Self(u8::try_from(value.clamp(0, 100)).unwrap_or(100))
    }

    /// `part` of `whole`, rounded down; everything where the whole is nothing.
    pub fn of(part: i32, whole: i32) -> Self {
        let share = (i64::from(part) * 100).checked_div(i64::from(whole));
        Self::clamped(share.map_or(100, |share| i32::try_from(share).unwrap_or(100)))
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0 as i32
    }

    /// What is left of everything.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(100 - self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}
