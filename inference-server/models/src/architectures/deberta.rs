//! DeBERTa v2 and v3 (He et al. 2021): scores of attention are content to content, content to
//! relative position, and relative position to content.
//!
//! Owns relative positions. Source of the names and formulas: transformers
//! `models/deberta_v2/modeling_deberta_v2.py`. Invariant: what is not computed (the convolution of
//! v2-xlarge) is refused by name.

use candle_core::{Device, Result, Tensor};
use serde::Deserialize;

use super::head::DenseHead;
use super::post_norm::{Names, PostNormLayer, Sizes};
use super::{Architecture, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{Activation, Embedding, LayerNorm, Linear, softmax, split_heads};
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

#[derive(Clone, Debug, Deserialize)]
struct DebertaConfig {
    vocab_size: usize,
    hidden_size: usize,
    #[serde(default)]
    embedding_size: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: Activation,
    #[serde(default = "gelu")]
    pooler_hidden_act: Activation,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "eps")]
    layer_norm_eps: f64,
    #[serde(default)]
    relative_attention: bool,
    #[serde(default)]
    max_relative_positions: Option<i64>,
    #[serde(default)]
    position_buckets: Option<i64>,
    #[serde(default)]
    pos_att_type: Option<PositionTypes>,
    #[serde(default)]
    share_att_key: bool,
    #[serde(default)]
    norm_rel_ebd: Option<String>,
    #[serde(default = "yes")]
    position_biased_input: bool,
    #[serde(default)]
    conv_kernel_size: Option<i64>,
    #[serde(default)]
    attention_head_size: Option<usize>,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn positions() -> usize {
    512
}

const fn eps() -> f64 {
    1e-7
}

const fn yes() -> bool {
    true
}

/// Old files write `"c2p|p2c"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PositionTypes {
    One(String),
    Many(Vec<String>),
}

impl DebertaConfig {
    fn read(config: &Config) -> std::result::Result<Self, LoadError> {
        let config: Self = config.part()?;
        let width = head_width(config.hidden_size, config.num_attention_heads)?;
        for (field, count) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("position_buckets or max_relative_positions", config.span()),
        ] {
            check_count(field, count)?;
        }
        if config.conv_kernel_size.is_some_and(|size| size > 0) {
            return Err(LoadError::unsupported(
                "conv_kernel_size of DeBERTa-v2-xlarge is not served; models without convolution are",
            ));
        }
        if config.attention_head_size.is_some_and(|size| size != width) {
            return Err(LoadError::unsupported(
                "an attention_head_size of its own is not served; hidden_size / num_attention_heads is",
            ));
        }
        Ok(config)
    }

    fn has(&self, kind: &str) -> bool {
        match &self.pos_att_type {
            None => false,
            Some(PositionTypes::One(text)) => text
                .split('|')
                .any(|part| part.trim().eq_ignore_ascii_case(kind)),
            Some(PositionTypes::Many(list)) => list.iter().any(|part| part == kind),
        }
    }

    /// The farthest distance that is told apart.
    fn max_relative(&self) -> usize {
        let own = self.max_relative_positions.and_then(|n| n.try_into().ok());
        own.filter(|n| *n > 0)
            .unwrap_or(self.max_position_embeddings)
    }

    /// Distances are gathered in so many buckets on each side, where the file says so.
    fn buckets(&self) -> Option<usize> {
        let own = self.position_buckets.and_then(|n| n.try_into().ok());
        own.filter(|n| *n > 0)
    }

    /// Rows of one side of the table of relative positions.
    fn span(&self) -> usize {
        self.buckets().unwrap_or_else(|| self.max_relative())
    }
}

/// Makes the scores of relative positions in one layer.
#[derive(Debug)]
struct Relative {
    /// Keys of positions, `[heads, width, 2 span]`; there with c2p.
    keys: Option<Tensor>,
    /// Queries of positions, the same way; there with p2c.
    queries: Option<Tensor>,
}

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
        positions: match config.position_biased_input {
            true => Some(table(
                "position_embeddings",
                config.max_position_embeddings,
            )?),
            false => None,
        },
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

