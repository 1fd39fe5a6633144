//! What is to be scored, in whatever dialect it was asked for.
//!
//! Owns the one form that all dialects are turned into. It must not know how a model reads it: a
//! conversation is a pair to an encoder and a rendered chat to a decoder, which only the model knows.

use serde::{Deserialize, Serialize};

/// What is to be scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// One text, as it is.
    Text(String),
    /// The tokenizer's own pair.
    Pair(String, String),
    /// A prompt and an answer.
    Conversation {
        /// What was asked.
        prompt: String,
        /// What was answered.
        response: String,
    },
    /// A conversation of any number of turns.
    Messages(Vec<Message>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what the chat template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How the inputs of one request are turned into tokens, where it differs from the server's
/// settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Whether the tokenizer adds its special tokens; by default it does, except to rendered chats.
    pub add_special_tokens: Option<bool>,
    /// Lowers the number of tokens that an input is cut to.
    pub max_tokens: Option<usize>,
    /// Which side is cut.
    pub truncation: Option<Side>,
}

/// Which side of a long input is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The beginning.
    Left,
    /// The end.
    Right,
    /// Neither: a long input is refused.
    Reject,
}
