//! GPT-2 (Radford et al. 2019), with a head on the last token.
//!
//! Owns the learned positions and the fused projection. Source of the names and formulas: transformers
//! `models/gpt2/modeling_gpt2.py`. Invariant: matrices are stored as `[in, out]`, unlike those of others.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::readout::Readout;
use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{Activation, Attention, Bias, Embedding, LayerNorm, Linear, Pass, Reach};
use crate::weights::Weights;

/// Old files have the first names, newer ones may have the others.
#[derive(Clone, Debug, Deserialize)]
struct Gpt2Config {
    vocab_size: usize,
    #[serde(alias = "hidden_size")]
    n_embd: usize,
    #[serde(alias = "num_hidden_layers")]
    n_layer: usize,
    #[serde(alias = "num_attention_heads")]
    n_head: usize,
    #[serde(default = "positions", alias = "max_position_embeddings")]
    n_positions: usize,
    #[serde(default)]
    n_inner: Option<usize>,
    #[serde(default = "gelu_new")]
    activation_function: Activation,
    #[serde(default = "eps")]
    layer_norm_epsilon: f64,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default)]
    pad_token_id: Option<i64>,
}

const fn positions() -> usize {
    1_024
}

const fn gelu_new() -> Activation {
    Activation::GeluNew
}

const fn eps() -> f64 {
    1e-5
}

const fn yes() -> bool {
    true
}

impl Gpt2Config {
    fn read(shared: &Config) -> std::result::Result<Self, LoadError> {
        let config: Self = shared.part()?;
        for (field, count) in [
            ("vocab_size", config.vocab_size),
            ("n_embd", config.n_embd),
            ("n_positions", config.n_positions),
            ("n_inner", config.inner()),
        ] {
            check_count(field, count)?;
        }
        if config.add_cross_attention {
            return Err(LoadError::unsupported(
                "add_cross_attention is not served: there is no other text to attend to",
            ));
        }
        Ok(config)
    }

    fn inner(&self) -> usize {
        self.n_inner
            .unwrap_or_else(|| self.n_embd.saturating_mul(4))
    }

    fn attention(&self, layer: usize) -> Attention {
        let mut attention = Attention::plain(self.n_embd, self.n_head, Reach::Causal);
        if !self.scale_attn_weights {
            attention.scale = 1.0;
        }
        if self.scale_attn_by_inverse_layer_idx {
            #[expect(clippy::cast_precision_loss, reason = "layers are few")]
            let nth = (layer + 1) as f64;
            attention.scale /= nth;
        }
        attention
    }
}

#[derive(Debug)]
struct Layer {
    attention: Attention,
    activation: Activation,
    attention_norm: LayerNorm,
    projections: [Linear; 3],
    output: Linear,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Debug)]
struct Gpt2 {
    words: Embedding,
    positions: Embedding,
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
    let config = Gpt2Config::read(shared)?;
    let hidden = config.n_embd;
    head_width(hidden, config.n_head)?;
    let prefix = weights.prefix(&["transformer.", ""], "wte.weight");
    let layers = (0..config.n_layer)
        .map(|i| Layer::load(weights, &format!("{prefix}h.{i}"), &config, i))
        .collect::<std::result::Result<_, _>>()?;
    let table = |name: &str, rows| {
        let name = format!("{prefix}{name}");
        Embedding::load(weights, &name, rows, hidden)
    };
    let norm = format!("{prefix}ln_f");
    Ok(Box::new(Gpt2 {
        words: table("wte", config.vocab_size)?,
        positions: table("wpe", config.n_positions)?,
        layers,
        norm: LayerNorm::load(
            weights,
            &norm,
            hidden,
            config.layer_norm_epsilon,
            Bias::Needed,
        )?,
        readout: Readout::load(weights, shared, hidden, config.pad_token_id)?,
        vocabulary: config.vocab_size,
        max_positions: config.n_positions,
    }))
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &Gpt2Config,
        index: usize,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.n_embd, config.inner());
        let linear = |name: &str, input, output| {
            Linear::load_columns(weights, &format!("{prefix}.{name}"), (input, output))
        };
        let norm = |name: &str| {
            let name = format!("{prefix}.{name}");
            let eps = config.layer_norm_epsilon;
            LayerNorm::load(weights, &name, hidden, eps, Bias::Needed)
        };
        let joint = format!("{prefix}.attn.c_attn");
        Ok(Self {
            attention: config.attention(index),
            activation: config.activation_function,
            attention_norm: norm("ln_1")?,
            projections: Linear::load_three_columns(weights, &joint, (hidden, hidden))?,
            output: linear("attn.c_proj", hidden, hidden)?,
            norm: norm("ln_2")?,
            up: linear("mlp.c_fc", hidden, inner)?,
            down: linear("mlp.c_proj", inner, hidden)?,
        })
    }

    /// What attention makes of each token, before it is projected.
    fn mix(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let x = self.attention_norm.forward(pass, x)?;
        let [query, key, value] = &self.projections;
        let query = query.forward(pass, &x)?;
        let key = key.forward(pass, &x)?;
        let value = value.forward(pass, &x)?;
        self.attention.mix(pass, &query, &key, &value)
    }

    /// What follows: `x` is the layer's input, `mixed` what attention made of it; of all tokens, or of some.
    fn finish(&self, pass: &Pass<'_>, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let x = self.output.onto(pass, mixed, x)?;
        let normed = self.norm.forward(pass, &x)?;
        let inner = self.up.activated(pass, &normed, self.activation)?;
        self.down.onto(pass, &inner, &x)
    }
}

impl Architecture for Gpt2 {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let words = self.words.forward(pass.batch().ids())?;
        let x = (words + self.positions.forward(&pass.positions())?)?;
        let mix = |layer: &Layer, x: &Tensor| layer.mix(pass, x);
        let finish = |layer: &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.lasts(), mix, finish)?;
        self.readout.forward(pass, &self.norm.forward(pass, &x)?)
    }

    fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        self.readout.counted(ids)
    }

    fn looks_back_alone(&self) -> bool {
        true
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
