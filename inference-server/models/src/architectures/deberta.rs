//! `DeBERTa` v2 and v3 (He et al. 2021): scores of attention are content to content, content to
//! relative position, and relative position to content.
//!
//! Owns embeddings, layers and head. Source of the names and formulas: transformers
//! `models/deberta_v2/modeling_deberta_v2.py`. Invariant: all scores of attention share one scale,
//! which counts their kinds.

use candle_core::{Device, Result, Tensor};

use super::deberta_config::DebertaConfig;
use super::deberta_positions::{Distances, Relative, relative_table};
use super::head::DenseHead;
use super::post_norm::{Names, PostNormLayer, Sizes};
use super::{Architecture, Inputs, Kind};
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Embedding, LayerNorm, Linear, softmax};
use crate::weights::Weights;

const NAMES: Names = Names {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

#[derive(Debug)]
struct Deberta {
    config: DebertaConfig,
    words: Embedding,
    positions: Option<Embedding>,
    segments: Option<Embedding>,
    project: Option<Linear>,
    norm: LayerNorm,
    layers: Vec<(PostNormLayer, Option<Relative>)>,
    scale: f64,
    head: DenseHead,
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
    let config = DebertaConfig::read(config)?;
    let prefix = weights.prefix(&["deberta.", ""], "embeddings.word_embeddings.weight");
    let hidden = config.hidden_size;
    let width = config.embedding_size.unwrap_or(hidden);
    let name = |part: &str| format!("{prefix}embeddings.{part}");
    let table = |part: &str, rows| Embedding::load(weights, &name(part), rows, width);
    let pooler = ("pooler.dense", config.pooler_hidden_act, "classifier");
    Ok(Box::new(Deberta {
        words: table("word_embeddings", config.vocab_size)?,
        positions: config
            .position_biased_input
            .then(|| table("position_embeddings", config.max_position_embeddings))
            .transpose()?,
        segments: match config.type_vocab_size {
            0 => None,
            rows => Some(table("token_type_embeddings", rows)?),
        },
        project: if width == hidden {
            None
        } else {
            Some(Linear::load(weights, &name("embed_proj"), width, hidden)?)
        },
        norm: LayerNorm::load(weights, &name("LayerNorm"), hidden, config.layer_norm_eps)?,
        layers: layers(weights, &format!("{prefix}encoder"), &config)?,
        scale: scale(&config),
        head: DenseHead::load(weights, pooler, (hidden, labels))?,
        config,
    }))
}

fn layers(
    weights: &Weights,
    encoder: &str,
    config: &DebertaConfig,
) -> std::result::Result<Vec<(PostNormLayer, Option<Relative>)>, LoadError> {
    let sizes = Sizes {
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        inner: config.intermediate_size,
        activation: config.hidden_act,
        eps: config.layer_norm_eps,
    };
    let table = config
        .relative_attention
        .then(|| relative_table(weights, encoder, config))
        .transpose()?;
    (0..config.num_hidden_layers)
        .map(|i| {
            let prefix = format!("{encoder}.layer.{i}");
            let layer = PostNormLayer::load(weights, &prefix, &NAMES, sizes)?;
            let relative = table
                .as_ref()
                .map(|table| Relative::load(weights, &prefix, config, &layer, table))
                .transpose()?;
            Ok((layer, relative))
        })
        .collect()
}

/// 1 / sqrt(width * kinds of scores).
fn scale(config: &DebertaConfig) -> f64 {
    let kinds = 1 + usize::from(config.has("c2p")) + usize::from(config.has("p2c"));
    let width = config.hidden_size / config.num_attention_heads.max(1);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a head is far narrower than 2^52"
    )]
    let product = (width * kinds) as f64;
    1.0 / product.sqrt()
}

impl Deberta {
    fn embed(&self, ids: &[u32], type_ids: &[u32]) -> Result<Tensor> {
        let mut x = self.words.forward(ids)?;
        if let Some(positions) = &self.positions {
            let all: Vec<u32> = (0..).take(ids.len()).collect();
            x = (x + positions.forward(&all)?)?;
        }
        if let Some(segments) = &self.segments {
            x = (x + segments.forward(type_ids)?)?;
        }
        if let Some(project) = &self.project {
            x = project.forward(&x)?;
        }
        self.norm.forward(&x)
    }

    /// Where the distance of each pair of tokens is in the table.
    fn distances(&self, tokens: usize) -> Result<Tensor> {
        let span = self.config.span();
        let rows: Vec<u32> = Distances {
            buckets: self.config.buckets(),
            farthest: self.config.max_relative(),
        }
        .rows(tokens, span);
        // Row q, column k is the distance q - k, which lies at tokens - 1 + q - k.
        let index: Vec<u32> = (0..tokens)
            .flat_map(|query| rows.iter().skip(query).take(tokens).rev().copied())
            .collect();
        Tensor::from_vec(index, (tokens, tokens), &Device::Cpu)
    }
}

impl Architecture for Deberta {
    fn forward(&self, ids: &[u32], type_ids: &[u32]) -> Result<Tensor> {
        let mut x = self.embed(ids, type_ids)?;
        let rows = self.distances(ids.len())?;
        let columns = rows.t()?.contiguous()?;
        for (layer, relative) in &self.layers {
            let (query, key) = (layer.queries(&x)?, layer.keys(&x)?);
            let mut scores = query.matmul(&key.transpose(1, 2)?.contiguous()?)?;
            if let Some(relative) = relative {
                scores = relative.add(scores, (&query, &key), (&rows, &columns))?;
            }
            let mixed = softmax(&(scores * self.scale)?)?.matmul(&layer.values(&x)?)?;
            let mixed = mixed
                .transpose(0, 1)?
                .contiguous()?
                .reshape((ids.len(), self.config.hidden_size))?;
            x = layer.finish(&x, &mixed)?;
        }
        self.head.forward(&x)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            kind: Kind::Encoder,
            // Distances beyond the table count as its farthest; only absolute positions have an end.
            max_positions: if self.config.position_biased_input {
                self.config.max_position_embeddings
            } else {
                usize::MAX
            },
            vocabulary: self.config.vocab_size,
            segments: self.config.type_vocab_size,
        }
    }
}
