//! `ModernBERT` (Warner et al. 2024): pre-norm layers with rotary positions and gated feed-forward,
//! most of which see only their neighbourhood.
//!
//! Owns the alternation of layers and the pooling. Source of the names and formulas: transformers
//! `models/modernbert/modeling_modernbert.py`. Invariant: both forms of the config, with
//! `global_attn_every_n_layers` and with `layer_types`, give the same layers.

use candle_core::{D, Result, Tensor};
use serde::Deserialize;

use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{
    Activation, Angles, Attention, Bias, Embedding, LayerNorm, Linear, Reach, Rotary, split_heads,
};
use crate::rope::Rope;
use crate::weights::Weights;

#[expect(
    clippy::struct_excessive_bools,
    reason = "they are members of the file"
)]
#[derive(Clone, Debug, Deserialize)]
struct ModernBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_activation: Activation,
    #[serde(default = "gelu")]
    classifier_activation: Activation,
    #[serde(default)]
    classifier_pooling: Pooling,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
    #[serde(default = "eps")]
    norm_eps: f64,
    #[serde(default = "local")]
    local_attention: usize,
    #[serde(default = "every")]
    global_attn_every_n_layers: usize,
    #[serde(default)]
    layer_types: Option<Vec<LayerType>>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    classifier_bias: bool,
    #[serde(default)]
    global_rope_theta: Option<f64>,
    #[serde(default)]
    local_rope_theta: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pooling {
    #[default]
    Cls,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LayerType {
    FullAttention,
    SlidingAttention,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn positions() -> usize {
    8_192
}

const fn eps() -> f64 {
    1e-5
}

const fn local() -> usize {
    128
}

const fn every() -> usize {
    3
}

impl ModernBertConfig {
    fn read(config: &Config) -> std::result::Result<Self, LoadError> {
        let config: Self = config.part()?;
        head_width(config.hidden_size, config.num_attention_heads)?;
        for (field, count) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("local_attention", config.local_attention),
            (
                "global_attn_every_n_layers",
                config.global_attn_every_n_layers,
            ),
            ("max_position_embeddings", config.max_position_embeddings),
        ] {
            check_count(field, count)?;
        }
        if let Some(types) = &config.layer_types
            && types.len() != config.num_hidden_layers
        {
            return Err(LoadError::invalid(format!(
                "config.json: layer_types has {} entries for {} layers",
                types.len(),
                config.num_hidden_layers
            )));
        }
        Ok(config)
    }

    fn layer_type(&self, layer: usize) -> LayerType {
        let listed = self.layer_types.as_ref().and_then(|types| types.get(layer));
        match listed {
            Some(listed) => *listed,
            None if layer.is_multiple_of(self.global_attn_every_n_layers) => {
                LayerType::FullAttention
            }
            None => LayerType::SlidingAttention,
        }
    }

    /// How far a layer of that type looks.
    const fn reach(&self, kind: LayerType) -> Reach {
        match kind {
            LayerType::FullAttention => Reach::All,
            LayerType::SlidingAttention => Reach::Around(self.local_attention / 2),
        }
    }
}

#[derive(Debug)]
struct Layer {
    kind: LayerType,
    attention: Attention,
    /// The first layer has none: the embeddings are normalised already.
    attention_norm: Option<LayerNorm>,
    joint: Linear,
    output: Linear,
    norm: LayerNorm,
    gated: Linear,
    down: Linear,
    heads: usize,
    activation: Activation,
}

/// Rotary positions of both types of layer.
#[derive(Debug)]
struct ByType<T> {
    full: T,
    sliding: T,
}

impl<T> ByType<T> {
    const fn of(&self, kind: LayerType) -> &T {
        match kind {
            LayerType::FullAttention => &self.full,
            LayerType::SlidingAttention => &self.sliding,
        }
    }
}

#[derive(Debug)]
struct ModernBert {
    config: ModernBertConfig,
    words: Embedding,
    norm: LayerNorm,
    rotary: ByType<Rotary>,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    dense: Linear,
    head_norm: LayerNorm,
    classifier: Linear,
}

/// Builds the model.
///
/// # Errors
/// `ModelInvalid` when config and weights do not fit each other.
pub(super) fn load(
    weights: &Weights,
    shared: &Config,
) -> std::result::Result<Box<dyn Architecture>, LoadError> {
    let config = ModernBertConfig::read(shared)?;
    let (hidden, eps) = (config.hidden_size, config.norm_eps);
    let width = head_width(hidden, config.num_attention_heads)?;
    let prefix = weights.prefix(&["model.", ""], "embeddings.tok_embeddings.weight");
    let norm_bias = Bias::said(config.norm_bias);
    let norm = |name: &str| LayerNorm::load(weights, name, hidden, eps, norm_bias);
    let layers = (0..config.num_hidden_layers)
        .map(|i| Layer::load(weights, &format!("{prefix}layers.{i}"), &config, i))
        .collect::<std::result::Result<_, _>>()?;
    let words = format!("{prefix}embeddings.tok_embeddings");
    let global = config.global_rope_theta.unwrap_or(160_000.0);
    // transformers gives local layers the global base where a file says null.
    let local = match config.local_rope_theta {
        Some(theta) => theta,
        None if shared.has("local_rope_theta") => global,
        None => 10_000.0,
    };
    Ok(Box::new(ModernBert {
        words: Embedding::load(weights, &words, config.vocab_size, hidden)?,
        norm: norm(&format!("{prefix}embeddings.norm"))?,
        rotary: ByType {
            full: Rope::read(shared, "full_attention", global, 1.0)?.rotary(width)?,
            sliding: Rope::read(shared, "sliding_attention", local, 1.0)?.rotary(width)?,
        },
        layers,
        final_norm: norm(&format!("{prefix}final_norm"))?,
        dense: Linear::load_full(
            weights,
            "head.dense",
            (hidden, hidden),
            Bias::said(config.classifier_bias),
        )?,
        head_norm: norm("head.norm")?,
        classifier: Linear::load_full(
            weights,
            "classifier",
            (hidden, shared.labels.len()),
            Bias::Needed,
        )?,
        config,
    }))
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &ModernBertConfig,
        index: usize,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, input, output, bias| {
            let name = format!("{prefix}.{name}");
            Linear::load(weights, &name, (input, output), Bias::said(bias))
        };
        let norm = |name: &str| {
            LayerNorm::load(
                weights,
                &format!("{prefix}.{name}"),
                hidden,
                config.norm_eps,
                Bias::said(config.norm_bias),
            )
        };
        let kind = config.layer_type(index);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head is far narrower than 2^52"
        )]
        let width = (hidden / config.num_attention_heads.max(1)) as f64;
        Ok(Self {
            kind,
            attention: Attention {
                scale: 1.0 / width.sqrt(),
                cap: None,
                reach: config.reach(kind),
            },
            attention_norm: match index {
                0 => None,
                _ => Some(norm("attn_norm")?),
            },
            joint: linear("attn.Wqkv", hidden, 3 * hidden, config.attention_bias)?,
            output: linear("attn.Wo", hidden, hidden, config.attention_bias)?,
            norm: norm("mlp_norm")?,
            gated: linear("mlp.Wi", hidden, 2 * inner, config.mlp_bias)?,
            down: linear("mlp.Wo", inner, hidden, config.mlp_bias)?,
            heads: config.num_attention_heads,
            activation: config.hidden_activation,
        })
    }

    fn forward(&self, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let joint = self.joint.forward(&normed)?;
        let hidden = joint.dim(D::Minus1)? / 3;
        let part = |i: usize| split_heads(&joint.narrow(1, i * hidden, hidden)?, self.heads);
        let (query, key) = (angles.turn(&part(0)?)?, angles.turn(&part(1)?)?);
        let mixed = self.attention.mix(&query, &key, &part(2)?)?;
        let x = (x + self.output.forward(&mixed)?)?;
        let gated = self.gated.forward(&self.norm.forward(&x)?)?;
        let inner = gated.dim(D::Minus1)? / 2;
        let input = self.activation.forward(&gated.narrow(1, 0, inner)?)?;
        let inner = (input * gated.narrow(1, inner, inner)?)?;
        x + self.down.forward(&inner)?
    }
}

impl Architecture for ModernBert {
    fn forward(&self, ids: &[u32], _type_ids: &[u32]) -> Result<Tensor> {
        let angles = ByType {
            full: self.rotary.full.at(ids.len())?,
            sliding: self.rotary.sliding.at(ids.len())?,
        };
        let mut x = self.norm.forward(&self.words.forward(ids)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, angles.of(layer.kind))?;
        }
        let x = self.final_norm.forward(&x)?;
        let pooled = match self.config.classifier_pooling {
            Pooling::Cls => x.narrow(0, 0, 1)?.contiguous()?,
            Pooling::Mean => x.mean_keepdim(0)?,
        };
        let dense = self.dense.forward(&pooled)?;
        let dense = self.config.classifier_activation.forward(&dense)?;
        self.classifier
            .forward(&self.head_norm.forward(&dense)?)?
            .squeeze(0)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            kind: Kind::Encoder,
            max_positions: self.config.max_position_embeddings,
            vocabulary: self.config.vocab_size,
            segments: 0,
        }
    }
}
