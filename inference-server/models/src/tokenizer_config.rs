//! `tokenizer_config.json` and `special_tokens_map.json`, as far as they change what is scored.
//!
//! Owns their old and new forms. Must not know of `tokenizer.json`, which alone says what the ids
//! are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::LoadError;

const SPECIAL_TOKENS: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    /// transformers writes 1e30 where there is no limit.
    #[serde(default)]
    model_max_length: Option<f64>,
    #[serde(default)]
    model_input_names: Option<Vec<String>>,
    #[serde(default)]
    tokenizer_class: Option<String>,
    #[serde(default)]
    chat_template: Option<Templates>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Old files have a template, or several with names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl TokenizerConfig {
    pub(crate) fn parse(bytes: Option<&[u8]>) -> Result<Self, LoadError> {
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        serde_json::from_slice(bytes).map_err(|error| {
            LoadError::invalid(format!(
                "tokenizer_config.json cannot be read ({error}): copy it again"
            ))
        })
    }

    /// The model's own limit of tokens, where it has one.
    pub(crate) fn max_length(&self) -> Option<usize> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float is cast to the nearest representable count, and 1e30 to the largest"
        )]
        self.model_max_length
            .filter(|length| *length >= 1.0)
            .map(|length| length as usize)
    }

    /// Whether the model was trained on the segment ids that `tokenizer.json` gives. transformers
    /// feeds them where the tokenizer's `model_input_names` has them; its generic class of version
    /// 5, `TokenizersBackend`, does not unless the file says so.
    pub(crate) fn feeds_segments(&self) -> bool {
        match (&self.model_input_names, self.tokenizer_class.as_deref()) {
            (Some(names), _) => names.iter().any(|name| name == "token_type_ids"),
            (None, Some("TokenizersBackend")) => false,
            (None, Some(_) | None) => true,
        }
    }

    /// The template for conversations: of several, the one named `default`.
    pub(crate) fn chat_template(&self) -> Option<String> {
        match self.chat_template.as_ref()? {
            Templates::One(template) => Some(template.clone()),
            Templates::Named(all) => all
                .iter()
                .find(|named| named.name == "default")
                .map(|named| named.template.clone()),
        }
    }

    /// Special tokens by name; `map` is `special_tokens_map.json`, which old models have beside.
    pub(crate) fn special_tokens(
        &self,
        map: Option<&[u8]>,
    ) -> Result<BTreeMap<String, String>, LoadError> {
        let map: BTreeMap<String, Value> = match map {
            None => BTreeMap::new(),
            Some(bytes) => serde_json::from_slice(bytes).map_err(|error| {
                LoadError::invalid(format!(
                    "special_tokens_map.json cannot be read ({error}): copy it again"
                ))
            })?,
        };
        let token = |name: &str| {
            let found = [&self.rest, &map]
                .into_iter()
                .find_map(|from| content(from.get(name)?));
            Some((name.to_owned(), found?))
        };
        Ok(SPECIAL_TOKENS.into_iter().filter_map(token).collect())
    }
}

/// A token is a text, or an object with its text.
fn content(value: &Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value.get("content")?.as_str())
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TokenizerConfig {
        TokenizerConfig::parse(Some(text.as_bytes())).unwrap()
    }

    #[test]
    fn of_several_templates_the_default_is_taken() {
        assert_eq!(parse("{}").chat_template(), None);
        assert_eq!(
            parse(r#"{"chat_template":"x"}"#).chat_template().as_deref(),
            Some("x")
        );
        let several = r#"{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}"#;
        assert_eq!(parse(several).chat_template().as_deref(), Some("d"));
    }

    #[test]
    fn special_tokens_are_texts_or_objects_here_or_in_the_map() {
        let config = parse(r#"{"bos_token":{"content":"<s>","lstrip":false},"eos_token":null}"#);
        let map = br#"{"eos_token":"</s>","bos_token":"no"}"#;
        let tokens = config.special_tokens(Some(map)).unwrap();
        assert_eq!(
            tokens.into_iter().collect::<Vec<_>>(),
            [
                ("bos_token".to_owned(), "<s>".to_owned()),
                ("eos_token".to_owned(), "</s>".to_owned())
            ]
        );
        assert!(config.special_tokens(Some(b"[]")).is_err());
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert_eq!(parse(r#"{"model_max_length":512}"#).max_length(), Some(512));
        assert_eq!(
            parse(r#"{"model_max_length":1e30}"#).max_length(),
            Some(usize::MAX)
        );
        assert_eq!(parse(r#"{"model_max_length":-1}"#).max_length(), None);
    }
}
