//! How the hidden state of a decoder's last token becomes a score, by the class that saved the checkpoint.
//!
//! Owns which tensor is the head, which token is pooled, and the normalisation of rewards. Must not know of
//! layers. Sources: transformers `GenericForSequenceClassification` and `GenericForTokenClassification`,
//! GRM's `GRewardModel`, `OpenRLHF`'s `RewardModel` (`openrlhf/models/model.py`), verl's reward workers.
//! Invariant: where a file leaves open what a score is, it is refused with what to write.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::head::Head;
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Bias, Pass};
use crate::weights::Weights;

/// Names that `OpenRLHF` gives its head: the default of today, and that of its first versions.
const OPENRLHF_HEADS: [&str; 2] = ["score", "value_head"];

/// A head, the token it reads, and what is done to what it says.
#[derive(Debug)]
pub(super) struct Readout {
    head: Head,
    /// The padding token, where pooling goes by it.
    pad: Option<i64>,
    normalisation: Option<Normalisation>,
}

/// `(reward - mean) / std`, of the rewards that were seen in training.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Normalisation {
    mean: f64,
    std: f64,
}

/// What `OpenRLHF` adds to the `config.json` of the backbone.
#[derive(Debug, Deserialize)]
struct OpenRlhf {
    #[serde(default)]
    value_head_prefix: Option<String>,
    #[serde(default)]
    normalize_reward: Option<bool>,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    std: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct TokenClassification {
    #[serde(default = "yes")]
    token_classification_bias: bool,
}

const fn yes() -> bool {
    true
}

impl Readout {
    /// Reads what the class of `config` reads, of hidden states of `hidden` numbers; `pad` is the padding
    /// token of classes that pool by it.
    ///
    /// # Errors
    /// `ModelInvalid` when config and weights do not fit each other, or leave open what is meant;
    /// `UnsupportedFormat` for several labels of each token.
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        hidden: usize,
        pad: Option<i64>,
    ) -> std::result::Result<Self, LoadError> {
        let labels = config.labels.len();
        let head = |name: &str| Head::load(weights, name, hidden, labels);
        match config.architecture.as_str() {
            // It pools the last token whatever it is.
            "GRewardModel" => Ok(Self::of(head("v_head.summary")?, None)),
            "RewardModel" => {
                let fields: OpenRlhf = config.part()?;
                let normalisation = fields.normalisation()?;
                // Pooled is the last token of the attention mask, so that padding tokens of a text count.
                Ok(Self {
                    head: head(&fields.head(weights)?)?,
                    pad: None,
                    normalisation,
                })
            }
            name if name.ends_with("ForTokenClassification") => {
                let fields: TokenClassification = config.part()?;
                one_label(name, labels)?;
                let bias = Bias::said(fields.token_classification_bias);
                let head = Head::linear(weights, "score", (hidden, labels), bias)?;
                Ok(Self::of(head, None))
            }
            _ => Ok(Self::of(head("score")?, pad)),
        }
    }

    const fn of(head: Head, pad: Option<i64>) -> Self {
        Self {
            head,
            pad,
            normalisation: None,
        }
    }

    /// Hidden states of the pooled tokens, `[n, hidden]`, to `[n, labels]`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let logits = self.head.forward(pass, x)?;
        match self.normalisation {
            None => Ok(logits),
            Some(Normalisation { mean, std }) => (logits - mean)? / std,
        }
    }

    /// The tokens up to the one that is pooled.
    pub(super) fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        until_pooled(ids, self.pad)
    }
}

impl OpenRlhf {
    /// The name of the head: that of the config, else the one that the weights have.
    fn head(&self, weights: &Weights) -> std::result::Result<String, LoadError> {
        if let Some(name) = &self.value_head_prefix {
            return Ok(name.clone());
        }
        let there = |name: &&str| weights.contains(&format!("{name}.weight"));
        let mut found = OPENRLHF_HEADS.into_iter().filter(there);
        match (found.next(), found.next()) {
            (Some(name), None) => Ok(name.to_owned()),
            (Some(_), Some(_)) => Err(LoadError::invalid(
                "the weights hold score.weight and value_head.weight: write into config.json which of them is the head, as \"value_head_prefix\": \"score\" or \"value_head\"",
            )),
            (None, _) => Err(LoadError::invalid(
                "the weights hold neither score.weight nor value_head.weight: write the name of the head into config.json as \"value_head_prefix\", if this is a RewardModel of OpenRLHF; others of that name are not served",
            )),
        }
    }

