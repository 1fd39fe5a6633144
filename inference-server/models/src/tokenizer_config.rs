//! `tokenizer_config.json` and `special_tokens_map.json`, as far as they change what is scored.
//!
//! Owns their old and new forms. Must not know of texts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::added_tokens::AddedTokens;
use crate::error::LoadError;
use crate::input::Truncation;

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerConfig {
    /// transformers writes 1e30 where there is no limit.
    #[serde(default)]
    model_max_length: Option<f64>,
    /// Its name in old files.
    #[serde(default)]
    max_len: Option<f64>,
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
            .or(self.max_len)
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

    /// Tokens that `tokenizer.json` may lack; `map` is `special_tokens_map.json`, which old models
    /// have beside.
    pub(crate) fn added_tokens(&self, map: Option<&[u8]>) -> Result<AddedTokens, LoadError> {
        AddedTokens::read(&self.rest, map)
    }

    /// Which side of a long text is cut, where the file says it.
    pub(crate) fn truncation_side(&self) -> Result<Option<Truncation>, LoadError> {
        match self.rest.get("truncation_side") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(side)) if side == "left" => Ok(Some(Truncation::Left)),
            Some(Value::String(side)) if side == "right" => Ok(Some(Truncation::Right)),
            Some(other) => Err(LoadError::invalid(format!(
                "tokenizer_config.json: truncation_side {other} is neither \"left\" nor \"right\": correct it"
            ))),
        }
    }

    /// Whether a special token within a text is read as the letters that it is written with.
    pub(crate) fn splits_special_tokens(&self) -> bool {
        self.rest.get("split_special_tokens") == Some(&Value::Bool(true))
    }
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
    fn a_side_is_left_or_right() {
        let side = |text| parse(text).truncation_side();
        assert_eq!(side("{}"), Ok(None));
        assert_eq!(
            side(r#"{"truncation_side":"left"}"#),
            Ok(Some(Truncation::Left))
        );
        assert_eq!(
            side(r#"{"truncation_side":"right"}"#),
            Ok(Some(Truncation::Right))
        );
        assert!(side(r#"{"truncation_side":"middle"}"#).is_err());
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
