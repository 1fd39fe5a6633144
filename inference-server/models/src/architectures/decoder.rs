//! Llama-like decoders with a head on the last token: Llama, Mistral, Qwen2, Qwen3 and Gemma 2, and
//! the reward models with code of their own that are built on them (INF-ORM, GRM, Qwen2.5-RM, OpenRLHF's).
//!
//! Owns the layers. Source of the names and formulas: transformers
//! `models/{llama,mistral,qwen2,qwen3,gemma2}`. Invariant: what follows the token that the
//! readout reads cannot change the score and is not computed.

use candle_core::{Result, Tensor};

use super::decoder_config::{DecoderConfig, Family};
use super::readout::Readout;
use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{
    Activation, Angles, Attention, Bias, Embedding, Linear, Pass, RmsNorm, Rotary,
};
use crate::weights::Weights;

#[derive(Debug)]
struct Layer {
    attention: Attention,
    activation: Activation,
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Of each head's queries and keys (Qwen3).
    head_norms: Option<(RmsNorm, RmsNorm)>,
    /// Of what attention and feed-forward give (Gemma 2).
    output_norms: Option<(RmsNorm, RmsNorm)>,
    inner_norm: RmsNorm,
    gated: Linear,
    down: Linear,
}

#[derive(Debug)]
struct Decoder {
    words: Embedding,
    /// Embeddings are multiplied by it (Gemma 2).
    embedding_scale: Option<f64>,
    rotary: Rotary,
    layers: Vec<Layer>,
    norm: RmsNorm,
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
    let config = DecoderConfig::read(shared)?;
    let prefix = weights.prefix(&["model.", "model.model.", ""], "embed_tokens.weight");
    let words = format!("{prefix}embed_tokens");
    let layers = (0..config.layers)
        .map(|i| Layer::load(weights, &format!("{prefix}layers.{i}"), &config, i))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Box::new(Decoder {
        words: Embedding::load(weights, &words, config.vocabulary, config.hidden)?,
        embedding_scale: embedding_scale(&config),
        rotary: config.rope.rotary(config.width)?,
        layers,
        norm: norm(weights, &format!("{prefix}norm"), config.hidden, &config)?,
        readout: Readout::load(weights, shared, config.hidden, config.pad)?,
        vocabulary: config.vocabulary,
        max_positions: config.max_positions,
    }))
}

fn embedding_scale(config: &DecoderConfig) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
    match config.family {
        Family::Gemma2 => Some((config.hidden as f64).sqrt()),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => None,
    }
}

fn norm(
    weights: &Weights,
    name: &str,
    width: usize,
    config: &DecoderConfig,
) -> std::result::Result<RmsNorm, LoadError> {
    let offset = match config.family {
        Family::Gemma2 => 1.0,
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => 0.0,
    };
    RmsNorm::load(weights, name, width, config.eps, offset)
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &DecoderConfig,
        index: usize,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden, config.inner);
        let query_width = config.heads * config.width;
        let key_width = config.groups * config.width;
        let linear = |name: &str, input, output, bias| {
            let name = format!("{prefix}.{name}");
            Linear::load(weights, &name, (input, output), Bias::said(bias))
        };
        let biases = config.biases;
        let norm = |name: &str, width| norm(weights, &format!("{prefix}.{name}"), width, config);
        let (head_norms, output_norms, inner_norm) = match config.family {
            Family::Llama | Family::Mistral | Family::Qwen2 => {
                (None, None, "post_attention_layernorm")
            }
            Family::Qwen3 => (
                Some((
                    norm("self_attn.q_norm", config.width)?,
                    norm("self_attn.k_norm", config.width)?,
                )),
                None,
                "post_attention_layernorm",
            ),
            Family::Gemma2 => (
                None,
                Some((
                    norm("post_attention_layernorm", hidden)?,
                    norm("post_feedforward_layernorm", hidden)?,
                )),
                "pre_feedforward_layernorm",
            ),
        };
        Ok(Self {
            attention: config.attention(index),
            activation: config.activation,
            input_norm: norm("input_layernorm", hidden)?,
            query: linear("self_attn.q_proj", hidden, query_width, biases.inputs)?,
            key: linear("self_attn.k_proj", hidden, key_width, biases.inputs)?,
            value: linear("self_attn.v_proj", hidden, key_width, biases.inputs)?,
            output: linear("self_attn.o_proj", query_width, hidden, biases.output)?,
            head_norms,
            output_norms,
            inner_norm: norm(inner_norm, hidden)?,
            gated: Linear::load_gated(
                weights,
                (
                    &format!("{prefix}.mlp.gate_proj"),
                    &format!("{prefix}.mlp.up_proj"),
                ),
                (hidden, inner),
                Bias::said(biases.inner),
            )?,
            down: linear("mlp.down_proj", inner, hidden, biases.inner)?,
        })
    }

    /// What attention makes of each token, before it is projected.
    fn mix(&self, pass: &Pass<'_>, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let x = self.input_norm.forward(pass, x)?;
        let mut query = self.query.forward(pass, &x)?;
        let mut key = self.key.forward(pass, &x)?;
        if let Some((query_norm, key_norm)) = &self.head_norms {
            query = query_norm.forward(pass, &query)?;
            key = key_norm.forward(pass, &key)?;
        }
        let value = self.value.forward(pass, &x)?;
        let width = self.attention.width;
        let query = angles.turn(pass, &query, width)?;
        let key = angles.turn(pass, &key, width)?;
        self.attention.mix(pass, &query, &key, &value)
    }

    /// What follows: `x` is the layer's input, `mixed` what attention made of it; of all tokens, or of some.
    fn finish(&self, pass: &Pass<'_>, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let (attention_norm, inner_norm) = match &self.output_norms {
            Some((attention, inner)) => (Some(attention), Some(inner)),
            None => (None, None),
        };
        let x = onto(pass, &self.output, mixed, attention_norm, x)?;
        let normed = self.inner_norm.forward(pass, &x)?;
        let inner = self.gated.activated(pass, &normed, self.activation)?;
        onto(pass, &self.down, &inner, inner_norm, &x)
    }
}

/// What `linear`, and a norm where there is one, make of `x`, added to `residual`.
fn onto(
    pass: &Pass<'_>,
    linear: &Linear,
    x: &Tensor,
    norm: Option<&RmsNorm>,
    residual: &Tensor,
) -> Result<Tensor> {
    match norm {
        None => linear.onto(pass, x, residual),
        Some(norm) => residual + norm.forward(pass, &linear.forward(pass, x)?)?,
    }
}

impl Architecture for Decoder {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let angles = self.rotary.at(pass);
        let mut x = self.words.forward(pass.batch().ids())?;
        if let Some(scale) = self.embedding_scale {
            x = (x * scale)?;
        }
        let mix = |layer: &Layer, x: &Tensor| layer.mix(pass, x, &angles);
        let finish = |layer: &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.lasts(), mix, finish)?;
        self.readout.forward(pass, &self.norm.forward(pass, &x)?)
    }

    fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        self.readout.counted(ids)
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