    /// `OpenRLHF` writes mean and std into each checkpoint, and normalises only where it is told to.
    fn normalisation(&self) -> std::result::Result<Option<Normalisation>, LoadError> {
        let numbers = self.mean.zip(self.std);
        match (self.normalize_reward, numbers) {
            (Some(false), _) => Ok(None),
            (None, None) if self.mean.is_none() && self.std.is_none() => Ok(None),
            (Some(true), Some((mean, std))) if mean.is_finite() && std.is_finite() && std > 0.0 => {
                Ok(Some(Normalisation { mean, std }))
            }
            (Some(true), Some(_)) => Err(LoadError::invalid(
                "config.json: mean and std have to be numbers, and std above 0, where normalize_reward is true",
            )),
            (Some(true), None) => Err(LoadError::invalid(
                "config.json: normalize_reward is true, which needs both mean and std: add what is missing, or write false for rewards as they are",
            )),
            (None, _) => Err(LoadError::invalid(
                "config.json has a mean or std, and not whether rewards are to be normalised by them: add \"normalize_reward\": true, or false for rewards as they are",
            )),
        }
    }
}

fn one_label(name: &str, labels: usize) -> std::result::Result<(), LoadError> {
    if labels == 1 {
        return Ok(());
    }
    Err(LoadError::unsupported(format!(
        "{name} with {labels} labels says something of each token (a process reward model, or a tagger), which is no score of a text: served is one label (\"num_labels\": 1), of which the last token's is the score"
    )))
}

/// The tokens up to the one that is pooled: the rightmost whose id is not `pad`; the first where all
/// are; the last where there is no such id.
fn until_pooled(ids: &[u32], pad: Option<i64>) -> &[u32] {
    let Some(pad) = pad else { return ids };
    let pooled = ids
        .iter()
        .rposition(|id| i64::from(*id) != pad)
        .unwrap_or(0);
    ids.get(..=pooled).unwrap_or(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn the_rightmost_token_that_is_not_padding_is_pooled() {
        assert_eq!(until_pooled(&[1, 2, 3], Some(0)), [1, 2, 3]);
        assert_eq!(until_pooled(&[1, 0, 3, 0, 0], Some(0)), [1, 0, 3]);
        assert_eq!(until_pooled(&[0, 0], Some(0)), [0]);
        assert_eq!(until_pooled(&[1, 0], None), [1, 0]);
        assert_eq!(until_pooled(&[1, 0], Some(-1)), [1, 0]);
    }

    fn normalisation(fields: &str) -> std::result::Result<Option<Normalisation>, LoadError> {
        serde_json::from_str::<OpenRlhf>(fields)
            .unwrap()
            .normalisation()
    }

    #[test]
    fn rewards_are_normalised_where_the_file_says_so_and_only_there() {
        let both = Some(Normalisation {
            mean: 0.5,
            std: 2.0,
        });
        for (fields, wanted) in [
            ("{}", None),
            (r#"{"normalize_reward":false}"#, None),
            (r#"{"normalize_reward":false,"mean":0.5,"std":2}"#, None),
            (r#"{"normalize_reward":true,"mean":0.5,"std":2}"#, both),
        ] {
            assert_eq!(normalisation(fields).unwrap(), wanted, "{fields}");
        }
    }

    #[test]
    fn a_normalisation_that_may_or_may_not_be_meant_is_refused_with_what_to_write() {
        for (fields, named) in [
            (r#"{"mean":0.5,"std":2}"#, "\"normalize_reward\": true"),
            (r#"{"std":2}"#, "\"normalize_reward\": true"),
            (r#"{"normalize_reward":true}"#, "both mean and std"),
            (r#"{"normalize_reward":true,"mean":1}"#, "both mean and std"),
            (
                r#"{"normalize_reward":true,"mean":1,"std":0}"#,
                "std above 0",
            ),
            (
                r#"{"normalize_reward":true,"mean":1,"std":-1}"#,
                "std above 0",
            ),
        ] {
            let error = normalisation(fields).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid);
            assert!(error.message.contains(named), "{fields}: {}", error.message);
        }
    }
}
