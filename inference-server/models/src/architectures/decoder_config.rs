//! What `config.json` says about a Llama-like decoder, family by family.
//!
//! Owns the defaults of transformers' `configuration_*.py`, and where families read the same field
//! differently. Must not know of tensors. Invariant: what it hands out can be computed with; no count
//! is zero, heads share their groups evenly.

use serde::Deserialize;

use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{Activation, Attention, Reach};
use crate::rope::Rope;

/// Whose formulas are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
}

impl Family {
    /// By architecture; GRM and OpenRLHF wrap several backbones, which `model_type` tells apart.
    fn of(config: &Config) -> Result<Self, LoadError> {
        match config.architecture.as_str() {
            "MistralForSequenceClassification" | "MistralForTokenClassification" => {
                Ok(Self::Mistral)
            }
            "Qwen2ForSequenceClassification"
            | "Qwen2ForTokenClassification"
            | "Qwen2ForRewardModel" => Ok(Self::Qwen2),
            "Qwen3ForSequenceClassification" | "Qwen3ForTokenClassification" => Ok(Self::Qwen3),
            "Gemma2ForSequenceClassification" => Ok(Self::Gemma2),
            name @ ("GRewardModel" | "RewardModel") => match config.model_type() {
                Some("llama") => Ok(Self::Llama),
                Some("mistral") => Ok(Self::Mistral),
                Some("qwen2") => Ok(Self::Qwen2),
                Some("qwen3") => Ok(Self::Qwen3),
                Some("gemma2") => Ok(Self::Gemma2),
                Some(_) | None => Err(LoadError::unsupported(format!(
                    "{name} is served where model_type is llama, mistral, qwen2, qwen3 or gemma2",
                ))),
            },
            _ => Ok(Self::Llama),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    hidden_act: Option<Activation>,
    #[serde(default)]
    hidden_activation: Option<Activation>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default = "eps")]
    rms_norm_eps: f64,
    #[serde(default)]
    pad_token_id: Option<i64>,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default = "max_window_layers")]
    max_window_layers: usize,
    #[serde(default)]
    layer_types: Option<Vec<String>>,
    #[serde(default)]
    query_pre_attn_scalar: Option<f64>,
    #[serde(default)]
    attn_logit_softcapping: Option<f64>,
    #[serde(default)]
    use_bidirectional_attention: Option<bool>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
}

/// Which layers have a bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Biases {
    /// Those of queries, keys and values.
    pub(super) inputs: bool,
    /// That of what attention gives.
    pub(super) output: bool,
    /// Those of the feed-forward part.
    pub(super) inner: bool,
}

const fn eps() -> f64 {
    1e-6
}

const fn max_window_layers() -> usize {
    28
}

/// A decoder in numbers.
#[derive(Debug)]
pub(super) struct DecoderConfig {
    pub(super) family: Family,
    pub(super) vocabulary: usize,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Heads of keys and values.
    pub(super) groups: usize,
    /// Numbers of a head.
    pub(super) width: usize,
    pub(super) activation: Activation,
    pub(super) max_positions: usize,
    pub(super) eps: f64,
    pub(super) pad: Option<i64>,
    pub(super) rope: Rope,
    pub(super) biases: Biases,
    scale: f64,
    cap: Option<f64>,
    window: Option<usize>,
    /// Types of the layers, where the file lists them.
    types: Option<Vec<String>>,
    max_window_layers: usize,
}

