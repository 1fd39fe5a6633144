//! Whether everything has one score.
//!
//! Owns the run of equal scores over different inputs, in bounded memory. It must not know what a score
//! means. Invariant: runs are added up in any order, and adding one to itself changes nothing: the
//! inputs that are kept are the smallest hashes, and two runs of different scores are none.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Different inputs that have to have one score before it is one for everything.
pub const DISTINCT_INPUTS: usize = 20;
/// Hashes of inputs that are kept.
const KEPT: usize = 32;

/// What stands for a text or for the scores of an input where they are compared: FNV-1a, 64 bits. It is
/// not made to withstand those who look for two alike; here they would only hide their own canary.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    parts.into_iter().fold(OFFSET, |hash, part| {
        // A part ends, or two parts would be one.
        mix(part.iter().fold(hash, |hash, byte| mix(hash, *byte)), 0xff)
    })
}

/// The scores that were seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// None was seen.
    #[default]
    Nothing,
    /// One, for these inputs.
    One {
        /// What stands for it.
        score: u64,
        /// The smallest hashes of the inputs that had it.
        inputs: BTreeSet<u64>,
    },
    /// Several, in different routers.
    Several,
}

impl Run {
    /// An input was scored. Another score than before begins a new run, so that a canary that becomes
    /// constant later is found too.
    pub(super) fn saw(&mut self, input: u64, score: u64) {
        match self {
            Self::One {
                score: before,
                inputs,
            } if *before == score => keep(inputs, input),
            Self::Nothing | Self::Several | Self::One { .. } => {
                *self = Self::One {
                    score,
                    inputs: BTreeSet::from([input]),
                };
            }
        }
    }

    /// How many different inputs had one score; 0 where they had several.
    pub fn length(&self) -> usize {
        match self {
            Self::Nothing | Self::Several => 0,
            Self::One { inputs, .. } => inputs.len(),
        }
    }

    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            Self::Several => Self::Several,
            Self::One { score, mut inputs } => match other {
                Self::Nothing => Self::One { score, inputs },
                Self::One {
                    score: theirs,
                    inputs: more,
                } if theirs == score => {
                    for input in more {
                        keep(&mut inputs, input);
                    }
                    Self::One { score, inputs }
                }
                Self::One { .. } | Self::Several => Self::Several,
            },
        }
    }
}

fn keep(inputs: &mut BTreeSet<u64>, input: u64) {
    inputs.insert(input);
    if inputs.len() > KEPT {
        inputs.pop_last();
    }
}

/// A run as it is written: numbers of 64 bits are hex digits, because JSON's readers lose them.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Run"))]
#[serde(rename_all = "camelCase")]
pub(super) struct RunDocument {
    /// Whether different routers saw different scores.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    several: bool,
    /// The hash of the score that was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<Hash>,
    /// The smallest hashes of the different inputs that had it in a row, at most 32.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    inputs: BTreeSet<Hash>,
}

/// 16 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub(super) struct Hash(
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[0-9a-f]{16}$")))] pub(super) u64,
);

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        format!("{:016x}", hash.0)
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = u64::from_str_radix(&text, 16).ok();
        number
            .filter(|number| format!("{number:016x}") == text)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not 16 lower-case hex digits"))
    }
}

impl From<Run> for RunDocument {
    fn from(run: Run) -> Self {
        let (several, score, inputs) = match run {
            Run::Nothing => (false, None, BTreeSet::new()),
            Run::Several => (true, None, BTreeSet::new()),
            Run::One { score, inputs } => (
                false,
                Some(Hash(score)),
                inputs.into_iter().map(Hash).collect(),
            ),
        };
        Self {
            several,
            score,
            inputs,
        }
    }
}

impl From<RunDocument> for Run {
    fn from(document: RunDocument) -> Self {
        match document.score {
            _ if document.several => Self::Several,
            None => Self::Nothing,
            Some(score) => {
                let mut inputs = BTreeSet::new();
                for input in document.inputs {
                    keep(&mut inputs, input.0);
                }
                Self::One {
                    score: score.0,
                    inputs,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seen: &[(u64, u64)]) -> Run {
        let mut run = Run::default();
        for (input, score) in seen {
            run.saw(*input, *score);
        }
        run
    }

    #[test]
    fn the_same_input_again_makes_no_run_longer() {
        assert_eq!(run(&[(1, 9), (1, 9), (2, 9)]).length(), 2);
    }

    #[test]
    fn a_canary_that_becomes_constant_later_is_found() {
        let mut seen = vec![(100, 1), (101, 2)];
        seen.extend((0..40).map(|input| (input, 9)));
        assert_eq!(run(&seen).length(), KEPT);
        seen.push((41, 8));
        assert_eq!(run(&seen).length(), 1);
    }

    #[test]
    fn routers_that_saw_different_scores_saw_no_constant() {
        let (one, other) = (run(&[(1, 9)]), run(&[(2, 8)]));
        assert_eq!(one.clone().merge(other).length(), 0);
        assert_eq!(one.merge(run(&[(2, 9)])).length(), 2);
    }

    #[test]
    fn parts_are_not_run_together() {
        let of = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }
}
