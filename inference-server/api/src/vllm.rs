//! vLLM: `POST /classify`, `POST /score`, `GET /v1/models`.
//!
//! Its defaults are kept: an activation is on unless `use_activation` is false, and
//! `truncate_prompt_tokens` keeps the last tokens.

mod options;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::{Chat, ChatOptions, Message};
use crate::input::{Input, Texts, check_all};
use crate::json::Members;
use crate::{Limits, Problem};

pub use options::{Cut, Options};

/// Body of `POST /classify` with `input` or `messages`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = VllmClassifyRequest)]
pub struct ClassifyRequest {
    /// One text or several.
    #[serde(default)]
    pub input: Option<Texts>,
    /// One conversation.
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
    /// What the assistant may call, for the chat template.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Vec<Members>>,
    /// What the assistant may read, for the chat template.
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
    /// How.
    #[serde(flatten)]
    pub options: Options,
}

impl ClassifyRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when there is nothing to score, or a limit is exceeded.
    pub fn into_inputs(self, limits: &Limits) -> Result<Vec<Input>, Problem> {
        if let Some(Texts::Many(texts)) = self.input.as_ref().filter(|_| self.options.cuts()) {
            limits.check_together(texts.iter().map(|text| (text.as_str(), 1)))?;
        }
        let limits = self.options.limits(limits);
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
        let inputs = match (self.input, self.messages) {
            (Some(texts), None) => texts.into_vec().into_iter().map(Input::Text).collect(),
            (None, Some(messages)) => vec![Input::Messages(Chat { messages, options })],
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::unprocessable(
                    "send either input or messages (SGLang's clients: text)",
                ));
            }
        };
        limits.check_batch("input", inputs.len())?;
        check_all(inputs, &limits, "input", "input")
    }
}

/// Answer of `POST /classify` with `input` or `messages`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VllmClassifyResponse)]
pub struct ClassifyResponse {
    /// Of this request.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    /// The version that answered.
    pub model: String,
    /// One for each input.
    pub data: Vec<Class>,
    /// Tokens.
    pub usage: Usage,
}

/// The class of one input.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VllmClass)]
pub struct Class {
    /// Its place in the request.
    pub index: usize,
    /// The name of the most probable label.
    pub label: String,
    /// One for each label; logits without an activation.
    pub probs: Vec<f32>,
    /// How many labels there are.
    pub num_classes: usize,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = VllmUsage)]
pub struct Usage {
    /// Tokens that were scored.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
    /// Always 0: nothing is generated.
    pub completion_tokens: usize,
}

impl Usage {
    /// Of so many tokens.
    pub const fn of(tokens: usize) -> Self {
        Self {
            prompt_tokens: tokens,
            total_tokens: tokens,
            completion_tokens: 0,
        }
    }
}

/// Body of `POST /score`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = VllmScoreRequest)]
pub struct ScoreRequest {
    /// The prompts: one, or as many as there are answers.
    #[serde(alias = "queries", alias = "query", alias = "data_1")]
    pub text_1: Texts,
    /// The answers.
    #[serde(alias = "documents", alias = "items", alias = "data_2")]
    pub text_2: Texts,
    /// How.
    #[serde(flatten)]
    pub options: Options,
}

impl ScoreRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when the lengths do not fit each other, or a limit is exceeded.
    pub fn into_inputs(self, limits: &Limits) -> Result<Vec<Input>, Problem> {
        let (prompts, answers) = (self.text_1.into_vec(), self.text_2.into_vec());
        limits.check_batch("text_2", answers.len())?;
        if self.options.cuts() {
            let times = if prompts.len() == 1 { answers.len() } else { 1 };
            let texts = prompts.iter().map(|prompt| (prompt.as_str(), times));
            let texts = texts.chain(answers.iter().map(|answer| (answer.as_str(), 1)));
            limits.check_together(texts)?;
        }
        let limits = self.options.limits(limits);
        // Before it is held once for each answer.
        if let [one] = prompts.as_slice() {
            limits.check_text("text_1", one)?;
        }
        let prompts = match prompts.as_slice() {
            [one] => vec![one.clone(); answers.len()],
            several if several.len() == answers.len() => prompts,
            other => {
                return Err(Problem::unprocessable(format!(
                    "text_1 has {} items, text_2 has {}: send one prompt, or as many as there are answers",
                    other.len(),
                    answers.len()
                )));
            }
        };
        let inputs = prompts
            .into_iter()
            .zip(answers)
            .map(|(prompt, answer)| Input::answer(Some(prompt), answer))
            .collect();
        check_all(inputs, &limits, "text_2", "text_1")
    }
}

/// Answer of `POST /score`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VllmScoreResponse)]
pub struct ScoreResponse {
    /// Of this request.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    /// The version that answered.
    pub model: String,
    /// One for each answer.
    pub data: Vec<ScoreItem>,
    /// Tokens.
    pub usage: Usage,
}