impl DecoderConfig {
    pub(super) fn read(config: &Config) -> Result<Self, LoadError> {
        let family = Family::of(config)?;
        let fields: Fields = config.part()?;
        fields.check(family)?;
        let width = fields.width(family)?;
        let groups = fields.groups(family);
        let scalar = match family {
            Family::Gemma2 => fields.query_pre_attn_scalar.unwrap_or(256.0),
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => as_float(width),
        };
        if !(scalar > 0.0 && fields.attn_logit_softcapping.is_none_or(|cap| cap > 0.0)) {
            return Err(LoadError::invalid(
                "config.json: query_pre_attn_scalar and attn_logit_softcapping must be above 0",
            ));
        }
        Ok(Self {
            family,
            vocabulary: fields.vocab_size,
            hidden: fields.hidden_size,
            inner: fields.intermediate_size,
            layers: fields.num_hidden_layers,
            heads: fields.num_attention_heads,
            groups,
            width,
            activation: fields.activation(family),
            max_positions: fields.positions(family),
            eps: fields.rms_norm_eps,
            pad: match family {
                Family::Gemma2 if !config.has("pad_token_id") => Some(0),
                Family::Gemma2
                | Family::Llama
                | Family::Mistral
                | Family::Qwen2
                | Family::Qwen3 => fields.pad_token_id,
            },
            rope: Rope::read(config, "full_attention", 10_000.0, 1.0)?,
            biases: fields.biases(family),
            scale: 1.0 / scalar.sqrt(),
            cap: match family {
                Family::Gemma2 if !config.has("attn_logit_softcapping") => Some(50.0),
                Family::Gemma2 => fields.attn_logit_softcapping,
                Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => None,
            },
            window: fields.window(family, config.has("sliding_window")),
            types: fields.layer_types,
            max_window_layers: fields.max_window_layers,
        })
    }

    /// How scores are made in a layer.
    pub(super) fn attention(&self, layer: usize) -> Attention {
        let listed = self.types.as_ref().and_then(|types| types.get(layer));
        let listed = listed.map(|kind| kind == "sliding_attention");
        let slides = match self.family {
            Family::Llama => false,
            Family::Mistral => true,
            Family::Qwen2 | Family::Qwen3 => listed.unwrap_or(layer >= self.max_window_layers),
            Family::Gemma2 => listed.unwrap_or_else(|| layer.is_multiple_of(2)),
        };
        Attention {
            heads: self.heads,
            groups: self.groups,
            width: self.width,
            scale: self.scale,
            cap: self.cap,
            reach: match self.window {
                Some(window) if slides => Reach::Window(window),
                Some(_) | None => Reach::Causal,
            },
        }
    }
}

impl Fields {
    /// Qwen2's are fixed, and Mistral has none.
    fn biases(&self, family: Family) -> Biases {
        let attention = self.attention_bias == Some(true);
        let (inputs, output) = match family {
            Family::Mistral => (false, false),
            Family::Qwen2 => (true, false),
            Family::Llama | Family::Qwen3 | Family::Gemma2 => (attention, attention),
        };
        Biases {
            inputs,
            output,
            inner: family == Family::Llama && self.mlp_bias == Some(true),
        }
    }

