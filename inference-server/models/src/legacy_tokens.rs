//! `added_tokens.json`, which tokenizers of old have beside their vocabulary.
//!
//! Owns when it may be left unread. It is no part of a model's digest, so that nothing of it may
//! change a score: where transformers would add a token of it that is nowhere else, the model is
//! refused. Must not know of folders or downloads.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::LoadError;

/// Its name.
pub const ADDED_TOKENS: &str = "added_tokens.json";

#[derive(Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    content: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    added_tokens_decoder: Option<Value>,
}

/// Refuses tokens of `added` that neither `tokenizer`, which is `tokenizer.json`, nor `config`, which
/// is `tokenizer_config.json`, has.
///
/// # Errors
/// `UnsupportedFormat` with the first of them; `ModelInvalid` where a file cannot be read.
pub fn refuse_others(
    added: &[u8],
    tokenizer: &[u8],
    config: Option<&[u8]>,
) -> Result<(), LoadError> {
    let broken = |name: &str, error: serde_json::Error| {
        LoadError::invalid(format!("{name} cannot be read ({error}): copy it again"))
    };
    let config = config
        .map(serde_json::from_slice::<Config>)
        .transpose()
        .map_err(|error| broken("tokenizer_config.json", error))?;
    // Beside these, transformers does not read it.
    if config.is_some_and(|config| config.added_tokens_decoder.is_some()) {
        return Ok(());
    }
    let added: BTreeMap<String, &RawValue> =
        serde_json::from_slice(added).map_err(|error| broken(ADDED_TOKENS, error))?;
    let tokenizer: Tokenizer =
        serde_json::from_slice(tokenizer).map_err(|error| broken("tokenizer.json", error))?;
    let tokens = tokenizer.added_tokens.into_iter();
    let known: BTreeSet<String> = tokens.map(|token| token.content).collect();
    match added.keys().find(|token| !known.contains(*token)) {
        None => Ok(()),
        Some(token) => Err(LoadError::unsupported(format!(
            "{ADDED_TOKENS} adds {token:?}, which tokenizer.json lacks, and is no part of the digest: load the tokenizer with transformers and save it again (AutoTokenizer.from_pretrained, save_pretrained), which writes all tokens into tokenizer.json"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    const TOKENIZER: &[u8] = br#"{"added_tokens":[{"id":5,"content":"<known>"}],"model":{}}"#;

    fn said(added: &str, config: Option<&str>) -> Result<(), LoadError> {
        refuse_others(added.as_bytes(), TOKENIZER, config.map(str::as_bytes))
    }

    #[test]
    fn tokens_that_are_elsewhere_too_change_nothing() {
        assert_eq!(said("{}", None), Ok(()));
        assert_eq!(said(r#"{"<known>":5}"#, Some("{}")), Ok(()));
        let decoder = r#"{"added_tokens_decoder":{}}"#;
        assert_eq!(said(r#"{"<new>":6}"#, Some(decoder)), Ok(()));
    }

    #[test]
    fn a_token_that_is_nowhere_else_is_refused_by_name() {
        for config in [None, Some("{}"), Some(r#"{"added_tokens_decoder":null}"#)] {
            let error = said(r#"{"<known>":5,"<new>":6}"#, config).unwrap_err();
            assert_eq!(error.reason, Reason::UnsupportedFormat);
            assert!(error.message.contains("<new>"), "{}", error.message);
        }
        let error = said("[]", None).unwrap_err();
        assert_eq!(error.reason, Reason::ModelInvalid);
    }
}
