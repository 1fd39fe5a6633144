//! GPT-NeoX (Black et al. 2022), the backbone of Pythia, with a head on the last token.
//!
//! Owns the fused projection and the parallel residual. Source of the names and formulas:
//! transformers `models/gpt_neox/modeling_gpt_neox.py`. Invariant: pooling is that of all decoders.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::readout::Readout;
use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{
    Activation, Angles, Attention, Bias, Embedding, LayerNorm, Linear, Pass, Reach, Rotary,
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
    activation: Activation,
    parallel: bool,
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
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
    readout: Readout,
    vocabulary: usize,
    max_positions: usize,
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
        readout: Readout::load(weights, shared, hidden, config.pad_token_id)?,
        vocabulary: config.vocab_size,
        max_positions: config.max_position_embeddings,
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
        let heads = config.num_attention_heads;
        let attention = Attention::plain(hidden, heads, Reach::Causal);
        let width = attention.width.max(1);
        // Each head has its query, key and value side by side.
        let [query, key, value] = Linear::load_three(
            weights,
            &format!("{prefix}.attention.query_key_value"),
            (hidden, hidden),
            of_attention,
            |part, i| (i / width * 3 + part) * width + i % width,
        )?;
        Ok(Self {
            attention,
            activation: config.hidden_act,
            parallel: config.use_parallel_residual,
            attention_norm: norm("input_layernorm")?,
            query,
            key,
            value,
            output: linear("attention.dense", hidden, hidden, of_attention)?,
            norm: norm("post_attention_layernorm")?,
            up: linear("mlp.dense_h_to_4h", hidden, inner, Bias::Needed)?,
            down: linear("mlp.dense_4h_to_h", inner, hidden, Bias::Needed)?,
        })
    }

    /// What attention makes of each token, before it is projected.
    fn mix(&self, pass: &Pass<'_>, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let x = self.attention_norm.forward(pass, x)?;
        let width = self.attention.width;
        let query = angles.turn(pass, &self.query.forward(pass, &x)?, width)?;
        let key = angles.turn(pass, &self.key.forward(pass, &x)?, width)?;
        let value = self.value.forward(pass, &x)?;
        self.attention.mix(pass, &query, &key, &value)
    }

    /// What follows: `x` is the layer's input, `mixed` what attention made of it; of all tokens, or of some.
    fn finish(&self, pass: &Pass<'_>, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let sum = self.output.onto(pass, mixed, x)?;
        let input = if self.parallel { x } else { &sum };
        let normed = self.norm.forward(pass, input)?;
        let inner = self.up.activated(pass, &normed, self.activation)?;
        self.down.onto(pass, &inner, &sum)
    }
}

impl Architecture for Neox {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let angles = self.rotary.at(pass)?;
        let x = self.words.forward(pass.batch().ids())?;
        let mix = |layer: &Layer, x: &Tensor| layer.mix(pass, x, &angles);
        let finish = |layer: &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.lasts(), mix, finish)?;
        self.readout.forward(pass, &self.norm.forward(pass, &x)?)
    }

    fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        self.readout.counted(ids)
    }

    fn looks_back_alone(&self) -> bool {
        self.rotary.is_of_positions_alone()
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            kind: Kind::Decoder,
            max_positions: self.max_positions,
            vocabulary: self.vocabulary,
            segments: 0,
        }
    }
}
