//! `ModernBERT` (Warner et al. 2024): pre-norm layers with rotary positions and gated feed-forward,
//! most of which see only their neighbourhood.
//!
//! Owns the alternation of layers and the pooling. Source of the names and formulas: transformers
//! `models/modernbert/modeling_modernbert.py`. Invariant: both forms of the config, with
//! `global_attn_every_n_layers` and with `layer_types`, give the same layers.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{
    Activation, Angles, Attention, Bias, Embedding, LayerNorm, Linear, Pass, Reach, Rotary, means,
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
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    gated: Linear,
    down: Linear,
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
        let [query, key, value] = Linear::load_three(
            weights,
            &format!("{prefix}.attn.Wqkv"),
            (hidden, hidden),
            Bias::said(config.attention_bias),
            |part, i| part * hidden + i,
        )?;
        Ok(Self {
            kind,
            attention: Attention::plain(hidden, config.num_attention_heads, config.reach(kind)),
            attention_norm: match index {
                0 => None,
                _ => Some(norm("attn_norm")?),
            },
            query,
            key,
            value,
            output: linear("attn.Wo", hidden, hidden, config.attention_bias)?,
            norm: norm("mlp_norm")?,
            gated: Linear::load_gated_joint(
                weights,
                &format!("{prefix}.mlp.Wi"),
                (hidden, inner),
                Bias::said(config.mlp_bias),
            )?,
            down: linear("mlp.Wo", inner, hidden, config.mlp_bias)?,
            activation: config.hidden_activation,
        })
    }

    /// What attention makes of each token, before it is projected.
    fn mix(&self, pass: &Pass<'_>, x: &Tensor, angles: &Angles) -> Result<Tensor> {
        let x = match &self.attention_norm {
            Some(norm) => norm.forward(pass, x)?,
            None => x.clone(),
        };
        let width = self.attention.width;
        let query = angles.turn(pass, &self.query.forward(pass, &x)?, width)?;
        let key = angles.turn(pass, &self.key.forward(pass, &x)?, width)?;
        let value = self.value.forward(pass, &x)?;
        self.attention.mix(pass, &query, &key, &value)
    }

    /// What follows: `x` is the layer's input, `mixed` what attention made of it; of all tokens, or of some.
    fn finish(&self, pass: &Pass<'_>, x: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let x = self.output.onto(pass, mixed, x)?;
        let normed = self.norm.forward(pass, &x)?;
        let inner = self.gated.activated(pass, &normed, self.activation)?;
        self.down.onto(pass, &inner, &x)
    }
}

impl Architecture for ModernBert {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let angles = ByType {
            full: self.rotary.full.at(pass)?,
            sliding: self.rotary.sliding.at(pass)?,
        };
        let x = self.words.forward(pass.batch().ids())?;
        let x = self.norm.forward(pass, &x)?;
        let mix = |layer: &Layer, x: &Tensor| layer.mix(pass, x, angles.of(layer.kind));
        let finish = |layer: &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let pooling = self.config.classifier_pooling;
        let read = match pooling {
            Pooling::Cls => pass.firsts(),
            Pooling::Mean => (0..).take(pass.batch().tokens()).collect(),
        };
        let x = through(&self.layers, x, &read, mix, finish)?;
        let x = self.final_norm.forward(pass, &x)?;
        let pooled = match pooling {
            Pooling::Cls => x,
            Pooling::Mean => means(pass, &x)?,
        };
        let activation = self.config.classifier_activation;
        let dense = self.dense.activated(pass, &pooled, activation)?;
        self.classifier
            .forward(pass, &self.head_norm.forward(pass, &dense)?)
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