/// The score of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = VllmScoreItem)]
pub struct ScoreItem {
    /// Its place in the request.
    pub index: usize,
    /// Always `score`.
    pub object: &'static str,
    /// Its score.
    pub score: f32,
}

/// Answer of `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The one that is served.
    pub data: Vec<ModelCard>,
}

/// The model that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelCard {
    /// Its version.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Seconds since 1970 when it was loaded.
    pub created: i64,
    /// Who serves it.
    pub owned_by: &'static str,
    /// Its version.
    pub root: String,
    /// Tokens of one input.
    pub max_model_len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Side;

    const LIMITS: Limits = Limits {
        max_characters: 10,
        max_batch: 3,
    };

    fn classify(body: &str) -> ClassifyRequest {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_activation_is_on_unless_it_is_switched_off_by_any_of_its_names() {
        assert!(!classify(r#"{"input":"a"}"#).options.raw());
        assert!(
            !classify(r#"{"input":"a","use_activation":null}"#)
                .options
                .raw()
        );
        for name in ["use_activation", "activation", "softmax"] {
            let body = format!(r#"{{"input":"a","{name}":false}}"#);
            assert!(classify(&body).options.raw(), "{name}");
        }
    }

    #[test]
    fn truncation_keeps_the_last_tokens() {
        let options = |body: &str| classify(body).options.input_options(9);
        let kept = options(r#"{"input":"a","truncate_prompt_tokens":5}"#).unwrap();
        assert_eq!(
            (kept.max_tokens, kept.truncation),
            (Some(5), Some(Side::Left))
        );
        let all = options(r#"{"input":"a","truncate_prompt_tokens":-1}"#).unwrap();
        assert_eq!(all.max_tokens, None);
        let right = r#"{"input":"a","truncate_prompt_tokens":5,"truncation_side":"right"}"#;
        assert_eq!(options(right).unwrap().truncation, Some(Side::Right));
        // Nothing is cut unless it is asked for, and never to more than the model takes.
        let none = options(r#"{"input":"a"}"#).unwrap();
        assert_eq!(none.truncation, Some(Side::Reject));
        let none = options(r#"{"input":"a","truncation_side":"right"}"#).unwrap();
        assert_eq!(none.truncation, Some(Side::Reject));
        let more = options(r#"{"input":"a","truncate_prompt_tokens":10}"#).unwrap_err();
        assert_eq!(more.status, 400);
        assert!(options(r#"{"input":"a","truncate_prompt_tokens":9}"#).is_ok());
        for kept in ["0", "-2", "-9223372036854775808"] {
            let body = format!(r#"{{"input":"a","truncate_prompt_tokens":{kept}}}"#);
            assert_eq!(options(&body).unwrap_err().status, 422, "{kept}");
        }
    }

    #[test]
    fn input_and_messages_exclude_each_other() {
        for body in [
            "{}",
            r#"{"input":"a","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"input":[]}"#,
            r#"{"input":["a","a","a","a"]}"#,
            r#"{"messages":[]}"#,
            r#"{"input":"a","add_generation_prompt":true}"#,
        ] {
            assert_eq!(
                classify(body).into_inputs(&LIMITS).unwrap_err().status,
                422,
                "{body}"
            );
        }
        let chat = classify(r#"{"messages":[{"role":"user","content":"a"}]}"#);
        assert!(matches!(
            chat.into_inputs(&LIMITS).unwrap()[0],
            Input::Messages(_)
        ));
    }

    #[test]
    fn token_ids_are_refused_with_what_to_send() {
        let error = serde_json::from_str::<ClassifyRequest>(r#"{"input":[1,2]}"#).unwrap_err();
        assert!(error.to_string().contains("list of strings"), "{error}");
    }

    #[test]
    fn one_prompt_is_that_of_all_answers() {
        let score = |body: &str| {
            serde_json::from_str::<ScoreRequest>(body)
                .unwrap()
                .into_inputs(&LIMITS)
        };
        let inputs = score(r#"{"text_1":"q","text_2":["a","b"]}"#).unwrap();
        assert_eq!(inputs[1], Input::answer(Some("q".into()), "b".into()));
        let inputs = score(r#"{"queries":["p","q"],"documents":["a","b"]}"#).unwrap();
        assert_eq!(inputs[0], Input::answer(Some("p".into()), "a".into()));
        for body in [
            r#"{"text_1":["p","q"],"text_2":["a","b","c"]}"#,
            r#"{"text_1":["p","q"],"text_2":"a"}"#,
            r#"{"text_1":[],"text_2":"a"}"#,
            r#"{"text_1":"q","text_2":[]}"#,
        ] {
            assert_eq!(score(body).unwrap_err().status, 422, "{body}");
        }
    }
}
