//! What `config.json` says about a Llama-like decoder, family by family.
//!
//! Owns where families read the same field differently; what a file leaves out is their traits' to say. Must
//! not know of tensors. Invariant: what it hands out can be computed with; no count is zero, heads share
//! their groups evenly.

use serde::Deserialize;

use super::decoder_experts::Sparse;
use super::decoder_family::{Family, Traits};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{Activation, Attention, Reach};
use crate::rope::Rope;

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
    #[serde(default)]
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    pad_token_id: Option<i64>,
    #[serde(default)]
    sliding_window: Option<usize>,
    #[serde(default)]
    use_sliding_window: bool,
    #[serde(default = "max_window_layers")]
    max_window_layers: usize,
    /// Every so many layers one does not slide (Gemma 3).
    #[serde(default = "pattern")]
    sliding_window_pattern: usize,
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

const fn max_window_layers() -> usize {
    28
}

const fn pattern() -> usize {
    6
}

/// A decoder in numbers.
#[derive(Debug)]
pub(super) struct DecoderConfig {
    family: Family,
    pub(super) traits: Traits,
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
    /// That of layers that slide, where it is another one (Gemma 3).
    pub(super) local_rope: Option<Rope>,
    pub(super) biases: Biases,
    /// Which layers have experts.
    pub(super) sparse: Option<Sparse>,
    scale: f64,
    cap: Option<f64>,
    window: Option<usize>,
    /// Types of the layers, where the file lists them.
    types: Option<Vec<String>>,
    max_window_layers: usize,
    pattern: usize,
}

impl DecoderConfig {
    pub(super) fn read(config: &Config) -> Result<Self, LoadError> {
        let family = Family::of(config)?;
        let fields: Fields = config.part()?;
        fields.check(family)?;
        let traits = family.traits();
        let width = fields.width(&traits)?;
        let said = |field| config.has(field);
        let (rope, local_rope) = ropes(family, config)?;
        Ok(Self {
            family,
            traits,
            vocabulary: fields.vocab_size,
            hidden: fields.hidden_size,
            inner: fields.intermediate_size,
            layers: fields.num_hidden_layers,
            heads: fields.num_attention_heads,
            groups: fields.groups(&traits),
            width,
            activation: fields.activation(family),
            max_positions: fields.positions(&traits),
            eps: fields.rms_norm_eps.unwrap_or(traits.eps),
            pad: if said("pad_token_id") {
                fields.pad_token_id
            } else {
                traits.pad
            },
            rope,
            local_rope,
            biases: fields.biases(family),
            sparse: Sparse::read(family, config)?,
            scale: fields.scale(family, width)?,
            cap: fields.cap(family, said("attn_logit_softcapping"))?,
            window: fields.window(family, said("sliding_window")),
            types: fields.layer_types,
            max_window_layers: fields.max_window_layers,
            pattern: fields.sliding_window_pattern,
        })
    }

    /// Whether a layer sees a window only, where there is one.
    pub(super) fn slides(&self, layer: usize) -> bool {
        let listed = self.types.as_ref().and_then(|types| types.get(layer));
        let listed = listed.map(|kind| kind == "sliding_attention");
        match self.family {
            Family::Llama | Family::Gemma | Family::Olmo2 => false,
            Family::Mistral | Family::Phi3 | Family::Mixtral | Family::Qwen3Moe => true,
            Family::Qwen2 | Family::Qwen3 => listed.unwrap_or(layer >= self.max_window_layers),
            Family::Gemma2 => listed.unwrap_or_else(|| layer.is_multiple_of(2)),
            Family::Gemma3 => listed.unwrap_or_else(|| !(layer + 1).is_multiple_of(self.pattern)),
        }
    }

    /// How scores are made in a layer.
    pub(super) fn attention(&self, layer: usize) -> Attention {
        Attention {
            heads: self.heads,
            groups: self.groups,
            width: self.width,
            scale: self.scale,
            cap: self.cap,
            reach: match self.window {
                Some(window) if self.slides(layer) => Reach::Window(window),
                Some(_) | None => Reach::Causal,
            },
        }
    }
}

impl Fields {
    /// Qwen2's are fixed; Mistral and Phi 3 have none.
    fn biases(&self, family: Family) -> Biases {
        let attention = self.attention_bias == Some(true);
        let (inputs, output) = match family {
            Family::Mistral | Family::Phi3 | Family::Mixtral => (false, false),
            Family::Qwen2 => (true, false),
            Family::Llama
            | Family::Qwen3
            | Family::Qwen3Moe
            | Family::Gemma
            | Family::Gemma2
            | Family::Gemma3
            | Family::Olmo2 => (attention, attention),
        };
        Biases {
            inputs,
            output,
            inner: family == Family::Llama && self.mlp_bias == Some(true),
        }
    }