fn relative_table(
    weights: &Weights,
    encoder: &str,
    config: &DebertaConfig,
) -> std::result::Result<Tensor, LoadError> {
    let shape = [2 * config.span(), config.hidden_size];
    let table = weights.get(&format!("{encoder}.rel_embeddings.weight"), &shape)?;
    let normed = config
        .norm_rel_ebd
        .as_deref()
        .is_some_and(|kinds| kinds.split('|').any(|kind| kind.trim() == "layer_norm"));
    if !normed {
        return Ok(table);
    }
    let name = format!("{encoder}.LayerNorm");
    LayerNorm::load(weights, &name, config.hidden_size, config.layer_norm_eps)?
        .forward(&table)
        .map_err(LoadError::tensor(&name))
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

impl Relative {
    /// The table of positions is the same for every text, so that what a layer makes of it is
    /// computed here, once.
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &DebertaConfig,
        layer: &PostNormLayer,
        table: &Tensor,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        let own = |name: &str| -> std::result::Result<Tensor, LoadError> {
            let name = format!("{prefix}.attention.self.{name}");
            let linear = Linear::load(weights, &name, hidden, hidden)?;
            linear
                .forward(table)
                .and_then(|x| split_heads(&x, heads))
                .map_err(LoadError::tensor(&name))
        };
        let turned = |x: Tensor| {
            x.transpose(1, 2)
                .and_then(|x| x.contiguous())
                .map_err(LoadError::tensor(prefix))
        };
        let failed = || LoadError::tensor(prefix);
        let keys = match (config.has("c2p"), config.share_att_key) {
            (false, _) => None,
            (true, true) => Some(layer.keys(table).map_err(failed())?),
            (true, false) => Some(own("pos_key_proj")?),
        };
        let queries = match (config.has("p2c"), config.share_att_key) {
            (false, _) => None,
            (true, true) => Some(layer.queries(table).map_err(failed())?),
            (true, false) => Some(own("pos_query_proj")?),
        };
        Ok(Self {
            keys: keys.map(turned).transpose()?,
            queries: queries.map(turned).transpose()?,
        })
    }

    /// Adds to `scores`, `[heads, n, n]`; `rows` and `columns` are where a distance is in the table,
    /// by query and key, and by key and query.
    fn add(
        &self,
        mut scores: Tensor,
        (query, key): (&Tensor, &Tensor),
        (rows, columns): (&Tensor, &Tensor),
    ) -> Result<Tensor> {
        let shape = scores.shape().clone();
        if let Some(keys) = &self.keys {
            let index = rows.broadcast_as(&shape)?.contiguous()?;
            scores = (scores + query.matmul(keys)?.gather(&index, 2)?)?;
        }
        if let Some(queries) = &self.queries {
            let index = columns.broadcast_as(&shape)?.contiguous()?;
            let by_key = key.matmul(queries)?.gather(&index, 2)?;
            scores = (scores + by_key.transpose(1, 2)?.contiguous()?)?;
        }
        Ok(scores)
    }
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

/// How distances are put into the rows of the table.
struct Distances {
    buckets: Option<usize>,
    farthest: usize,
}

impl Distances {
    /// Rows of the distances `1 - tokens` to `tokens - 1`, in a table of `span` rows on each side.
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens and rows are below 2^24, and the row is clamped to be positive"
    )]
    fn rows(&self, tokens: usize, span: usize) -> Vec<u32> {
        let (tokens, span) = (tokens as i64, span as i64);
        (1 - tokens..tokens)
            .map(|distance| {
                self.bucket(distance)
                    .saturating_add(span)
                    .clamp(0, 2 * span - 1) as u32
            })
            .collect()
    }

    /// Near distances have a bucket of their own, far ones share them logarithmically. In f32, as
    /// transformers computes it.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_wrap,
        clippy::cast_possible_truncation,
        reason = "distances are below 2^24"
    )]
    fn bucket(&self, distance: i64) -> i64 {
        let Some(buckets) = self.buckets else {
            return distance;
        };
        let middle = (buckets / 2) as i64;
        if distance.abs() <= middle {
            return distance;
        }
        let half = middle as f32;
        let share =
            (distance.abs() as f32 / half).ln() / ((self.farthest as f32 - 1.0) / half).ln();
        let bucket = (share * (half - 1.0)).ceil() + half;
        (bucket as i64).saturating_mul(distance.signum())
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

    fn kind(&self) -> Kind {
        Kind::Encoder
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
