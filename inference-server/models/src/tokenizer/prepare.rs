//! What a request asks of its texts before they take the form that the model reads.
//!
//! Owns limits of one text of two, the ends of a text that a trainer rendered, and the token that
//! would begin a text twice. Must not know of truncation to the model's limit. Invariant: without
//! such an option a text stays as it is.

use std::borrow::Cow;

use super::{InputTokenizer, guarded};
use crate::input::{EncodeOptions, InputError, TextInput};

impl InputTokenizer {
    /// The input as `options` ask for it, and whether a text of it was cut.
    pub(super) fn prepare<'a>(
        &self,
        input: &'a TextInput,
        options: EncodeOptions,
    ) -> Result<(Cow<'a, TextInput>, bool), InputError> {
        let (first, second) = (options.max_first, options.max_second);
        let limited = first.is_some() || second.is_some();
        let special = options.add_special_tokens != Some(false);
        Ok(match input {
            TextInput::Text(text) if options.clean_ends => {
                (Cow::Owned(TextInput::Text(self.with_one_end(text))), false)
            }
            TextInput::Text(text) if self.settings.single_bos && special => {
                let rest = self.after_doubled_bos(text)?;
                match rest {
                    Some(rest) => (Cow::Owned(TextInput::Text(rest.to_owned())), false),
                    None => (Cow::Borrowed(input), false),
                }
            }
            TextInput::Pair(a, b) if limited => {
                let (a, b) = (self.cut(a, first)?, self.cut(b, second)?);
                let input = TextInput::Pair(a.0.to_owned(), b.0.to_owned());
                (Cow::Owned(input), a.1 || b.1)
            }
            TextInput::Conversation { prompt, response } if limited => {
                let (a, b) = (self.cut(prompt, first)?, self.cut(response, second)?);
                let input = TextInput::Conversation {
                    prompt: a.0.to_owned(),
                    response: b.0.to_owned(),
                };
                (Cow::Owned(input), a.1 || b.1)
            }
            TextInput::Text(_)
            | TextInput::Pair(..)
            | TextInput::Conversation { .. }
            | TextInput::Messages(_) => (Cow::Borrowed(input), false),
        })
    }

    /// The text's first `limit` tokens, and whether there are more.
    fn cut<'a>(&self, text: &'a str, limit: Option<usize>) -> Result<(&'a str, bool), InputError> {
        let Some(limit) = limit else {
            return Ok((text, false));
        };
        let encoding =
            guarded(|| self.tokenizer.encode(text, false)).map_err(InputError::Tokenizer)?;
        if encoding.len() <= limit {
            return Ok((text, false));
        }
        let last = encoding.get_offsets().get(..limit).unwrap_or_default();
        let end = last.iter().map(|(_, end)| *end).max().unwrap_or(0);
        Ok((text.get(..end).unwrap_or(text), true))
    }

    /// Without the tokens that end and fill texts at both ends, and with one that ends it:
    /// `OpenRLHF` does so to what a policy wrote. Where there is no such token it stays as it is.
    fn with_one_end(&self, text: &str) -> String {
        let Some(eos) = self.settings.eos.as_deref().filter(|eos| !eos.is_empty()) else {
            return text.to_owned();
        };
        // Where there is no token that fills texts up, the one that ends them does.
        let pad = self.settings.pad.as_deref().filter(|pad| !pad.is_empty());
        let pad = pad.unwrap_or(eos);
        let mut rest = text;
        while let Some(shorter) = rest.strip_prefix(eos).or_else(|| rest.strip_prefix(pad)) {
            rest = shorter;
        }
        while let Some(shorter) = rest.strip_suffix(eos).or_else(|| rest.strip_suffix(pad)) {
            rest = shorter;
        }
        format!("{rest}{eos}")
    }

    /// The text without the token at its beginning that the tokenizer adds all the same; `None` where
    /// it does not begin so.
    fn after_doubled_bos<'a>(&self, text: &'a str) -> Result<Option<&'a str>, InputError> {
        let (Some(bos), Some(id)) = (self.settings.bos.as_deref(), self.bos) else {
            return Ok(None);
        };
        let Some(rest) = text.strip_prefix(bos) else {
            return Ok(None);
        };
        let added =
            guarded(|| self.tokenizer.encode_fast("", true)).map_err(InputError::Tokenizer)?;
        Ok((added.get_ids().first() == Some(&id)).then_some(rest))
    }
}
