//! The architectures that are served, one family a file.
//!
//! Owns the list of them. A new family is a file with a `load(weights, &config)` and a line in
//! [`SUPPORTED`]; names of tensors are those of the checkpoint. Must not know of text or requests.
//! Invariant: each name in the list has reference scores in `tests/fixtures`.

mod deberta;
mod deberta_attention;
mod deberta_config;
mod deberta_positions;
mod decoder;
mod decoder_config;
mod decoder_experts;
mod decoder_family;
mod encoder;
mod experts;
mod gpt2;
mod gpt_neox;
mod head;
mod modernbert;
mod post_norm;
mod readout;
mod stack;

use candle_core::Tensor;

use crate::config::Config;
use crate::error::LoadError;
use crate::layers::Pass;
use crate::weights::Weights;

/// How a model reads a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All tokens see each other: a conversation is a pair of texts.
    Encoder,
    /// Each token sees those before it: a conversation is a rendered chat.
    Decoder,
}

impl Kind {
    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }
}

/// A model that scores packed batches.
pub trait Architecture: Send + Sync + std::fmt::Debug {
    /// Logits `[sequences, labels]` of the batch of `pass`, whose sequences have at least one token each.
    ///
    /// # Errors
    /// When the tensor library or a kernel refuses; lengths and ids were checked before.
    fn forward(&self, pass: &Pass<'_>) -> candle_core::Result<Tensor>;

    /// The tokens of a sequence that its score depends on: the others are not computed.
    fn counted<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        ids
    }

    /// Whether what it computes for a token depends on that token and those before it alone, so that sequences which
    /// begin alike may share what they have in common.
    fn looks_back_alone(&self) -> bool {
        false
    }

    /// What it can be fed.
    fn inputs(&self) -> Inputs;
}

/// What an architecture can be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// How it reads a conversation.
    pub kind: Kind,
    /// Tokens that have a position.
    pub max_positions: usize,
    /// Token ids that have an embedding: all below this.
    pub vocabulary: usize,
    /// Segment ids that it tells apart: all below this; 0 where it is not fed any.
    pub segments: usize,
}

type Load = fn(&Weights, &Config) -> Result<Box<dyn Architecture>, LoadError>;

/// Names as in `config.json`, and what loads them.
const SUPPORTED: &[(&str, Load)] = &[
    ("BertForSequenceClassification", encoder::load),
    ("RobertaForSequenceClassification", encoder::load),
    ("XLMRobertaForSequenceClassification", encoder::load),
    ("DistilBertForSequenceClassification", encoder::load),
    ("ElectraForSequenceClassification", encoder::load),
    ("DebertaV2ForSequenceClassification", deberta::load),
    ("ModernBertForSequenceClassification", modernbert::load),
    ("LlamaForSequenceClassification", decoder::load),
    ("MistralForSequenceClassification", decoder::load),
    ("Qwen2ForSequenceClassification", decoder::load),
    ("Qwen3ForSequenceClassification", decoder::load),
    ("GemmaForSequenceClassification", decoder::load),
    ("Gemma2ForSequenceClassification", decoder::load),
    ("Gemma3TextForSequenceClassification", decoder::load),
    ("Olmo2ForSequenceClassification", decoder::load),
    ("Phi3ForSequenceClassification", decoder::load),
    ("MixtralForSequenceClassification", decoder::load),
    ("Qwen3MoeForSequenceClassification", decoder::load),
    ("GPTNeoXForSequenceClassification", gpt_neox::load),
    ("GPT2ForSequenceClassification", gpt2::load),
    ("INFORMForSequenceClassification", decoder::load),
    ("GRewardModel", decoder::load),
    ("RewardModel", decoder::load),
    ("LlamaForTokenClassification", decoder::load),
    ("MistralForTokenClassification", decoder::load),
    ("Qwen2ForTokenClassification", decoder::load),
    ("Qwen3ForTokenClassification", decoder::load),
    ("Qwen2ForRewardModel", decoder::load),
];

/// Names of the architectures that are served.
pub fn supported() -> impl Iterator<Item = &'static str> {
    SUPPORTED.iter().map(|(name, _)| *name)
}

/// Builds the model that `config` names.
///
/// # Errors
/// `UnsupportedFormat` for one that is not served, with the list of those that are;
/// `ModelInvalid` when the weights do not fit.
pub fn build(weights: &Weights, config: &Config) -> Result<Box<dyn Architecture>, LoadError> {
    let name = config.architecture.as_str();
    let (_, load) = SUPPORTED
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| {
            let list = supported().collect::<Vec<_>>().join(", ");
            LoadError::unsupported(format!("{name} is not served; served are: {list}"))
        })?;
    load(weights, config)
}
