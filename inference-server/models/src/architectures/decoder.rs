//! Llama-like decoders with a head on the last token: Llama, Mistral, Qwen2, Qwen3, Gemma 1
//! to 3, `OLMo` 2, Phi 3, Mixtral and Qwen3-MoE, and the reward models with code of their own that are built on them (INF-ORM, GRM,
//! Qwen2.5-RM, OpenRLHF's).
//!
//! Owns the layers. Source of the names and formulas: transformers
//! `models/{llama,mistral,qwen2,qwen3,gemma,gemma2,gemma3,olmo2,phi3,mixtral,qwen3_moe}`. Invariant: what follows the token that the
//! readout reads cannot change the score and is not computed.

use candle_core::{Result, Tensor};

use super::decoder_config::DecoderConfig;
use super::decoder_family::{HeadNorms, Norms};
use super::experts::Experts;
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
    /// Whether its positions are those of layers that slide.
    local: bool,
    input_norm: Option<RmsNorm>,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Of queries and keys (Qwen3, Gemma 3, `OLMo` 2).
    head_norms: Option<(RmsNorm, RmsNorm)>,
    /// Of what attention gives (Gemma 2 and 3, `OLMo` 2).
    mixed_norm: Option<RmsNorm>,
    inner_norm: Option<RmsNorm>,
    /// Of what the feed-forward part gives.
    output_norm: Option<RmsNorm>,
    feed: Feed,
}

/// The feed-forward part of a layer.
#[derive(Debug)]
enum Feed {
    /// A gated layer, and the one behind it.
    Dense(Linear, Linear),
    /// Some of several for each token (Mixtral, Qwen3-MoE).
    Sparse(Experts),
}

#[derive(Debug)]
struct Decoder {
    words: Embedding,
    /// Embeddings are multiplied by it (Gemma).
    embedding_scale: Option<f64>,
    rotary: Rotary,
    /// That of layers that slide, where it is another one (Gemma 3).
    local_rotary: Option<Rotary>,
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
        local_rotary: match &config.local_rope {
            None => None,
            Some(rope) => Some(rope.rotary(config.width)?),
        },
        layers,
        norm: norm(weights, &format!("{prefix}norm"), config.hidden, &config)?,
        readout: Readout::load(weights, shared, config.hidden, config.pad)?,
        vocabulary: config.vocabulary,
        max_positions: config.max_positions,
    }))
}

fn embedding_scale(config: &DecoderConfig) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
    config.traits.gemma.then(|| (config.hidden as f64).sqrt())
}

fn norm(
    weights: &Weights,
    name: &str,
    width: usize,
    config: &DecoderConfig,
) -> std::result::Result<RmsNorm, LoadError> {
    let offset = if config.traits.gemma { 1.0 } else { 0.0 };
    RmsNorm::load(weights, name, width, config.eps, offset)
}

/// Queries, keys and values of one layer.
fn projections(
    weights: &Weights,
    prefix: &str,
    config: &DecoderConfig,
) -> std::result::Result<[Linear; 3], LoadError> {
    let queries = config.heads * config.width;
    let keys = config.groups * config.width;
    let bias = Bias::said(config.biases.inputs);
    if config.traits.fused {
        let name = format!("{prefix}.self_attn.qkv_proj");
        return Linear::load_joint(weights, &name, config.hidden, [queries, keys, keys], bias);
    }
    let linear = |name: &str, width| {
        let name = format!("{prefix}.self_attn.{name}");
        Linear::load(weights, &name, (config.hidden, width), bias)
    };
    Ok([
        linear("q_proj", queries)?,
        linear("k_proj", keys)?,
        linear("v_proj", keys)?,
    ])
}

