//! Text to token ids, as `tokenizer.json` says.
//!
//! Owns truncation. Invariants: special tokens survive truncation; what is answered fits the model's
//! positions; truncation and padding that the file itself asks for are switched off, for they are
//! settings of training.

use tokenizers::{
    EncodeInput, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy,
};

use crate::error::LoadError;

/// Which side of a long input is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// The end; of a pair, the longer text first.
    #[default]
    Right,
    /// The beginning.
    Left,
    /// None: a long input is refused.
    Reject,
}

/// What is to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextInput {
    /// One text.
    Text(String),
    /// Two texts, in the tokenizer's pair form.
    Pair(String, String),
    /// A prompt and its answer: a pair to an encoder, a rendered chat to a decoder.
    Conversation {
        /// What was asked.
        prompt: String,
        /// What was answered.
        response: String,
    },
    /// A conversation of any number of turns.
    Messages(Vec<ChatMessage>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who said it.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// Where one request differs from the settings of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether special tokens are added; by default they are, except to rendered chats.
    pub add_special_tokens: Option<bool>,
    /// Lowers the number of tokens that an input is cut to.
    pub max_tokens: Option<usize>,
    /// Which side is cut.
    pub truncation: Option<Truncation>,
}

/// Token ids of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment ids, as many.
    pub type_ids: Vec<u32>,
    /// Whether something was cut.
    pub truncated: bool,
}

/// Why an input cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It has no tokens.
    #[error("the text encodes to no token: send a text with content")]
    Empty,
    /// It is longer than allowed, and truncation is `Reject`.
    #[error("the text has {tokens} tokens, {limit} are allowed: shorten it, or allow truncation")]
    TooLong {
        /// What it has.
        tokens: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The model cannot tell two texts apart.
    #[error("this model has no form for two texts: send one text")]
    NoPairs,
    /// The tokenizer refused.
    #[error("the text cannot be encoded: {0}")]
    Tokenizer(String),
}

/// The tokenizer of a model with its limits.
#[derive(Debug)]
pub struct InputTokenizer {
    tokenizer: Tokenizer,
    max_tokens: usize,
    truncation: Truncation,
    /// How many segment ids the model tells apart; `None` where it is fed none.
    segments: Option<usize>,
}

impl InputTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// `ModelInvalid` when it cannot be read, or does not fit the model's `vocabulary`.
    pub fn parse(bytes: &[u8], vocabulary: usize) -> Result<Tokenizer, LoadError> {
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| {
            LoadError::invalid(format!("tokenizer.json cannot be read ({error}): copy it again from where the model was trained"))
        })?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| LoadError::invalid(format!("tokenizer.json: {error}")))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if usize::try_from(largest).map_or(true, |largest| largest >= vocabulary) {
            return Err(LoadError::invalid(format!(
                "tokenizer.json has the token id {largest}, the embedding has {vocabulary} rows: tokenizer and weights belong to different models"
            )));
        }
        Ok(tokenizer)
    }

    /// A tokenizer that cuts at `max_tokens`, for a model that tells `segments` segment ids apart, or
    /// is fed none.
    ///
    /// # Errors
    /// `LoadFailed` when nothing would be left beside the special tokens.
    pub fn new(
        mut tokenizer: Tokenizer,
        max_tokens: usize,
        truncation: Truncation,
        segments: Option<usize>,
    ) -> Result<Self, LoadError> {
        let special = special_tokens(&tokenizer);
        if max_tokens <= special {
            return Err(LoadError::new(
                crate::error::Reason::LoadFailed,
                format!(
                    "--max-tokens {max_tokens} leaves no room beside {special} special tokens: raise it"
                ),
            ));
        }
        let direction = match truncation {
            Truncation::Right => Some(TruncationDirection::Right),
            Truncation::Left => Some(TruncationDirection::Left),
            Truncation::Reject => None,
        };
        let params = direction.map(|direction| TruncationParams {
            direction,
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        });
        tokenizer
            .with_truncation(params)
            .map_err(|error| LoadError::invalid(format!("tokenizer.json: {error}")))?;
        Ok(Self {
            tokenizer,
            max_tokens,
            truncation,
            segments,
        })
    }

    /// The most tokens of one input.
    pub const fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Encodes one input with the tokenizer's special tokens.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn encode(
        &self,
        input: &TextInput,
        _options: EncodeOptions,
    ) -> Result<Encoded, InputError> {
        let input: EncodeInput<'_> = match input {
            TextInput::Text(text) => text.as_str().into(),
            TextInput::Pair(first, second)
            | TextInput::Conversation {
                prompt: first,
                response: second,
            } => (first.as_str(), second.as_str()).into(),
            TextInput::Messages(_) => return Err(InputError::NoPairs),
        };
        let encoding = self
            .tokenizer
            .encode(input, true)
            .map_err(|error| InputError::Tokenizer(error.to_string()))?;
        let encoded = Encoded {
            ids: encoding.get_ids().to_vec(),
            type_ids: match self.segments {
                Some(_) => encoding.get_type_ids().to_vec(),
                None => vec![0; encoding.len()],
            },
            truncated: !encoding.get_overflowing().is_empty(),
        };
        self.check(encoded)
    }

    fn check(&self, encoded: Encoded) -> Result<Encoded, InputError> {
        let tokens = encoded.ids.len();
        let segments = encoded
            .type_ids
            .iter()
            .max()
            .map_or(0, |id| *id as usize + 1);
        if tokens == 0 {
            Err(InputError::Empty)
        } else if self.segments.is_some_and(|known| segments > known) {
            Err(InputError::NoPairs)
        } else if self.truncation == Truncation::Reject && tokens > self.max_tokens {
            Err(InputError::TooLong {
                tokens,
                limit: self.max_tokens,
            })
        } else {
            Ok(encoded)
        }
    }
}

/// Special tokens of a pair, the most that are ever added.
fn special_tokens(tokenizer: &Tokenizer) -> usize {
    use tokenizers::PostProcessor;
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(true))
}
