//! The tokens of a text with their places, for people to look at.
//!
//! Must not know of limits: nothing is cut. Invariant: what is shown takes about as long as it takes to
//! encode.

use super::{InputTokenizer, guarded};
use crate::input::InputError;

/// One token of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownToken {
    /// Its id.
    pub id: u32,
    /// The part of the text that it stands for, or its name where the tokenizer added it.
    pub text: Option<String>,
    /// Where that part begins and ends, in characters; `None` where the tokenizer added it.
    pub place: Option<(usize, usize)>,
}

impl InputTokenizer {
    /// The tokens of a text, none cut, for people to look at.
    ///
    /// # Errors
    /// `Tokenizer` when it cannot be encoded.
    pub fn show(&self, text: &str, special_tokens: bool) -> Result<Vec<ShownToken>, InputError> {
        let encode = || self.tokenizer.encode_char_offsets(text, special_tokens);
        let encoding = guarded(encode).map_err(InputError::Tokenizer)?;
        let own = encoding.get_special_tokens_mask().iter();
        // Where each character begins: to count anew for each token takes the square of the time.
        let mut places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        places.push(text.len());
        let part = |start: usize, stop: usize| {
            let place = |at: usize| places.get(at).copied().unwrap_or(text.len());
            text.get(place(start)..place(stop)).unwrap_or_default()
        };
        let show =
            |((&id, &special), &(start, stop)): ((&u32, &u32), &(usize, usize))| ShownToken {
                id,
                text: if special == 1 {
                    self.tokenizer.id_to_token(id)
                } else {
                    Some(part(start, stop).to_owned())
                },
                place: (special == 0).then_some((start, stop)),
            };
        let ids = encoding.get_ids().iter();
        Ok(ids.zip(own).zip(encoding.get_offsets()).map(show).collect())
    }
}