/// The first half of the feed-forward part of one layer.
fn gated(
    weights: &Weights,
    prefix: &str,
    config: &DecoderConfig,
) -> std::result::Result<Linear, LoadError> {
    let sizes = (config.hidden, config.inner);
    let bias = Bias::said(config.biases.inner);
    let name = |name: &str| format!("{prefix}.mlp.{name}");
    if config.traits.fused {
        return Linear::load_gated_joint(weights, &name("gate_up_proj"), sizes, bias);
    }
    let names = (name("gate_proj"), name("up_proj"));
    Linear::load_gated(weights, (&names.0, &names.1), sizes, bias)
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
        let linear = |name: &str, input, output, bias| {
            let name = format!("{prefix}.{name}");
            Linear::load(weights, &name, (input, output), Bias::said(bias))
        };
        let norm = |name: &str, width| norm(weights, &format!("{prefix}.{name}"), width, config);
        let of_heads = |queries, keys| -> std::result::Result<_, LoadError> {
            let (q, k) = ("self_attn.q_norm", "self_attn.k_norm");
            Ok(Some((norm(q, queries)?, norm(k, keys)?)))
        };
        let traits = &config.traits;
        // What `OLMo` 2 and Gemma call behind attention is before the feed-forward part elsewhere.
        let (before, mixed, inside, after) = match traits.norms {
            Norms::Before => (true, None, Some("post_attention_layernorm"), false),
            Norms::After => (false, Some("post_attention_layernorm"), None, true),
            Norms::Around => (
                true,
                Some("post_attention_layernorm"),
                Some("pre_feedforward_layernorm"),
                true,
            ),
        };
        let maybe = |name: Option<&str>| name.map(|name| norm(name, hidden)).transpose();
        let [query, key, value] = projections(weights, prefix, config)?;
        Ok(Self {
            attention: config.attention(index),
            activation: config.activation,
            local: config.slides(index),
            input_norm: maybe(before.then_some("input_layernorm"))?,
            query,
            key,
            value,
            output: linear(
                "self_attn.o_proj",
                query_width,
                hidden,
                config.biases.output,
            )?,
            head_norms: match traits.head_norms {
                HeadNorms::None => None,
                HeadNorms::Each => of_heads(config.width, config.width)?,
                HeadNorms::Together => of_heads(query_width, config.groups * config.width)?,
            },
            mixed_norm: maybe(mixed)?,
            inner_norm: maybe(inside)?,
            output_norm: maybe(after.then_some("post_feedforward_layernorm"))?,
            feed: match config.sparse.as_ref().and_then(|all| all.of_layer(index)) {
                Some(choice) => Feed::Sparse(Experts::load(weights, prefix, hidden, choice)?),
                None => Feed::Dense(
                    gated(weights, prefix, config)?,
                    linear("mlp.down_proj", inner, hidden, config.biases.inner)?,
                ),
            },
        })
    }

    /// What attention makes of each token, before it is projected.
    fn mix(&self, pass: &Pass<'_>, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let x = normed(pass, self.input_norm.as_ref(), x)?;
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
        let x = onto(pass, &self.output, mixed, self.mixed_norm.as_ref(), x)?;
        let inner = normed(pass, self.inner_norm.as_ref(), &x)?;
        match &self.feed {
            Feed::Dense(gated, down) => {
                let inner = gated.activated(pass, &inner, self.activation)?;
                onto(pass, down, &inner, self.output_norm.as_ref(), &x)
            }
            Feed::Sparse(experts) => x + experts.forward(pass, &inner, self.activation)?,
        }
    }
}

/// What the norm makes of `x`, where there is one.
fn normed(pass: &Pass<'_>, norm: Option<&RmsNorm>, x: &Tensor) -> Result<Tensor> {
    match norm {
        None => Ok(x.clone()),
        Some(norm) => norm.forward(pass, x),
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
        let angles = self.rotary.at(pass)?;
        let mut x = self.words.forward(pass.batch().ids())?;
        if let Some(scale) = self.embedding_scale {
            x = (x * scale)?;
        }
        let local = self.local_rotary.as_ref().map(|rotary| rotary.at(pass));
        let local = local.transpose()?;
        let mix = |layer: &Layer, x: &Tensor| {
            let own = local.as_ref().filter(|_| layer.local);
            layer.mix(pass, x, own.unwrap_or(&angles))
        };
        let finish = |layer: &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.lasts(), mix, finish)?;
        self.readout.forward(pass, &self.norm.forward(pass, &x)?)
    }

    fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        self.readout.counted(ids)
    }

    fn looks_back_alone(&self) -> bool {
        let local = self.local_rotary.as_ref();
        self.rotary.is_of_positions_alone() && local.is_none_or(Rotary::is_of_positions_alone)
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
