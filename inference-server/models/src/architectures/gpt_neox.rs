//! GPT-NeoX (Black et al. 2022), the backbone of Pythia, with a head on the last token.
//!
//! Owns the fused projection and the parallel residual. Source of the names and formulas:
//! transformers `models/gpt_neox/modeling_gpt_neox.py`. Invariant: pooling is that of all decoders.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::decoder::until_pooled;
use super::head::Head;
use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{
    Activation, Angles, Attention, Bias, Embedding, LayerNorm, Linear, Reach, Rotary,
};
use crate::rope::Rope;
use crate::weights::Weights;

#[derive(Clone, Debug, Deserialize)]
struct NeoxConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: Activation,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
    #[serde(default = "eps")]
    layer_norm_eps: f64,
    #[serde(default = "yes")]
    use_parallel_residual: bool,
    #[serde(default = "yes")]
    attention_bias: bool,
    #[serde(default)]
    pad_token_id: Option<i64>,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn positions() -> usize {
    2_048
}

const fn eps() -> f64 {
    1e-5
}

const fn yes() -> bool {
    true
}

#[derive(Debug)]
struct Layer {
    attention: Attention,
    heads: usize,
    activation: Activation,
    parallel: bool,
    attention_norm: LayerNorm,
    joint: Linear,
    output: Linear,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Debug)]
struct Neox {
    words: Embedding,
    rotary: Rotary,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Head,
    config: NeoxConfig,
}

/// Builds the model.
///
/// # Errors
/// `ModelInvalid` when config and weights do not fit each other.
pub(super) fn load(
    weights: &Weights,
    shared: &Config,
) -> std::result::Result<Box<dyn Architecture>, LoadError> {
    let config: NeoxConfig = shared.part()?;
    for (field, count) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
    ] {
        check_count(field, count)?;
    }
    let hidden = config.hidden_size;
    let width = head_width(hidden, config.num_attention_heads)?;
    let prefix = weights.prefix(&["gpt_neox.", ""], "embed_in.weight");
    let layers = (0..config.num_hidden_layers)
        .map(|i| Layer::load(weights, &format!("{prefix}layers.{i}"), &config))
        .collect::<std::result::Result<_, _>>()?;
    let words = format!("{prefix}embed_in");
    let norm = format!("{prefix}final_layer_norm");
    Ok(Box::new(Neox {
        words: Embedding::load(weights, &words, config.vocab_size, hidden)?,
        rotary: Rope::read(shared, "full_attention", 10_000.0, 0.25)?.rotary(width)?,
        layers,
        norm: LayerNorm::load(weights, &norm, hidden, config.layer_norm_eps, Bias::Needed)?,
        head: Head::load(weights, "score", hidden, shared.labels.len())?,
        config,
    }))
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &NeoxConfig,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, input, output, bias| {
            Linear::load(weights, &format!("{prefix}.{name}"), (input, output), bias)
        };
        let of_attention = Bias::said(config.attention_bias);
        let norm = |name: &str| {
            let name = format!("{prefix}.{name}");
            LayerNorm::load(weights, &name, hidden, config.layer_norm_eps, Bias::Needed)
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head is far narrower than 2^52"
        )]
        let width = (hidden / config.num_attention_heads.max(1)) as f64;
        Ok(Self {
            attention: Attention {
                scale: 1.0 / width.sqrt(),
                cap: None,
                reach: Reach::Causal,
            },
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            parallel: config.use_parallel_residual,
            attention_norm: norm("input_layernorm")?,
            joint: linear(
                "attention.query_key_value",
                hidden,
                3 * hidden,
                of_attention,
            )?,
            output: linear("attention.dense", hidden, hidden, of_attention)?,
            norm: norm("post_attention_layernorm")?,
            up: linear("mlp.dense_h_to_4h", hidden, inner, Bias::Needed)?,
            down: linear("mlp.dense_4h_to_h", inner, hidden, Bias::Needed)?,
        })
    }

    fn forward(&self, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let attended = self.attend(&self.attention_norm.forward(x)?, angles)?;
        let sum = (x + attended)?;
        let input = if self.parallel { x } else { &sum };
        let inner = self.up.forward(&self.norm.forward(input)?)?;
        let inner = self.down.forward(&self.activation.forward(&inner)?)?;
        sum + inner
    }

    /// Each head has its query, key and value side by side in the fused projection.
    fn attend(&self, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let width = hidden / self.heads.max(1);
        let joint = self
            .joint
            .forward(x)?
            .reshape((tokens, self.heads, 3 * width))?
            .transpose(0, 1)?
            .contiguous()?;
        let part = |i: usize| joint.narrow(2, i * width, width)?.contiguous();
        let (query, key) = (angles.turn(&part(0)?)?, angles.turn(&part(1)?)?);
        self.output
            .forward(&self.attention.mix(&query, &key, &part(2)?)?)
    }
}

impl Architecture for Neox {
    fn forward(&self, ids: &[u32], _type_ids: &[u32]) -> Result<Tensor> {
        let ids = until_pooled(ids, self.config.pad_token_id);
        let angles = self.rotary.at(ids.len())?;
        let mut x = self.words.forward(ids)?;
        for layer in &self.layers {
            x = layer.forward(&x, &angles)?;
        }
        let last = x.narrow(0, ids.len().saturating_sub(1), 1)?.contiguous()?;
        self.head.forward(&self.norm.forward(&last)?)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            kind: Kind::Decoder,
            max_positions: self.config.max_position_embeddings,
            vocabulary: self.config.vocab_size,
            segments: 0,
        }
    }
}
