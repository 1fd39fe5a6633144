//! BERT (Devlin et al. 2018) with a classification head: embeddings, post-norm encoder layers, a
//! tanh pooler on the first token, one linear layer.
//!
//! `RoBERTa`, `XLM-R`, DistilBERT and Electra differ in embeddings, names and head, and belong here.
//! Source of the names and formulas: transformers `models/bert/modeling_bert.py`.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::Architecture;
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Activation, Embedding, LayerNorm, Linear, softmax};
use crate::weights::Weights;

#[derive(Clone, Debug, Deserialize)]
struct BertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: Activation,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "eps")]
    layer_norm_eps: f64,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn two() -> usize {
    2
}

const fn eps() -> f64 {
    1e-12
}

impl BertConfig {
    fn check(&self) -> std::result::Result<(), LoadError> {
        let heads = self.num_attention_heads;
        if heads == 0 || self.hidden_size == 0 || !self.hidden_size.is_multiple_of(heads) {
            return Err(LoadError::invalid(format!(
                "config.json: hidden_size {} cannot be divided into {heads} attention heads",
                self.hidden_size
            )));
        }
        if self.max_position_embeddings == 0 || self.type_vocab_size == 0 {
            return Err(LoadError::invalid(
                "config.json: max_position_embeddings and type_vocab_size must be at least 1",
            ));
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => Err(LoadError::unsupported(format!(
                "position_embedding_type {other:?} is not served; absolute is"
            ))),
        }
    }
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

#[derive(Debug)]
struct Bert {
    config: BertConfig,
    words: Embedding,
    positions: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    pooler: Linear,
    classifier: Linear,
}

/// Builds the model.
///
/// # Errors
/// `ModelInvalid` when config and weights do not fit each other.
pub(super) fn load(
    weights: &Weights,
    config: &Config,
) -> std::result::Result<Box<dyn Architecture>, LoadError> {
    let labels = config.labels.len();
    let config: BertConfig = config.part()?;
    config.check()?;
    // Checkpoints that were saved without the task's wrapper have no prefix.
    let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") {
        "bert."
    } else {
        ""
    };
    let (hidden, eps) = (config.hidden_size, config.layer_norm_eps);
    let embeddings = format!("{prefix}embeddings");
    let layers = (0..config.num_hidden_layers)
        .map(|i| Layer::load(weights, &format!("{prefix}encoder.layer.{i}"), &config))
        .collect::<std::result::Result<_, _>>()?;
    Ok(Box::new(Bert {
        words: Embedding::load(
            weights,
            &format!("{embeddings}.word_embeddings"),
            config.vocab_size,
            hidden,
        )?,
        positions: Embedding::load(
            weights,
            &format!("{embeddings}.position_embeddings"),
            config.max_position_embeddings,
            hidden,
        )?,
        segments: Embedding::load(
            weights,
            &format!("{embeddings}.token_type_embeddings"),
            config.type_vocab_size,
            hidden,
        )?,
        norm: LayerNorm::load(weights, &format!("{embeddings}.LayerNorm"), hidden, eps)?,
        layers,
        pooler: Linear::load(weights, &format!("{prefix}pooler.dense"), hidden, hidden)?,
        classifier: Linear::load(weights, "classifier", hidden, labels)?,
        config,
    }))
}

impl Layer {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &BertConfig,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, inner, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.layer_norm_eps,
        );
        let linear = |name: &str, input, output| {
            Linear::load(weights, &format!("{prefix}.{name}"), input, output)
        };
        let norm = |name: &str| LayerNorm::load(weights, &format!("{prefix}.{name}"), hidden, eps);
        Ok(Self {
            query: linear("attention.self.query", hidden, hidden)?,
            key: linear("attention.self.key", hidden, hidden)?,
            value: linear("attention.self.value", hidden, hidden)?,
            output: linear("attention.output.dense", hidden, hidden)?,
            attention_norm: norm("attention.output.LayerNorm")?,
            up: linear("intermediate.dense", hidden, inner)?,
            down: linear("output.dense", inner, hidden)?,
            output_norm: norm("output.LayerNorm")?,
        })
    }

    fn forward(&self, x: &Tensor, config: &BertConfig) -> Result<Tensor> {
        let attended = self.output.forward(&self.attend(x, config)?)?;
        let x = self.attention_norm.forward(&(attended + x)?)?;
        let inner = config.hidden_act.forward(&self.up.forward(&x)?)?;
        self.output_norm.forward(&(self.down.forward(&inner)? + x)?)
    }

    /// softmax(Q K^T / sqrt(d)) V, head by head.
    fn attend(&self, x: &Tensor, config: &BertConfig) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let heads = config.num_attention_heads;
        let width = hidden / heads;
        let split = |linear: &Linear| {
            linear
                .forward(x)?
                .reshape((tokens, heads, width))?
                .transpose(0, 1)?
                .contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a head is far narrower than 2^52"
        )]
        let scale = 1.0 / (width as f64).sqrt();
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? * scale)?;
        let mixed = softmax(&scores)?.matmul(&value)?;
        mixed
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, hidden))
    }
}

impl Architecture for Bert {
    fn forward(&self, ids: &[u32], type_ids: &[u32]) -> Result<Tensor> {
        let positions: Vec<u32> = (0..).take(ids.len()).collect();
        let embedded = (self.words.forward(ids)? + self.segments.forward(type_ids)?)?;
        let mut x = self
            .norm
            .forward(&(embedded + self.positions.forward(&positions)?)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.config)?;
        }
        let first = x.narrow(0, 0, 1)?.contiguous()?;
        let pooled = self.pooler.forward(&first)?.tanh()?;
        self.classifier.forward(&pooled)?.squeeze(0)
    }

    fn max_positions(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn segments(&self) -> usize {
        self.config.type_vocab_size
    }
}