    /// Factor of the products of queries and keys.
    fn scale(&self, family: Family, width: usize) -> Result<f64, LoadError> {
        let scalar = match family {
            Family::Gemma2 | Family::Gemma3 => self.query_pre_attn_scalar.unwrap_or(256.0),
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Gemma
            | Family::Olmo2
            | Family::Phi3
            | Family::Mixtral
            | Family::Qwen3Moe => as_float(width),
        };
        if scalar > 0.0 {
            return Ok(1.0 / scalar.sqrt());
        }
        Err(LoadError::invalid(
            "config.json: query_pre_attn_scalar must be above 0",
        ))
    }

    /// What scores are bent to stay within; `said` is whether the file has the field, be it null.
    fn cap(&self, family: Family, said: bool) -> Result<Option<f64>, LoadError> {
        if self.attn_logit_softcapping.is_some_and(|cap| cap <= 0.0) {
            return Err(LoadError::invalid(
                "config.json: attn_logit_softcapping must be above 0, or null for none",
            ));
        }
        match family {
            Family::Gemma2 if !said => Ok(Some(50.0)),
            Family::Gemma2 => Ok(self.attn_logit_softcapping),
            Family::Gemma3 if self.attn_logit_softcapping.is_some() => Err(LoadError::unsupported(
                "attn_logit_softcapping is not served for Gemma 3, where transformers leaves it out: write null",
            )),
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Gemma
            | Family::Gemma3
            | Family::Olmo2
            | Family::Phi3
            | Family::Mixtral
            | Family::Qwen3Moe => Ok(None),
        }
    }

    fn check(&self, family: Family) -> Result<(), LoadError> {
        let traits = family.traits();
        for (field, count) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.groups(&traits)),
            ("head_dim", self.head_dim.unwrap_or(1)),
            ("max_position_embeddings", self.positions(&traits)),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
            ("sliding_window_pattern", self.sliding_window_pattern),
        ] {
            check_count(field, count)?;
        }
        let groups = self.groups(&traits);
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

    fn width(&self, traits: &Traits) -> Result<usize, LoadError> {
        match self.head_dim.or(traits.width) {
            Some(width) => Ok(width),
            None => head_width(self.hidden_size, self.num_attention_heads),
        }
    }

    fn groups(&self, traits: &Traits) -> usize {
        let default = traits.groups.unwrap_or(self.num_attention_heads);
        self.num_key_value_heads.unwrap_or(default)
    }

    fn positions(&self, traits: &Traits) -> usize {
        self.max_position_embeddings.unwrap_or(traits.positions)
    }

    fn activation(&self, family: Family) -> Activation {
        let said = match family {
            // The first releases say "gelu" and mean its approximation.
            Family::Gemma => self.hidden_act.filter(|act| *act != Activation::Gelu),
            Family::Gemma2 | Family::Gemma3 => self.hidden_activation,
            Family::Llama
            | Family::Mistral
            | Family::Qwen2
            | Family::Qwen3
            | Family::Olmo2
            | Family::Phi3
            | Family::Mixtral
            | Family::Qwen3Moe => self.hidden_act,
        };
        said.unwrap_or_else(|| family.traits().activation)
    }

    /// The window of layers that slide; `said` is whether the file has the field, be it null.
    fn window(&self, family: Family, said: bool) -> Option<usize> {
        let window = if said {
            self.sliding_window
        } else {
            Some(4_096)
        };
        match family {
            Family::Llama | Family::Gemma | Family::Olmo2 => None,
            Family::Mistral | Family::Gemma2 | Family::Gemma3 => window,
            Family::Phi3 | Family::Mixtral => self.sliding_window,
            Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => {
                window.filter(|_| self.use_sliding_window)
            }
        }
    }
}

/// The rotary positions of all layers, and those of layers that slide where these have their own.
fn ropes(family: Family, config: &Config) -> Result<(Rope, Option<Rope>), LoadError> {
    match family {
        Family::Gemma3 => Ok((
            Rope::read(config, "full_attention", 1_000_000.0, 1.0)?,
            Some(Rope::read_local(config, 10_000.0)?),
        )),
        Family::Phi3 => Ok((Rope::read_phi3(config)?, None)),
        Family::Llama
        | Family::Mistral
        | Family::Qwen2
        | Family::Qwen3
        | Family::Gemma
        | Family::Gemma2
        | Family::Olmo2
        | Family::Mixtral
        | Family::Qwen3Moe => {
            let theta = family.traits().theta;
            Ok((Rope::read(config, "full_attention", theta, 1.0)?, None))
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
#[path = "decoder_config_tests.rs"]
mod tests;
