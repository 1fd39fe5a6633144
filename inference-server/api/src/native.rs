//! The native routes: `POST /predict` and `POST /predict/batch`.
//!
//! A `context` with a `text` is a conversation, prompt and answer; a `text` with a `text_pair` is
//! the tokenizer's own pair; `messages` is a conversation too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::chat::{Chat, ChatOptions, Message};
use crate::input::{Input, check_all};
use crate::json::Members;
use crate::{Limits, Problem};

/// Body of `POST /predict`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictRequest {
    /// The text, or the answer of a conversation.
    #[serde(default)]
    pub text: Option<String>,
    /// The prompt of a conversation.
    #[serde(default)]
    pub context: Option<String>,
    /// The second text of a pair.
    #[serde(default)]
    pub text_pair: Option<String>,
    /// A conversation.
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
    /// What the assistant of `messages` may call, for the chat template.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Members>>,
    /// What the assistant of `messages` may read, for the chat template.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub documents: Option<Vec<Members>>,
    /// Names and values of the chat template's own.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Members>,
    /// Whether the rendered chat ends with the beginning of an answer.
    #[serde(default)]
    pub add_generation_prompt: Option<bool>,
    /// Whether the rendered chat ends where the last message's content does.
    #[serde(default)]
    pub continue_final_message: Option<bool>,
    /// Raw logits, whatever the server's `--activation`.
    #[serde(default)]
    pub raw_scores: bool,
    /// Carried into the log line, and nothing else.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
}

/// Body of `POST /predict/batch`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The texts, or the answers.
    #[schema(min_items = 1)]
    pub texts: Vec<String>,
    /// Their prompts; null for those that have none.
    #[serde(default)]
    pub contexts: Option<Vec<Option<String>>>,
    /// Raw logits, whatever the server's `--activation`.
    #[serde(default)]
    pub raw_scores: bool,
    /// Carried into the log line, and nothing else.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
}

impl PredictRequest {
    /// Names of the members that say what is scored: a line of a file may have others, and its scores
    /// are raw ones.
    pub const MEMBERS: [&str; 10] = [
        "text",
        "context",
        "text_pair",
        "messages",
        "tools",
        "documents",
        "chat_template_kwargs",
        "add_generation_prompt",
        "continue_final_message",
        "metadata",
    ];

    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when the fields contradict each other or exceed the limits.
    pub fn into_input(self, limits: &Limits) -> Result<Input, Problem> {
        let options = ChatOptions {
            tools: self.tools,
            documents: self.documents,
            chat_template_kwargs: self.chat_template_kwargs,
            add_generation_prompt: self.add_generation_prompt,
            continue_final_message: self.continue_final_message,
        };
        if self.messages.is_none() {
            options.require_none()?;
        }
        let input = match (self.messages, self.text, self.context, self.text_pair) {
            (Some(messages), None, None, None) => Input::Messages(Chat { messages, options }),
            (Some(_), ..) => {
                return Err(Problem::unprocessable(
                    "messages stands alone: remove text, context and text_pair",
                ));
            }
            (None, None, ..) => return Err(Problem::unprocessable("text is missing")),
            (None, Some(_), Some(_), Some(_)) => {
                return Err(Problem::unprocessable(
                    "context and text_pair exclude each other: context makes a conversation, text_pair the tokenizer's own pair",
                ));
            }
            (None, Some(response), Some(prompt), None) => Input::Conversation { prompt, response },
            (None, Some(text), None, Some(pair)) => Input::Pair(text, pair),
            (None, Some(text), None, None) => Input::Text(text),
        };
        let second = match &input {
            Input::Pair(..) => "text_pair",
            Input::Text(_) | Input::Conversation { .. } | Input::Messages(_) => "context",
        };
        input.check(limits, "text", second)?;
        Ok(input)
    }
}

impl BatchRequest {
    /// What is to be scored, in its order.
    ///
    /// # Errors
    /// 422 when lengths differ or exceed the limits; it names the item where one is wrong.
    pub fn into_inputs(self, limits: &Limits) -> Result<Vec<Input>, Problem> {
        limits.check_batch("texts", self.texts.len())?;
        let contexts = match self.contexts {
            Some(contexts) if contexts.len() != self.texts.len() => {
                return Err(Problem::unprocessable(format!(
                    "contexts has {} items, texts has {}: send one context for each text, null where there is none",
                    contexts.len(),
                    self.texts.len()
                )));
            }
            Some(contexts) => contexts,
            None => vec![None; self.texts.len()],
        };
        let inputs = contexts
            .into_iter()
            .zip(self.texts)
            .map(|(context, text)| Input::answer(context, text))
            .collect();
        check_all(inputs, limits, "text", "context")
    }
}

