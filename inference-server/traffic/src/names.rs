//! The words of the documents: revisions, weights, decimal numbers.
//!
//! Invariant: what has been made is valid, so nothing that uses it checks again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// All of the traffic, in the unit of weights: hundredths of a percent.
pub const WHOLE: u16 = 10_000;

/// The name of a revision: the ten hex digits of its hash, or what a file without Kubernetes calls it.
/// It travels in a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Revision(
    #[cfg_attr(
        test,
        schemars(regex(pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"))
    )]
    String,
);

impl Revision {
    /// `None` unless it is 1 to 63 lower-case letters, digits, dots and dashes, with a letter or digit
    /// at both ends.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        let inside = text.bytes().all(|b| plain(b) || b == b'.' || b == b'-');
        (ends && inside && text.len() <= 63).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Revision {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| {
            format!(
                "{text:?} is no revision: use 1 to 63 lower-case letters, digits, dots and dashes"
            )
        })
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A share of the traffic, 0 to 10,000 hundredths of a percent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(#[cfg_attr(test, schemars(range(max = 10_000)))] u16);

impl Weight {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(WHOLE);

    /// `None` above 10,000.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= WHOLE {
            Some(Self(weight))
        } else {
            None
        }
    }

    /// Hundredths of a percent.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Both together; never more than everything.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0).min(WHOLE))
    }
}

impl TryFrom<u16> for Weight {
    type Error = String;

    fn try_from(weight: u16) -> Result<Self, String> {
        Self::new(weight).ok_or_else(|| format!("{weight} is no weight: write 0 to 10000"))
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// A decimal number that is kept as it was written, so that a document does not change by being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Decimal(
    #[cfg_attr(test, schemars(regex(pattern = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$")))] String,
);

impl Decimal {
    /// `None` unless it is digits with at most one point between them, and perhaps a minus before.
    pub fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits =
            |part: &str| (1..=18).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        (digits(whole) && digits(fraction)).then(|| Self(text.to_owned()))
    }

    /// Nought.
    pub(crate) fn zero() -> Self {
        Self("0".to_owned())
    }

    /// The number nearest to it.
    pub fn get(&self) -> f64 {
        self.0.parse().unwrap_or_default()
    }
}

impl TryFrom<String> for Decimal {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("{text:?} is no decimal number: write it as \"0.5\""))
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> Self {
        decimal.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_travel_in_a_header_is_no_revision() {
        for good in ["7ec27b6c55", "v1", "a", "v1.2-rc3"] {
            assert!(Revision::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a\n", "é", &"a".repeat(64)] {
            assert_eq!(Revision::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_decimal_is_digits_and_a_point() {
        assert_eq!(Decimal::parse("-0.25").map(|d| d.get()), Some(-0.25));
        for bad in [
            "", ".5", "5.", "1e3", "NaN", "inf", "+1", "1.2.3", "--1", "1,5", " 1",
        ] {
            assert_eq!(Decimal::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn there_is_no_more_than_everything() {
        assert_eq!(Weight::new(10_001), None);
        assert_eq!(Weight::ALL.with(Weight::ALL), Weight::ALL);
    }
}
