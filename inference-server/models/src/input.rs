//! What is scored, how it may be encoded, and why it may not be.
//!
//! Owns the words that callers use. Must not know of tokenizers or models.

use std::collections::BTreeMap;

use minijinja::Value;

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
    Messages(Chat),
}

/// A conversation with what its template may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    /// The turns.
    pub messages: Vec<ChatMessage>,
    /// What else the template sees.
    pub options: ChatOptions,
}

impl Chat {
    /// A question and its answer.
    pub fn of(prompt: &str, response: &str) -> Self {
        let turns = vec![
            ChatMessage::new("user", prompt),
            ChatMessage::new("assistant", response),
        ];
        Self::from(turns)
    }

    /// What it holds beside two texts, by name.
    pub fn more_than_texts(&self) -> Option<String> {
        let options = &self.options;
        let asked = [
            ("tools", options.tools.is_some()),
            ("documents", options.documents.is_some()),
            ("chat_template_kwargs", !options.kwargs.is_empty()),
            ("add_generation_prompt", options.add_generation_prompt),
            ("continue_final_message", options.continue_final_message),
        ];
        let asked = asked.into_iter().find(|(_, asked)| *asked);
        asked.map(|(name, _)| name.to_owned()).or_else(|| {
            let mut turns = self.messages.iter();
            turns.find_map(ChatMessage::more_than_text)
        })
    }
}

impl From<Vec<ChatMessage>> for Chat {
    fn from(messages: Vec<ChatMessage>) -> Self {
        Self {
            messages,
            options: ChatOptions::default(),
        }
    }
}

/// What a chat template is told beside the turns, as transformers' `apply_chat_template` passes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// What the assistant may call.
    pub tools: Option<Value>,
    /// What the assistant may read.
    pub documents: Option<Value>,
    /// Names and values of the template's own.
    pub kwargs: BTreeMap<String, Value>,
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Whether the text ends where the last turn's content does.
    pub continue_final_message: bool,
}

/// One turn of a conversation: its members in order, as the template sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage(Vec<(String, Value)>);

impl ChatMessage {
    /// Who said what.
    pub fn new(role: &str, content: &str) -> Self {
        Self(vec![
            ("role".to_owned(), Value::from(role)),
            ("content".to_owned(), Value::from(content)),
        ])
    }

    /// A turn with these members; later ones count where two have a name.
    pub fn of_members(members: Vec<(String, Value)>) -> Self {
        Self(members)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let mut members = self.0.iter().rev();
        members
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// Who said it.
    pub fn role(&self) -> &str {
        self.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// What was said, where something was.
    pub fn content(&self) -> Option<&str> {
        self.get("content")?.as_str()
    }

    /// The name of a member beside role and content that says something.
    fn more_than_text(&self) -> Option<String> {
        let mut members = self.0.iter();
        let more = members
            .find(|(name, value)| !matches!(name.as_str(), "role" | "content") && !value.is_none());
        more.map(|(name, _)| name.clone())
    }

    /// As templates see it. Reasoning has several names in clients and templates: transformers fills
    /// in those that templates read.
    pub(crate) fn value(&self) -> Value {
        let names = ["reasoning_content", "thinking", "reasoning"];
        let mut said = names.into_iter().filter_map(|name| self.get(name));
        let Some(reasoning) = said.find(|value| !value.is_none()) else {
            return Value::from_pairs(self.0.clone());
        };
        let mut members = vec![("thinking".to_owned(), reasoning.clone())];
        members.extend(self.0.iter().cloned());
        members.push(("reasoning_content".to_owned(), reasoning.clone()));
        Value::from_pairs(members)
    }

    /// The same, with `tag` behind what was said; `None` where nothing was.
    pub(crate) fn tagged(&self, tag: &str) -> Option<Self> {
        let content = format!("{}{tag}", self.content()?);
        let mut members = self.0.clone();
        members.push(("content".to_owned(), Value::from(content)));
        Some(Self(members))
    }
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
    /// Tokens that the first of two texts, or the prompt, is cut to.
    pub max_first: Option<usize>,
    /// Tokens that the second of two texts, or the answer, is cut to.
    pub max_second: Option<usize>,
    /// Whether a text loses the tokens that end it and fill it up at both ends, and gets one that
    /// ends it.
    pub clean_ends: bool,
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
    /// An encoder reads texts, and nothing beside them.
    #[error("this model reads a conversation as two texts, and has no use for {0}: remove it")]
    NotInTwoTexts(String),
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
