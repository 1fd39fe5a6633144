//! Conversations as clients send them: turns, and what their template is told.
//!
//! Owns which members a turn may have. Must not know of templates. Invariant: whatever a client
//! says of a turn is carried on, in its order.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::json::{Json, Members};
use crate::{Limits, Problem};

const PARTS: &str =
    "content must be a string, null, or a list of {\"type\": \"text\", \"text\"} parts";

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    /// The turns.
    pub messages: Vec<Message>,
    /// What the template is told beside them.
    pub options: ChatOptions,
}

/// What a chat template is told beside the turns, as transformers' `apply_chat_template` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// What the assistant may call: objects.
    pub tools: Option<Vec<Members>>,
    /// What the assistant may read: objects.
    pub documents: Option<Vec<Members>>,
    /// Names and values of the template's own.
    pub chat_template_kwargs: Option<Members>,
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: Option<bool>,
    /// Whether the text ends where the last turn's content does.
    pub continue_final_message: Option<bool>,
}

impl ChatOptions {
    /// The name of one that is set.
    pub fn any(&self) -> Option<&'static str> {
        let set = [
            ("tools", self.tools.is_some()),
            ("documents", self.documents.is_some()),
            ("chat_template_kwargs", self.chat_template_kwargs.is_some()),
            (
                "add_generation_prompt",
                self.add_generation_prompt == Some(true),
            ),
            (
                "continue_final_message",
                self.continue_final_message == Some(true),
            ),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }

    /// Refuses them where there are no messages.
    ///
    /// # Errors
    /// 422 with the name of one.
    pub fn require_none(&self) -> Result<(), Problem> {
        match self.any() {
            None => Ok(()),
            Some(name) => Err(Problem::unprocessable(format!(
                "{name} is for messages: send messages, or remove it"
            ))),
        }
    }

    fn lists(&self) -> impl Iterator<Item = &Members> {
        let both = [&self.tools, &self.documents].into_iter().flatten();
        both.flatten().chain(&self.chat_template_kwargs)
    }
}

impl Chat {
    /// All of its strings.
    pub fn strings_mut(&mut self) -> Vec<&mut String> {
        let mut all = Vec::new();
        for message in &mut self.messages {
            message.0.strings_mut(&mut all);
        }
        let options = &mut self.options;
        let lists = [&mut options.tools, &mut options.documents];
        let lists = lists.into_iter().flatten().flatten();
        for members in lists.chain(&mut options.chat_template_kwargs) {
            members.strings_mut(&mut all);
        }
        all
    }

    fn parts(&self) -> impl Iterator<Item = &Members> {
        let turns = self.messages.iter().map(|message| &message.0);
        turns.chain(self.options.lists())
    }

    /// Bytes of all its strings.
    pub fn bytes(&self) -> usize {
        let mut bytes = 0;
        for members in self.parts() {
            let Ok(()) = members.each_string(&mut |text| {
                bytes += text.len();
                Ok::<_, std::convert::Infallible>(())
            });
        }
        bytes
    }

    /// Checks its strings.
    ///
    /// # Errors
    /// 422 when one is too long, or there is no turn.
    pub fn check(&self, limits: &Limits) -> Result<(), Problem> {
        if self.messages.is_empty() {
            return Err(Problem::unprocessable(
                "messages is empty: send at least one turn",
            ));
        }
        let mut each = |text: &str| limits.check_text("messages", text);
        for message in &self.messages {
            message.0.each_string(&mut each)?;
        }
        let mut each = |text: &str| limits.check_text("tools", text);
        self.options
            .lists()
            .try_for_each(|members| members.each_string(&mut each))
    }
}

impl From<Vec<Message>> for Chat {
    fn from(messages: Vec<Message>) -> Self {
        Self {
            messages,
            options: ChatOptions::default(),
        }
    }
}

/// One turn of a conversation: an object with a role and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Message(Members);

impl Message {
    /// Who said what.
    pub fn new(role: &str, content: &str) -> Self {
        let text = |text: &str| Json::Text(text.to_owned());
        Self(Members::new(vec![
            ("role".to_owned(), text(role)),
            ("content".to_owned(), text(content)),
        ]))
    }

    /// Its members, in order.
    pub const fn members(&self) -> &Members {
        &self.0
    }

    /// Who said it.
    pub fn role(&self) -> &str {
        self.text("role").unwrap_or_default()
    }

