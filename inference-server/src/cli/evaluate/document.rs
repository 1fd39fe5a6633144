//! What an operator reads of an evaluation, from the end of the container that made it.
//!
//! Owns that document. Invariant: it fits the 4,096 bytes of a termination message, however many pairs and
//! categories there are.

use std::path::Path;

use anyhow::Context;
use inference_models::Digest;
use inference_scoring::evaluation::ScoredPair;
use serde::Serialize;

use super::comparison::{self, Comparison};

/// Room for the other field beside a message.
const MESSAGE_CHARACTERS: usize = 900;

/// What is said of an evaluation.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Document {
    Scored {
        ok: bool,
        /// SHA-256 of the pairs' file.
        set: String,
        pairs: usize,
        #[serde(flatten)]
        own: Side,
        #[serde(skip_serializing_if = "Option::is_none")]
        against: Option<Against>,
    },
    Bad {
        ok: bool,
        message: String,
    },
}

/// One model on the pairs, whose weights say nothing here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Side {
    /// Pairs whose preferred answer scored higher; a tie is none.
    right: usize,
    /// Mean score of all answers.
    mean_score: f64,
}

/// The model that it was held against.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Against {
    #[serde(flatten)]
    side: Side,
    /// Null where the scores of one of both are all alike.
    rank_correlation: Option<f64>,
}

impl Document {
    pub(super) fn scored(
        set: &Digest,
        own: &[ScoredPair],
        other: Option<(&[ScoredPair], &Comparison)>,
    ) -> Self {
        Self::Scored {
            ok: true,
            set: set.to_string(),
            pairs: own.len(),
            own: Side::of(own),
            against: other.map(|(scored, comparison)| Against {
                side: Side::of(scored),
                rank_correlation: comparison.rank_correlation,
            }),
        }
    }

    pub(super) fn bad(error: &anyhow::Error) -> Self {
        let message = format!("{error:#}");
        Self::Bad {
            ok: false,
            message: message.chars().take(MESSAGE_CHARACTERS).collect(),
        }
    }

    /// Leaves the document where a container's last words are looked for.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self)?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
    }
}

impl Side {
    fn of(pairs: &[ScoredPair]) -> Self {
        let right = pairs.iter().filter(|pair| pair.chosen > pair.rejected);
        Self {
            right: right.count(),
            mean_score: comparison::mean(&comparison::answers(pairs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(scores: &[(f32, f32)]) -> Vec<ScoredPair> {
        let pair = |&(chosen, rejected): &(f32, f32)| ScoredPair {
            chosen,
            rejected,
            weight: 7.0,
            category: Some("c".repeat(5_000)),
        };
        scores.iter().map(pair).collect()
    }

    fn json(document: &Document) -> serde_json::Value {
        serde_json::to_value(document).unwrap()
    }

    #[test]
    fn a_tie_is_not_right_and_the_means_tell_the_shift() {
        let own = pairs(&[(1.0, 0.0), (2.0, 2.0), (0.0, 1.0)]);
        let other = pairs(&[(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]);
        let comparison = comparison::of(&own, &other);
        let set = Digest::parse(&format!("sha256:{}", "a".repeat(64))).unwrap();
        let told = json(&Document::scored(&set, &own, Some((&other, &comparison))));
        assert_eq!((&told["pairs"], &told["right"]), (&3.into(), &1.into()));
        assert_eq!(told["meanScore"], 1.0);
        assert_eq!(told["against"]["meanScore"], 0.0);
        assert_eq!(
            told["against"]["rankCorrelation"],
            serde_json::Value::Null,
            "the other is constant"
        );
        assert!(told.to_string().len() < 4_096);
    }

    #[test]
    fn the_longest_failure_fits_a_termination_message() {
        let told = json(&Document::bad(&anyhow::anyhow!("€".repeat(10_000))));
        assert!(told.to_string().len() <= 4_096);
        assert_eq!(told["ok"], false);
    }
}
