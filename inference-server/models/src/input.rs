//! What is scored, how it may be encoded, and why it may not be.
//!
//! Owns the words that callers use. Must not know of tokenizers or models.

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
    /// Lowers the number of tokens that an input is cut to; it cannot raise it.
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
    /// The limit of the request leaves no room for the text.
    #[error("max_tokens {limit} leaves no room beside {special} special tokens: raise it")]
    NoRoom {
        /// What is allowed.
        limit: usize,
        /// What the tokenizer adds.
        special: usize,
    },
    /// The model cannot tell two texts apart.
    #[error("this model has no form for two texts: send one text")]
    NoPairs,
    /// An encoder reads a conversation as two texts.
    #[error(
        "this model reads a conversation as two texts: send one message of the user and then one of the assistant"
    )]
    NoPairOfTurns,
    /// There is nothing that turns a conversation into text.
    #[error("no chat template: send text, or set --prompt-template")]
    NoTemplate,
    /// The conversation has no turn.
    #[error("there is no message: send at least one")]
    NoMessages,
    /// The template raised, looped, or cannot take such messages.
    #[error("the chat template refuses these messages: {0}")]
    Template(String),
    /// The tokenizer refused.
    #[error("the text cannot be encoded: {0}")]
    Tokenizer(String),
}