    /// What was said, where something was.
    pub fn content(&self) -> Option<&str> {
        self.text("content")
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Json::Text(text) => Some(text),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Members(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Members::deserialize(deserializer)?;
        match members.get("role") {
            Some(Json::Text(_)) => {}
            Some(_) => return Err(D::Error::custom("role must be a string")),
            None => return Err(D::Error::missing_field("role")),
        }
        let calls = members.iter().any(|(name, value)| {
            matches!(name, "tool_calls" | "function_call") && !value.is_null()
        });
        let content = match members.get("content") {
            Some(Json::Text(_) | Json::Null) => None,
            None if calls => Some(Json::Null),
            None => return Err(D::Error::missing_field("content")),
            Some(Json::List(parts)) => Some(Json::Text(joined(parts).map_err(D::Error::custom)?)),
            Some(Json::Bool(_) | Json::Number(_) | Json::Members(_)) => {
                return Err(D::Error::custom(PARTS));
            }
        };
        if let Some(content) = content {
            members.set("content".to_owned(), content);
        }
        Ok(Self(members))
    }
}

/// The text of the parts that `OpenAI`'s clients may send in place of a string.
fn joined(parts: &[Json]) -> Result<String, &'static str> {
    let text = |part: &Json| {
        let Json::Members(part) = part else {
            return Err(PARTS);
        };
        match (part.get("type"), part.get("text")) {
            (Some(Json::Text(kind)), Some(Json::Text(text))) if kind == "text" => Ok(text.clone()),
            _ => Err(PARTS),
        }
    };
    let texts: Result<Vec<String>, _> = parts.iter().map(text).collect();
    Ok(texts?.join("\n"))
}

/// What a client may say of a turn; the template sees all of it, and members of its own too.
#[derive(ToSchema)]
#[schema(as = Message)]
#[expect(dead_code, reason = "it is the schema of another form")]
struct MessageSchema {
    /// `system`, `user`, `assistant`, `tool`, or what the chat template knows.
    role: String,
    /// What was said; a list of `{"type": "text", "text"}` parts is taken too.
    content: Option<String>,
    /// Who said it, beside the role.
    name: Option<String>,
    /// What the assistant calls.
    #[schema(value_type = Option<Vec<Object>>)]
    tool_calls: Option<()>,
    /// Which call a tool answers.
    tool_call_id: Option<String>,
    /// What the assistant thought.
    reasoning_content: Option<String>,
}

impl PartialSchema for Message {
    fn schema() -> RefOr<Schema> {
        MessageSchema::schema()
    }
}

impl ToSchema for Message {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("Message")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(body: &str) -> Result<Message, serde_json::Error> {
        serde_json::from_str(body)
    }

    #[test]
    fn the_content_of_a_turn_is_a_string_or_text_parts() {
        let plain = turn(r#"{"role":"user","content":"a"}"#).unwrap();
        assert_eq!(plain.content(), Some("a"));
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"x"}"#;
        assert_eq!(turn(parts).unwrap().content(), Some("a\nb"));
        for content in [
            "1",
            r#"[{"type":"image_url","image_url":{}}]"#,
            "{}",
            r#"["a"]"#,
        ] {
            let body = format!(r#"{{"role":"user","content":{content}}}"#);
            let error = turn(&body).unwrap_err().to_string();
            assert!(error.contains("content must be a string"), "{error}");
        }
    }

    #[test]
    fn a_turn_that_calls_may_say_nothing() {
        for body in [
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}"#,
            r#"{"role":"assistant","tool_calls":[{"id":"1"}]}"#,
        ] {
            assert_eq!(turn(body).unwrap().content(), None, "{body}");
        }
        for body in [
            r#"{"role":"user"}"#,
            r#"{"content":"a"}"#,
            r#"{"role":1,"content":"a"}"#,
        ] {
            assert!(turn(body).is_err(), "{body}");
        }
    }

    #[test]
    fn members_are_carried_in_order_and_all_their_strings_are_limited() {
        let body = r#"{"role":"assistant","content":"4","tool_calls":[{"function":{"name":"f","arguments":"{}"}}],"name":"n"}"#;
        let message = turn(body).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), body);
        let limits = |max_characters| Limits {
            max_characters,
            max_batch: 1,
        };
        let mut chat = Chat::from(vec![message]);
        assert!(chat.check(&limits(8)).is_err());
        assert!(chat.check(&limits(20)).is_ok());
        assert!(chat.bytes() > 10);
        assert_eq!(chat.strings_mut().len(), 5);
    }
}