/// Answer of `POST /predict`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PredictResponse {
    /// The score.
    pub reward_score: f32,
    /// How sure it is that the text is on its side of `shift`; null where nothing was calibrated.
    pub confidence: Option<f64>,
    /// The calibrated probability; null where nothing was calibrated.
    pub probability: Option<f64>,
    /// Seconds from the request's arrival to this answer.
    pub processing_time: f64,
    /// Which model it was.
    pub model_version: String,
    /// Whether the input was cut.
    pub truncated: bool,
    /// Tokens that were scored.
    pub tokens: usize,
    /// All labels, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<BTreeMap<String, f32>>,
}

/// Answer of `POST /predict/batch`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BatchResponse {
    /// The scores, in the order of the texts.
    pub reward_scores: Vec<f32>,
    /// As in [`PredictResponse`].
    pub confidences: Vec<Option<f64>>,
    /// As in [`PredictResponse`].
    pub probabilities: Vec<Option<f64>>,
    /// Seconds from the request's arrival to this answer.
    pub processing_time: f64,
    /// Which model it was.
    pub model_version: String,
    /// Which inputs were cut.
    pub truncated: Vec<bool>,
    /// Tokens of each input.
    pub tokens: Vec<usize>,
    /// All labels of each text, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<BTreeMap<String, f32>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_characters: 10,
        max_batch: 3,
    };

    fn one(body: &str) -> Result<Input, Problem> {
        serde_json::from_str::<PredictRequest>(body)
            .unwrap()
            .into_input(&LIMITS)
    }

    fn batch(body: &str) -> Result<Vec<Input>, Problem> {
        serde_json::from_str::<BatchRequest>(body)
            .unwrap()
            .into_inputs(&LIMITS)
    }

    #[test]
    fn the_fields_say_what_is_scored() {
        assert_eq!(one(r#"{"text":"a"}"#).unwrap(), Input::Text("a".into()));
        assert_eq!(
            one(r#"{"text":"a","text_pair":"b"}"#).unwrap(),
            Input::Pair("a".into(), "b".into())
        );
        let asked = Input::Conversation {
            prompt: "q".into(),
            response: "a".into(),
        };
        assert_eq!(
            one(r#"{"text":"a","context":"q","metadata":{"x":1}}"#).unwrap(),
            asked
        );
        let chat = r#"{"messages":[{"role":"user","content":"q"}]}"#;
        let turn = Message::new("user", "q");
        assert_eq!(one(chat).unwrap(), Input::Messages(vec![turn].into()));
    }

    #[test]
    fn an_impossible_request_says_what_to_do() {
        for (body, expected) in [
            ("{}", "text is missing"),
            (r#"{"context":"q"}"#, "text is missing"),
            (
                r#"{"text":"a","context":"q","text_pair":"b"}"#,
                "exclude each other",
            ),
            (r#"{"text":"a","messages":[]}"#, "stands alone"),
            (r#"{"text":"a","tools":[{}]}"#, "tools is for messages"),
            (
                r#"{"messages":[{"role":"user","content":"12345678901"}]}"#,
                "messages has 11 characters",
            ),
            (r#"{"text":"12345678901"}"#, "11 characters, 10 are allowed"),
        ] {
            let problem = one(body).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(
                problem.detail.contains(expected),
                "{body}: {}",
                problem.detail
            );
        }
    }

    #[test]
    fn members_are_those_that_are_known() {
        for name in PredictRequest::MEMBERS {
            let body = format!(r#"{{"{name}":null}}"#);
            assert!(
                serde_json::from_str::<PredictRequest>(&body).is_ok(),
                "{name}"
            );
        }
        assert!(serde_json::from_str::<PredictRequest>(r#"{"contxt":null}"#).is_err());
        assert!(
            serde_json::from_str::<BatchRequest>(r#"{"texts":["a"],"context":["b"]}"#).is_err()
        );
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert!(one(r#"{"text":"éééééééééé"}"#).is_ok());
    }

    #[test]
    fn a_wrong_item_of_a_batch_is_named() {
        let problem = batch(r#"{"texts":["a","12345678901"]}"#).unwrap_err();
        assert_eq!(problem.index, Some(1));
        for (body, expected) in [
            (r#"{"texts":[]}"#, "empty"),
            (r#"{"texts":["a","b","c","d"]}"#, "4 items, 3 are allowed"),
            (
                r#"{"texts":["a"],"contexts":[]}"#,
                "one context for each text",
            ),
        ] {
            assert!(batch(body).unwrap_err().detail.contains(expected), "{body}");
        }
        assert_eq!(
            batch(r#"{"texts":["a","b"],"contexts":["q",null]}"#)
                .unwrap()
                .len(),
            2
        );
    }
}
