//! BERT (Devlin et al. 2018) and its kin, RoBERTa, XLM-R, DistilBERT and Electra, with a
//! classification head: embeddings, post-norm layers, a dense layer on the first token.
//!
//! Owns where they differ: names, embeddings, positions, heads. Source of the names and formulas:
//! transformers `models/{bert,roberta,distilbert,electra}`. Invariant: what a file leaves out has
//! the default of its family there.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::head::DenseHead;
use super::post_norm::{Names, PostNormLayer, Sizes};
use super::stack::through;
use super::{Architecture, Inputs, Kind};
use crate::config::{Config, check_count, head_width};
use crate::error::LoadError;
use crate::layers::{Activation, Attention, Bias, Embedding, LayerNorm, Linear, Pass, Reach};
use crate::weights::Weights;

const BERT: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Bert,
    Roberta,
    DistilBert,
    Electra,
}

impl Family {
    fn of(architecture: &str) -> Self {
        match architecture {
            "RobertaForSequenceClassification" | "XLMRobertaForSequenceClassification" => {
                Self::Roberta
            }
            "DistilBertForSequenceClassification" => Self::DistilBert,
            "ElectraForSequenceClassification" => Self::Electra,
            _ => Self::Bert,
        }
    }

    /// Checkpoints that were saved without the task's wrapper have no prefix.
    const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Bert => &["bert.", ""],
            Self::Roberta => &["roberta.", ""],
            Self::DistilBert => &["distilbert.", ""],
            Self::Electra => &["electra.", ""],
        }
    }

    fn head(
        self,
        weights: &Weights,
        prefix: &str,
        sizes: (usize, usize),
    ) -> std::result::Result<DenseHead, LoadError> {
        let pooler = format!("{prefix}pooler.dense");
        let names = match self {
            Self::Bert => (pooler.as_str(), Activation::Tanh, "classifier"),
            Self::Roberta => ("classifier.dense", Activation::Tanh, "classifier.out_proj"),
            Self::DistilBert => ("pre_classifier", Activation::Relu, "classifier"),
            Self::Electra => ("classifier.dense", Activation::Gelu, "classifier.out_proj"),
        };
        DenseHead::load(weights, names, sizes)
    }
}

#[derive(Clone, Debug, Deserialize)]
struct EncoderConfig {
    vocab_size: usize,
    hidden_size: usize,
    #[serde(default)]
    embedding_size: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    #[serde(default = "gelu")]
    hidden_act: Activation,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "eps")]
    layer_norm_eps: f64,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    is_decoder: bool,
}

/// DistilBERT names its sizes differently.
#[derive(Deserialize)]
struct DistilBertConfig {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    #[serde(default = "gelu")]
    activation: Activation,
    #[serde(default = "positions")]
    max_position_embeddings: usize,
}

const fn gelu() -> Activation {
    Activation::Gelu
}

const fn positions() -> usize {
    512
}

const fn two() -> usize {
    2
}

const fn eps() -> f64 {
    1e-12
}

impl From<DistilBertConfig> for EncoderConfig {
    fn from(config: DistilBertConfig) -> Self {
        Self {
            vocab_size: config.vocab_size,
            hidden_size: config.dim,
            embedding_size: None,
            num_hidden_layers: config.n_layers,
            num_attention_heads: config.n_heads,
            intermediate_size: config.hidden_dim,
            hidden_act: config.activation,
            max_position_embeddings: config.max_position_embeddings,
            type_vocab_size: 0,
            layer_norm_eps: eps(),
            position_embedding_type: None,
            pad_token_id: None,
            is_decoder: false,
        }
    }
}

impl EncoderConfig {
    fn read(family: Family, config: &Config) -> std::result::Result<Self, LoadError> {
        let config = match family {
            Family::DistilBert => config.part::<DistilBertConfig>()?.into(),
            Family::Bert | Family::Roberta | Family::Electra => config.part::<Self>()?,
        };
        head_width(config.hidden_size, config.num_attention_heads)?;
        for (field, count) in [
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
        ] {
            check_count(field, count)?;
        }
        if config.first_position(family) >= config.max_position_embeddings
            || (family != Family::DistilBert && config.type_vocab_size == 0)
        {
            return Err(LoadError::invalid(
                "config.json: max_position_embeddings leaves no position, or type_vocab_size is 0",
            ));
        }
        if config.is_decoder {
            return Err(LoadError::unsupported(
                "is_decoder is not served for this architecture: it would see only what is before",
            ));
        }
        match config.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(config),
            Some(other) => Err(LoadError::unsupported(format!(
                "position_embedding_type {other:?} is not served; absolute is"
            ))),
        }
    }

    fn pad(&self) -> u32 {
        self.pad_token_id.unwrap_or(1)
    }

    /// RoBERTa counts positions from behind its padding token's id.
    fn first_position(&self, family: Family) -> usize {
        match family {
            Family::Roberta => self.pad() as usize + 1,
            Family::Bert | Family::DistilBert | Family::Electra => 0,
        }
    }

    const fn sizes(&self) -> Sizes {
        Sizes {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            activation: self.hidden_act,
            eps: self.layer_norm_eps,
        }
    }
}