    fn check(&self, family: Family) -> Result<(), LoadError> {
        for (field, count) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.groups(family)),
            ("head_dim", self.head_dim.unwrap_or(1)),
            ("max_position_embeddings", self.positions(family)),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ] {
            check_count(field, count)?;
        }
        let groups = self.groups(family);
        if !self.num_attention_heads.is_multiple_of(groups) {
            return Err(LoadError::invalid(format!(
                "config.json: {} attention heads cannot share num_key_value_heads {groups} evenly",
                self.num_attention_heads
            )));
        }
        if let Some(types) = &self.layer_types
            && types.len() != self.num_hidden_layers
        {
            return Err(LoadError::invalid(format!(
                "config.json: layer_types has {} entries for {} layers",
                types.len(),
                self.num_hidden_layers
            )));
        }
        let known =
            |kind: &&String| matches!(kind.as_str(), "full_attention" | "sliding_attention");
        let types = self.layer_types.iter().flatten();
        if let Some(other) = types.clone().find(|kind| !known(kind)) {
            return Err(LoadError::unsupported(format!(
                "layer_types has {other:?}, which is not served; full_attention and sliding_attention are"
            )));
        }
        if self.use_bidirectional_attention == Some(true) {
            return Err(LoadError::unsupported(
                "use_bidirectional_attention is not served: tokens see those before them",
            ));
        }
        Ok(())
    }

    fn width(&self, family: Family) -> Result<usize, LoadError> {
        match (self.head_dim, family) {
            (Some(width), _) => Ok(width),
            (None, Family::Qwen3) => Ok(128),
            (None, Family::Gemma2) => Ok(256),
            (None, Family::Llama | Family::Mistral | Family::Qwen2) => {
                head_width(self.hidden_size, self.num_attention_heads)
            }
        }
    }

    fn groups(&self, family: Family) -> usize {
        let default = match family {
            Family::Llama => self.num_attention_heads,
            Family::Mistral => 8,
            Family::Qwen2 | Family::Qwen3 => 32,
            Family::Gemma2 => 4,
        };
        self.num_key_value_heads.unwrap_or(default)
    }

    fn activation(&self, family: Family) -> Activation {
        match family {
            Family::Gemma2 => self.hidden_activation.unwrap_or(Activation::GeluNew),
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
                self.hidden_act.unwrap_or(Activation::Silu)
            }
        }
    }

    fn positions(&self, family: Family) -> usize {
        let default = match family {
            Family::Llama => 2_048,
            Family::Mistral => 131_072,
            Family::Qwen2 | Family::Qwen3 => 32_768,
            Family::Gemma2 => 8_192,
        };
        self.max_position_embeddings.unwrap_or(default)
    }

    /// The window of layers that slide; `said` is whether the file has the field, be it null.
    fn window(&self, family: Family, said: bool) -> Option<usize> {
        let window = if said {
            self.sliding_window
        } else {
            Some(4_096)
        };
        match family {
            Family::Llama => None,
            Family::Mistral | Family::Gemma2 => window,
            Family::Qwen2 | Family::Qwen3 => window.filter(|_| self.use_sliding_window),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a head is far narrower than 2^52"
)]
const fn as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn read(architecture: &str, fields: &str) -> Result<DecoderConfig, LoadError> {
        let text = format!(
            r#"{{"architectures":["{architecture}"],"vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":4,"num_attention_heads":2,"num_key_value_heads":1{fields}}}"#
        );
        DecoderConfig::read(&Config::parse(text.as_bytes()).unwrap())
    }

    fn reaches(architecture: &str, fields: &str) -> Vec<Reach> {
        let config = read(architecture, fields).unwrap();
        (0..4).map(|i| config.attention(i).reach).collect()
    }

    #[test]
    fn windows_are_where_each_family_has_them() {
        let (all, window) = (Reach::Causal, Reach::Window(7));
        let seven = r#","sliding_window":7"#;
        assert_eq!(reaches("LlamaForSequenceClassification", seven), [all; 4]);
        assert_eq!(
            reaches("MistralForSequenceClassification", seven),
            [window; 4]
        );
        assert_eq!(
            reaches(
                "MistralForSequenceClassification",
                r#","sliding_window":null"#
            ),
            [all; 4]
        );
        assert_eq!(
            reaches("MistralForSequenceClassification", ""),
            [Reach::Window(4_096); 4]
        );
        assert_eq!(
            reaches("Gemma2ForSequenceClassification", seven),
            [window, all, window, all]
        );
        assert_eq!(
            reaches(
                "Qwen2ForSequenceClassification",
                r#","sliding_window":7,"max_window_layers":1"#
            ),
            [all; 4]
        );
        assert_eq!(
            reaches(
                "Qwen2ForSequenceClassification",
                r#","sliding_window":7,"max_window_layers":1,"use_sliding_window":true"#
            ),
            [all, window, window, window]
        );
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        for fields in [
            r#","vocab_size_":0,"head_dim":0"#,
            r#","head_dim":1000000000000"#,
            r#","sliding_window":0"#,
            r#","layer_types":["full_attention"]"#,
            r#","query_pre_attn_scalar":0"#,
            r#","max_position_embeddings":0"#,
        ] {
            let error = read("Gemma2ForSequenceClassification", fields).unwrap_err();
            assert_eq!(error.reason, Reason::ModelInvalid, "{fields}");
        }
        let error = read("GRewardModel", r#","model_type":"gpt2""#).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
    }
}
