//! `DeBERTa` v2 and v3 (He et al. 2021): scores of attention are content to content, content to
//! relative position, and relative position to content.
//!
//! Owns embeddings, layers and head. Source of the names and formulas: transformers
//! `models/deberta_v2/modeling_deberta_v2.py`. Invariant: all scores of attention share one scale,
//! which counts their kinds.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::deberta_config::DebertaConfig;
use super::deberta_positions::{Distances, Relative, relative_table};
use super::head::DenseHead;
use super::post_norm::{Names, PostNormLayer, Sizes};
use super::{Architecture, Inputs, Kind};
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Bias, Embedding, LayerNorm, Linear, blocks, softmax};
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

type Layer = (PostNormLayer, Option<Relative>);

#[derive(Debug)]
struct Deberta {
    config: DebertaConfig,
    words: Embedding,
    positions: Option<Embedding>,
    segments: Option<Embedding>,
    project: Option<Linear>,
    norm: LayerNorm,
    layers: Vec<Layer>,
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
            Some(Linear::load(
                weights,
                &name("embed_proj"),
                (width, hidden),
                Bias::Absent,
            )?)
        },
        norm: LayerNorm::load(
            weights,
            &name("LayerNorm"),
            hidden,
            config.layer_norm_eps,
            Bias::Needed,
        )?,
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
) -> std::result::Result<Vec<Layer>, LoadError> {
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

    /// Where each distance of so many tokens is in the table.
    fn distances(&self, tokens: usize) -> Vec<u32> {
        let distances = Distances {
            buckets: self.config.buckets(),
            farthest: self.config.max_relative(),
        };
        distances.rows(tokens, self.config.span())
    }

    /// What attention makes of the values: block after block of queries, for all scores of a long text
    /// would take more memory than there is.
    fn mix(&self, x: &Tensor, layer: &Layer, rows: &[u32]) -> Result<Tensor> {
        let (layer, relative) = layer;
        let tokens = x.dim(0)?;
        let (query, key, value) = (layer.queries(x)?, layer.keys(x)?, layer.values(x)?);
        let turned = key.transpose(1, 2)?.contiguous()?;
        let by_key = match relative {
            Some(relative) => relative.by_key(&key)?,
            None => None,
        };
        let block = |queries: Range<usize>| {
            let query = query.narrow(1, queries.start, queries.len())?;
            let query = query.contiguous()?;
            let mut scores = query.matmul(&turned)?;
            if let Some(relative) = relative {
                let places = places(rows, queries, tokens)?;
                scores = relative.add(scores, &query, by_key.as_ref(), &places)?;
            }
            softmax(&(scores * self.scale)?)?.matmul(&value)
        };
        let blocks = blocks(self.config.num_attention_heads, tokens).map(block);
        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 1)?
            .transpose(0, 1)?
            .contiguous()?
            .reshape((tokens, self.config.hidden_size))
    }
}

/// Where in the table the distance of each of `queries` to each of `tokens` keys is.
fn places(rows: &[u32], queries: Range<usize>, tokens: usize) -> Result<Tensor> {
    let size = (queries.len(), tokens);
    // Row q, column k is the distance q - k, which lies at tokens - 1 + q - k.
    let index: Vec<u32> = queries
        .flat_map(|query| rows.iter().skip(query).take(tokens).rev().copied())
        .collect();
    Tensor::from_vec(index, size, &Device::Cpu)
}

impl Architecture for Deberta {
    fn forward(&self, ids: &[u32], type_ids: &[u32]) -> Result<Tensor> {
        let mut x = self.embed(ids, type_ids)?;
        let rows = self.distances(ids.len());
        for layer in &self.layers {
            let mixed = self.mix(&x, layer, &rows)?;
            x = layer.0.finish(&x, &mixed)?;
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
