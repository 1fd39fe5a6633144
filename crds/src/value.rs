//! Strings with a meaning: decimals, durations, digests. The API has no floats.
//!
//! Owns their patterns and parsing. Invariant: a value that deserialises is a string that may still
//! be malformed (an older schema may have let it in); [`Duration::to_std`] and the others are total
//! and say what is wrong.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

macro_rules! patterned {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $text:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The string as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $text,
                    "pattern": $pattern,
                    "maxLength": $max,
                })
            }
        }
    };
}

patterned!(
    /// A decimal number as a string, such as `"0.05"`.
    Decimal,
    r"^-?[0-9]+(\.[0-9]+)?$",
    "A decimal number in quotes, such as \"0.05\".",
    32
);
patterned!(
    /// A length of time, such as `500ms`, `5s`, `15m` or `1h30m`.
    Duration,
    r"^([0-9]+(ms|s|m|h))+$",
    "A length of time, such as 500ms, 5s, 15m or 1h30m.",
    32
);
patterned!(
    /// The digest of a model's files.
    Digest,
    r"^sha256:[0-9a-f]{64}$",
    "SHA-256 over the sorted \"sha256  path\" lines of the model's files, as `inference-server verify` prints it.",
    71
);

impl Duration {
    /// The length of time.
    ///
    /// # Errors
    /// A sentence for the user when the text is not a duration or does not fit 64 bits.
    pub fn to_std(&self) -> Result<std::time::Duration, String> {
        let wrong = || {
            format!(
                "{:?} is not a duration; write 500ms, 5s, 15m or 1h30m",
                self.0
            )
        };
        let mut rest = self.0.as_str();
        let mut total = Some(0_u64);
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (factor, tail) = unit(tail).ok_or_else(wrong)?;
            total = total.and_then(|sum| sum.checked_add(number.checked_mul(factor)?));
            rest = tail;
        }
        total
            .map(std::time::Duration::from_millis)
            .ok_or_else(wrong)
    }
}

/// The unit at the start of `text` in milliseconds, and what follows it.
fn unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(name, factor)| Some((factor, text.strip_prefix(name)?)))
}

/// A word of the closed set `T`, or one that another version has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    /// A word of the set.
    Known(T),
    /// A word that this version does not know, kept as it was written.
    Unknown(String),
}

impl<T: Copy> Word<T> {
    /// The word, if this version knows it.
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Unknown(_) => None,
        }
    }

    /// The word as written, if this version does not know it.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(text) => Some(text),
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A part of the pod specification that is passed through as written. Its schema is left open: the
/// full one is larger than the rest of the resource, and the API server checks it when the pods are
/// made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Opaque {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_their_parts() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                Duration::from(text).to_std().unwrap(),
                std::time::Duration::from_millis(millis)
            );
        }
    }

    #[test]
    fn a_word_of_another_version_is_kept_as_it_was() {
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        enum Colour {
            Red,
        }
        for (text, known) in [("\"Red\"", Some(Colour::Red)), ("\"Blue\"", None)] {
            let word: Word<Colour> = serde_json::from_str(text).unwrap();
            assert_eq!(word.known(), known);
            assert_eq!(serde_json::to_string(&word).unwrap(), text);
        }
    }

    #[test]
    fn a_malformed_duration_says_how_to_write_one() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "5d",
            "-5s",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            let message = Duration::from(text).to_std().unwrap_err();
            assert!(message.contains("500ms, 5s, 15m"), "{text:?}: {message}");
        }
    }
}
