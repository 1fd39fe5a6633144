//! `DeBERTa` v2 and v3 (He et al. 2021): scores of attention are content to content, content to
//! relative position, and relative position to content.
//!
//! Owns embeddings, layers and head. Source of the names and formulas: transformers
//! `models/deberta_v2/modeling_deberta_v2.py`. Invariant: all scores of attention share one scale,
//! which counts their kinds.

use candle_core::{Result, Tensor};

use super::deberta_attention::RelativeAttention;
use super::deberta_config::DebertaConfig;
use super::deberta_positions::{Buckets, Places, Relative, relative_table};
use super::head::DenseHead;
use super::post_norm::{Names, PostNormLayer, Sizes};
use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::Config;
use crate::error::LoadError;
use crate::layers::{Bias, Embedding, LayerNorm, Linear, Pass};
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
    attention: RelativeAttention,
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
        attention: RelativeAttention {
            heads: config.num_attention_heads,
            scale: scale(&config),
        },
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
    fn embed(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let mut x = self.words.forward(pass.batch().ids())?;
        if let Some(positions) = &self.positions {
            x = (x + positions.forward(&pass.positions())?)?;
        }
        if let Some(segments) = &self.segments {
            x = (x + segments.forward(pass.batch().type_ids())?)?;
        }
        if let Some(project) = &self.project {
            x = project.forward(pass, &x)?;
        }
        self.norm.forward(pass, &x)
    }

    /// Where each distance of so many tokens is in the table.
    fn distances(&self, tokens: usize) -> Vec<u32> {
        let buckets = Buckets {
            buckets: self.config.buckets(),
            farthest: self.config.max_relative(),
        };
        buckets.rows(tokens, self.config.span())
    }
}

impl Architecture for Deberta {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let x = self.embed(pass)?;
        let places = Places::of(pass, |tokens| self.distances(tokens))?;
        let mix = |(layer, relative): &Layer, x: &Tensor| {
            let projected = layer.project(pass, x)?;
            self.attention
                .mix(pass, &projected, relative.as_ref(), &places)
        };
        let finish = |(layer, _): &Layer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.firsts(), mix, finish)?;
        self.head.forward(pass, &x)
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