#[derive(Debug)]
struct Embeddings {
    words: Embedding,
    positions: Embedding,
    segments: Option<Embedding>,
    norm: LayerNorm,
    /// Electra's small models embed in fewer numbers than they compute in.
    project: Option<Linear>,
}

#[derive(Debug)]
struct Encoder {
    family: Family,
    config: EncoderConfig,
    embeddings: Embeddings,
    layers: Vec<PostNormLayer>,
    attention: Attention,
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
    let family = Family::of(&config.architecture);
    let labels = config.labels.len();
    let config = EncoderConfig::read(family, config)?;
    let prefix = weights.prefix(family.prefixes(), "embeddings.word_embeddings.weight");
    let (names, stack) = match family {
        Family::DistilBert => (&DISTILBERT, "transformer.layer"),
        Family::Bert | Family::Roberta | Family::Electra => (&BERT, "encoder.layer"),
    };
    let layers = (0..config.num_hidden_layers)
        .map(|i| {
            let prefix = format!("{prefix}{stack}.{i}");
            PostNormLayer::load(weights, &prefix, names, config.sizes())
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok(Box::new(Encoder {
        embeddings: Embeddings::load(weights, prefix, &config)?,
        layers,
        attention: Attention::plain(config.hidden_size, config.num_attention_heads, Reach::All),
        head: family.head(weights, prefix, (config.hidden_size, labels))?,
        family,
        config,
    }))
}

impl Embeddings {
    fn load(
        weights: &Weights,
        prefix: &str,
        config: &EncoderConfig,
    ) -> std::result::Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let width = config.embedding_size.unwrap_or(hidden);
        let name = |part: &str| format!("{prefix}embeddings.{part}");
        let table = |part: &str, rows: usize| Embedding::load(weights, &name(part), rows, width);
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            segments: match config.type_vocab_size {
                0 => None,
                rows => Some(table("token_type_embeddings", rows)?),
            },
            norm: LayerNorm::load(
                weights,
                &name("LayerNorm"),
                width,
                config.layer_norm_eps,
                Bias::Needed,
            )?,
            project: if width == hidden {
                None
            } else {
                let name = format!("{prefix}embeddings_project");
                Some(Linear::load(weights, &name, (width, hidden), Bias::Needed)?)
            },
        })
    }

    fn forward(&self, pass: &Pass<'_>, positions: &[u32]) -> Result<Tensor> {
        let mut x = self.words.forward(pass.batch().ids())?;
        if let Some(segments) = &self.segments {
            x = (x + segments.forward(pass.batch().type_ids())?)?;
        }
        let x = (x + self.positions.forward(positions)?)?;
        let x = self.norm.forward(pass, &x)?;
        match &self.project {
            Some(project) => project.forward(pass, &x),
            None => Ok(x),
        }
    }
}

impl Encoder {
    fn positions(&self, pass: &Pass<'_>) -> Vec<u32> {
        match self.family {
            Family::Roberta => {
                let sequences = pass.batch().sequences();
                let pad = self.config.pad();
                sequences
                    .flat_map(|(ids, _)| positions_after(pad, ids))
                    .collect()
            }
            Family::Bert | Family::DistilBert | Family::Electra => pass.positions(),
        }
    }
}

/// RoBERTa gives tokens that are its padding token no position of their own.
fn positions_after(pad: u32, ids: &[u32]) -> impl Iterator<Item = u32> {
    ids.iter().scan(pad, move |last, id| {
        if *id == pad {
            return Some(pad);
        }
        *last += 1;
        Some(*last)
    })
}

impl Architecture for Encoder {
    fn forward(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let x = self.embeddings.forward(pass, &self.positions(pass))?;
        let mix = |layer: &PostNormLayer, x: &Tensor| {
            let [query, key, value] = layer.project(pass, x)?;
            self.attention.mix(pass, &query, &key, &value)
        };
        let finish =
            |layer: &PostNormLayer, x: &Tensor, mixed: &Tensor| layer.finish(pass, x, mixed);
        let x = through(&self.layers, x, &pass.firsts(), mix, finish)?;
        self.head.forward(pass, &x)
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            kind: Kind::Encoder,
            max_positions: self.config.max_position_embeddings
                - self.config.first_position(self.family),
            vocabulary: self.config.vocab_size,
            segments: match self.family {
                // RoBERTa's tokenizers give none, and its one row is always the first.
                Family::Roberta | Family::DistilBert => 0,
                Family::Bert | Family::Electra => self.config.type_vocab_size,
            },
        }
    }
}
