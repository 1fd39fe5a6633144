//! What `config.json` says about `DeBERTa` v2 and v3.
//!
//! Owns the defaults of transformers' `configuration_deberta_v2.py`. Must not know of tensors.
//! Invariant: what is not computed (the convolution of v2-xlarge) is refused by name.

use serde::Deserialize;

use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::Activation;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct DebertaConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    #[serde(default)]
    pub(super) embedding_size: Option<usize>,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    #[serde(default = "gelu")]
    pub(super) hidden_act: Activation,
    #[serde(default = "gelu")]
    pub(super) pooler_hidden_act: Activation,
    #[serde(default = "positions")]
    pub(super) max_position_embeddings: usize,
    #[serde(default)]
    pub(super) type_vocab_size: usize,
    #[serde(default = "eps")]
    pub(super) layer_norm_eps: f64,
    #[serde(default)]
    pub(super) relative_attention: bool,
    #[serde(default)]
    pub(super) max_relative_positions: Option<i64>,
    #[serde(default)]
    pub(super) position_buckets: Option<i64>,
    #[serde(default)]
    pos_att_type: Option<PositionTypes>,
    #[serde(default)]
    pub(super) share_att_key: bool,
    #[serde(default)]
    pub(super) norm_rel_ebd: Option<String>,
    #[serde(default = "yes")]
    pub(super) position_biased_input: bool,
    #[serde(default)]
    pub(super) conv_kernel_size: Option<i64>,
    #[serde(default)]
    pub(super) attention_head_size: Option<usize>,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn positions() -> usize {
    512
}

const fn eps() -> f64 {
    1e-7
}

const fn yes() -> bool {
    true
}

/// Old files write `"c2p|p2c"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PositionTypes {
    One(String),
    Many(Vec<String>),
}

impl DebertaConfig {
    pub(super) fn read(config: &Config) -> Result<Self, LoadError> {
        let config: Self = config.part()?;
        let width = head_width(config.hidden_size, config.num_attention_heads)?;
        for (field, count) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("position_buckets or max_relative_positions", config.span()),
        ] {
            check_count(field, count)?;
        }
        if config.conv_kernel_size.is_some_and(|size| size > 0) {
            return Err(LoadError::unsupported(
                "conv_kernel_size of DeBERTa-v2-xlarge is not served; models without convolution are",
            ));
        }
        if config.attention_head_size.is_some_and(|size| size != width) {
            return Err(LoadError::unsupported(
                "an attention_head_size of its own is not served; hidden_size / num_attention_heads is",
            ));
        }
        Ok(config)
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        match &self.pos_att_type {
            None => false,
            Some(PositionTypes::One(text)) => text
                .split('|')
                .any(|part| part.trim().eq_ignore_ascii_case(kind)),
            Some(PositionTypes::Many(list)) => list.iter().any(|part| part == kind),
        }
    }

    /// The farthest distance that is told apart.
    pub(super) fn max_relative(&self) -> usize {
        let own = self.max_relative_positions.and_then(|n| n.try_into().ok());
        own.filter(|n| *n > 0)
            .unwrap_or(self.max_position_embeddings)
    }

    /// Distances are gathered in so many buckets on each side, where the file says so.
    pub(super) fn buckets(&self) -> Option<usize> {
        let own = self.position_buckets.and_then(|n| n.try_into().ok());
        own.filter(|n| *n > 0)
    }

    /// Rows of one side of the table of relative positions.
    pub(super) fn span(&self) -> usize {
        self.buckets().unwrap_or_else(|| self.max_relative())
    }
}
