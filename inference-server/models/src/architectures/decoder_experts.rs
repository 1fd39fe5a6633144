//! What `config.json` says of experts.
//!
//! Owns the names and defaults of Mixtral and Qwen3-MoE. Must not know of tensors. Invariant: a token has at
//! least one expert, and no more than there are.

use serde::Deserialize;

use super::decoder_family::Family;
use super::experts::Choice;
use crate::config::{Config, check_count};
use crate::error::LoadError;

/// Which layers have experts, and how these are chosen.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    choice: Choice,
    /// Every so many layers one has experts.
    step: usize,
    /// Layers that have none all the same.
    dense: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Fields {
    intermediate_size: usize,
    #[serde(default)]
    num_local_experts: Option<usize>,
    #[serde(default)]
    num_experts: Option<usize>,
    #[serde(default)]
    num_experts_per_tok: Option<usize>,
    #[serde(default)]
    moe_intermediate_size: Option<usize>,
    #[serde(default)]
    norm_topk_prob: bool,
    #[serde(default = "one")]
    decoder_sparse_step: usize,
    #[serde(default)]
    mlp_only_layers: Option<Vec<usize>>,
}

const fn one() -> usize {
    1
}

impl Sparse {
    /// Reads them, where the family has any.
    ///
    /// # Errors
    /// `ModelInvalid` for numbers that cannot be.
    pub(super) fn read(family: Family, config: &Config) -> Result<Option<Self>, LoadError> {
        let sparse = match family {
            Family::Mixtral => Self::mixtral(&config.part()?),
            Family::Qwen3Moe => Self::qwen3(config.part()?),
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Gemma
            | Family::Gemma2
            | Family::Gemma3
            | Family::Olmo2
            | Family::Phi3 => return Ok(None),
        };
        let choice = &sparse.choice;
        for (field, count) in [
            ("the number of experts", choice.experts),
            ("num_experts_per_tok", choice.chosen),
            ("moe_intermediate_size", choice.inner),
            ("decoder_sparse_step", sparse.step),
        ] {
            check_count(field, count)?;
        }
        if choice.chosen > choice.experts {
            return Err(LoadError::invalid(format!(
                "config.json: num_experts_per_tok is {} of {} experts",
                choice.chosen, choice.experts
            )));
        }
        Ok(Some(sparse))
    }

    fn mixtral(fields: &Fields) -> Self {
        Self {
            choice: Choice {
                experts: fields.num_local_experts.unwrap_or(8),
                chosen: fields.num_experts_per_tok.unwrap_or(2),
                normalised: true,
                inner: fields.intermediate_size,
                names: ["block_sparse_moe", "w1", "w3", "w2"],
            },
            step: 1,
            dense: Vec::new(),
        }
    }

    fn qwen3(fields: Fields) -> Self {
        let experts = fields.num_experts.or(fields.num_local_experts);
        Self {
            choice: Choice {
                experts: experts.unwrap_or(128),
                chosen: fields.num_experts_per_tok.unwrap_or(8),
                normalised: fields.norm_topk_prob,
                inner: fields.moe_intermediate_size.unwrap_or(768),
                names: ["mlp", "gate_proj", "up_proj", "down_proj"],
            },
            step: fields.decoder_sparse_step,
            dense: fields.mlp_only_layers.unwrap_or_default(),
        }
    }

    /// How experts are chosen in a layer, where it has them.
    pub(super) fn of_layer(&self, layer: usize) -> Option<&Choice> {
        let has = (layer + 1).is_multiple_of(self.step) && !self.dense.contains(&layer);
        has.then_some(&self.choice)
    }
}
