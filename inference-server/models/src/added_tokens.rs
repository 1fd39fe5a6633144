//! Tokens that only `tokenizer_config.json` and `special_tokens_map.json` name.
//!
//! Owns which of them a tokenizer gets, in which order, as transformers loads a fast tokenizer from
//! these files. Must not know of texts. Invariant: a token that `tokenizer.json` knows keeps its id,
//! and nothing is added that transformers would not add.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::LoadError;
use crate::tokenizer::guarded;

/// Names of the tokens that every tokenizer may have.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// A token as an object.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are members of the file"
)]
#[derive(Clone, Debug, Deserialize)]
struct TokenObject {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl TokenObject {
    fn token(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

/// What the files beside `tokenizer.json` say of tokens.
#[derive(Debug, Default)]
pub(crate) struct AddedTokens {
    /// Those with ids, in the order of their ids.
    decoder: Vec<AddedToken>,
    /// `bos_token` and its kin, and what a model calls by names of its own.
    named: BTreeMap<String, AddedToken>,
    /// Those without a name.
    extra: Vec<AddedToken>,
}

impl AddedTokens {
    /// Reads the members of `tokenizer_config.json`, and `map`, which is `special_tokens_map.json`:
    /// old models have it, and it counts only where the former has no `added_tokens_decoder`.
    ///
    /// # Errors
    /// `ModelInvalid` when a token is neither a text nor an object with one.
    pub(crate) fn read(
        config: &BTreeMap<String, Value>,
        map: Option<&[u8]>,
    ) -> Result<Self, LoadError> {
        let mut members = config.clone();
        // The old name of the list, which the new one overrides.
        if let Some(list) = members.remove("additional_special_tokens")
            && !members
                .get("extra_special_tokens")
                .is_some_and(is_something)
        {
            members.insert("extra_special_tokens".to_owned(), list);
        }
        let decoder = if let Some(decoder) = members.get("added_tokens_decoder") {
            decoded(decoder)?
        } else {
            members.extend(old_map(map)?);
            Vec::new()
        };
        let mut tokens = Self {
            decoder,
            ..Self::default()
        };
        for (name, value) in members {
            match (name.as_str(), value) {
                (_, Value::Null) | ("added_tokens_decoder", _) => {}
                ("extra_special_tokens" | "additional_special_tokens", Value::Array(list)) => {
                    for value in &list {
                        let extra = tokens.token(&name, value)?;
                        if !tokens.extra.contains(&extra) {
                            tokens.extra.push(extra);
                        }
                    }
                }
                ("extra_special_tokens", Value::Object(own)) => {
                    for (own, value) in &own {
                        let token = tokens.token(own, value)?;
                        tokens.named.insert(own.clone(), token);
                    }
                }
                (known, value) if NAMED.contains(&known) => {
                    let token = tokens.token(known, &value)?;
                    tokens.named.insert(name, token);
                }
                (own, value @ Value::String(_)) if own.ends_with("_token") => {
                    let token = tokens.token(own, &value)?;
                    tokens.named.insert(name, token);
                }
                _ => {}
            }
        }
        Ok(tokens)
    }

    /// The texts of the named ones, which chat templates see.
    pub(crate) fn named(&self) -> BTreeMap<String, String> {
        let named = self.named.iter();
        named
            .map(|(name, token)| (name.clone(), token.content.clone()))
            .collect()
    }

    /// Gives the tokenizer what it lacks.
    ///
    /// # Errors
    /// `ModelInvalid` when it cannot take a token.
    pub(crate) fn complete(&self, tokenizer: &mut Tokenizer) -> Result<(), LoadError> {
        let there: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        // One with other properties is added again, and replaces the one that is there.
        let mut more: Vec<AddedToken> = self
            .decoder
            .iter()
            .filter(|token| !there.iter().any(|known| same(known, token)))
            .cloned()
            .collect();
        for token in self.named.values().chain(&self.extra) {
            let mut known = there.iter().chain(&more);
            if !known.any(|known| known.content == token.content) {
                more.push(token.clone());
            }
        }
        let named = |token: &AddedToken| {
            let mut named = self.named.values();
            named.any(|named| named.content == token.content)
        };
        for token in &mut more {
            token.special |= named(token);
        }
        let added = guarded(|| tokenizer.add_tokens(more));
        added.map(drop).map_err(|why| {
            LoadError::invalid(format!(
                "tokenizer_config.json has tokens that tokenizer.json cannot take ({why}): copy both again"
            ))
        })
    }

    /// A text stands for the token of that text that has an id, where there is one.
    fn token(&self, name: &str, value: &Value) -> Result<AddedToken, LoadError> {
        let content = value
            .as_str()
            .or_else(|| value.get("content")?.as_str())
            .ok_or_else(|| wrong(name))?;
        let known = self.decoder.iter().find(|token| token.content == content);
        match (known, value) {
            (Some(known), _) => Ok(known.clone()),
            (None, Value::Object(_)) => {
                let object: TokenObject =
                    serde_json::from_value(value.clone()).map_err(|_| wrong(name))?;
                Ok(TokenObject {
                    special: true,
                    ..object
                }
                .token())
            }
            (None, _) => Ok(AddedToken::from(content.to_owned(), true)),
        }
    }
}

/// The library calls two tokens equal that differ in how they are found.
fn same(a: &AddedToken, b: &AddedToken) -> bool {
    let properties = |token: &AddedToken| {
        [
            token.single_word,
            token.lstrip,
            token.rstrip,
            token.normalized,
            token.special,
        ]
    };
    a.content == b.content && properties(a) == properties(b)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn decoded(value: &Value) -> Result<Vec<AddedToken>, LoadError> {
    let name = "added_tokens_decoder";
    let all: BTreeMap<u32, TokenObject> =
        serde_json::from_value(value.clone()).map_err(|_| wrong(name))?;
    Ok(all.into_values().map(TokenObject::token).collect())
}

fn old_map(map: Option<&[u8]>) -> Result<BTreeMap<String, Value>, LoadError> {
    match map {
        None => Ok(BTreeMap::new()),
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| {
            LoadError::invalid(format!(
                "special_tokens_map.json cannot be read ({error}): copy it again"
            ))
        }),
    }
}

fn wrong(name: &str) -> LoadError {
    LoadError::invalid(format!(
        "tokenizer_config.json or special_tokens_map.json: {name} holds something that is no token: write a text, or an object with \"content\""
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, map: Option<&str>) -> AddedTokens {
        let config = serde_json::from_str(config).unwrap();
        AddedTokens::read(&config, map.map(str::as_bytes)).unwrap()
    }

    fn names(tokens: &AddedTokens) -> Vec<(String, String)> {
        tokens.named().into_iter().collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn special_tokens_are_texts_or_objects_and_the_old_map_comes_last() {
        let config = r#"{"bos_token":{"content":"<s>","lstrip":true},"pad_token":"no","unk_token":null,"image_token":"<i>"}"#;
        let map = r#"{"eos_token":"</s>","pad_token":"<pad>"}"#;
        let tokens = read(config, Some(map));
        let expected = [
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("image_token", "<i>"),
            ("pad_token", "<pad>"),
        ];
        assert_eq!(names(&tokens), owned(&expected));
        assert!(tokens.named["bos_token"].lstrip);
    }

    #[test]
    fn the_old_map_is_not_read_beside_tokens_with_ids() {
        let config = r#"{"eos_token":"</s>","added_tokens_decoder":{"7":{"content":"</s>","rstrip":true,"special":true}}}"#;
        let tokens = read(config, Some(r#"{"eos_token":"no","bos_token":"no"}"#));
        assert_eq!(names(&tokens), owned(&[("eos_token", "</s>")]));
        assert!(tokens.named["eos_token"].rstrip);
    }

    #[test]
    fn lists_and_objects_of_extra_tokens_are_read() {
        let list = read(
            r#"{"additional_special_tokens":["<a>",{"content":"<b>"}]}"#,
            None,
        );
        let contents: Vec<_> = list
            .extra
            .iter()
            .map(|token| token.content.as_str())
            .collect();
        assert_eq!(contents, ["<a>", "<b>"]);
        let named = read(r#"{"extra_special_tokens":{"x_token":"<x>"}}"#, None);
        assert_eq!(names(&named), owned(&[("x_token", "<x>")]));
    }

    #[test]
    fn what_is_no_token_is_named() {
        for text in [
            r#"{"bos_token":1}"#,
            r#"{"added_tokens_decoder":{"1":"a"}}"#,
            r#"{"extra_special_tokens":[1]}"#,
        ] {
            let config = serde_json::from_str(text).unwrap();
            let error = AddedTokens::read(&config, None).unwrap_err();
            assert!(error.message.contains("no token"), "{text}");
        }
        let empty = BTreeMap::new();
        assert!(AddedTokens::read(&empty, Some(b"[]")).is_err());
    }
}
