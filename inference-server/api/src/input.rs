//! What is to be scored, in whatever dialect it was asked for.
//!
//! Owns the one form that all dialects are turned into. It must not know how a model reads it: a
//! conversation is a pair to an encoder and a rendered chat to a decoder, which only the model knows.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{Limits, Problem};

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

impl Input {
    /// A conversation where there is a prompt, else a text.
    pub fn answer(prompt: Option<String>, text: String) -> Self {
        match prompt {
            Some(prompt) => Self::Conversation {
                prompt,
                response: text,
            },
            None => Self::Text(text),
        }
    }

    /// All of its strings.
    pub fn strings_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Text(text) => vec![text],
            Self::Pair(first, second) => vec![first, second],
            Self::Conversation { prompt, response } => vec![prompt, response],
            Self::Messages(messages) => messages.iter_mut().map(|turn| &mut turn.content).collect(),
        }
    }

    /// What candidates of one prompt have in common: the prompt, the turns before the last answer, or
    /// where there is neither the text.
    pub fn key(&self) -> String {
        match self {
            Self::Text(text) | Self::Pair(text, _) => text.clone(),
            Self::Conversation { prompt, .. } => prompt.clone(),
            Self::Messages(messages) => {
                let last = messages.iter().rposition(|turn| turn.role == "assistant");
                let before = messages.iter().take(last.unwrap_or(messages.len()));
                let turns: Vec<_> = before.map(|turn| turn.content.as_str()).collect();
                turns.join("\n")
            }
        }
    }

    /// Bytes of all its strings.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Pair(first, second) => first.len() + second.len(),
            Self::Conversation { prompt, response } => prompt.len() + response.len(),
            Self::Messages(messages) => messages.iter().map(|turn| turn.content.len()).sum(),
        }
    }

    /// Checks its strings; `first` and `second` are what the dialect calls them.
    ///
    /// # Errors
    /// 422 when a string is too long, or a conversation has no turn.
    pub fn check(&self, limits: &Limits, first: &str, second: &str) -> Result<(), Problem> {
        match self {
            Self::Text(text) => limits.check_text(first, text),
            Self::Pair(text, pair) => {
                limits.check_text(first, text)?;
                limits.check_text(second, pair)
            }
            Self::Conversation { prompt, response } => {
                limits.check_text(second, prompt)?;
                limits.check_text(first, response)
            }
            Self::Messages(messages) if messages.is_empty() => Err(Problem::unprocessable(
                "messages is empty: send at least one turn",
            )),
            Self::Messages(messages) => messages
                .iter()
                .try_for_each(|message| limits.check_text("messages", &message.content)),
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what the chat template knows.
    pub role: String,
    /// What was said; a list of `{"type": "text", "text"}` parts is taken too.
    #[serde(deserialize_with = "content")]
    pub content: String,
}

/// The parts that `OpenAI` clients may send in place of a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let wrong = "content must be a string, or a list of {\"type\": \"text\", \"text\"} parts";
    match Content::deserialize(deserializer) {
        Ok(Content::Text(text)) => Ok(text),
        Ok(Content::Parts(parts)) => Ok(parts
            .into_iter()
            .map(|Part::Text { text }| text)
            .collect::<Vec<_>>()
            .join("\n")),
        Err(_) => Err(serde::de::Error::custom(wrong)),
    }
}

/// One string or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "send a string or a list of strings")]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    /// As a list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The beginning.
    Left,
    /// The end.
    Right,
    /// Neither: a long input is refused.
    Reject,
}

/// All of them checked; a wrong one is named by its index.
pub(crate) fn check_all(
    inputs: Vec<Input>,
    limits: &Limits,
    first: &str,
    second: &str,
) -> Result<Vec<Input>, Problem> {
    for (index, input) in inputs.iter().enumerate() {
        input
            .check(limits, first, second)
            .map_err(|problem| problem.at(index))?;
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_turn_is_a_string_or_text_parts() {
        let turn = |body: &str| serde_json::from_str::<Message>(body);
        assert_eq!(
            turn(r#"{"role":"user","content":"a"}"#).unwrap().content,
            "a"
        );
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"x"}"#;
        assert_eq!(turn(parts).unwrap().content, "a\nb");
        for content in [
            "null",
            "1",
            r#"[{"type":"image_url","image_url":{}}]"#,
            "{}",
        ] {
            let body = format!(r#"{{"role":"user","content":{content}}}"#);
            let error = turn(&body).unwrap_err().to_string();
            assert!(error.contains("content must be"), "{error}");
        }
    }

    #[test]
    fn a_conversation_without_a_turn_is_refused() {
        let limits = Limits {
            max_characters: 1,
            max_batch: 1,
        };
        let problem = Input::Messages(Vec::new())
            .check(&limits, "text", "context")
            .unwrap_err();
        assert_eq!(problem.status, 422);
    }
}
