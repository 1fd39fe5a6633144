//! Inputs to token ids, as `tokenizer.json` and the chat template say.
//!
//! Owns which form an input takes for which kind of model, and truncation. Must not know of
//! requests. Invariants: special tokens survive truncation; what is answered fits the model's
//! positions and its embedding; truncation and padding that the file itself asks for are switched
//! off, for they are settings of training.

mod prepare;
mod show;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::{
    Encoding, PostProcessor, PostProcessorWrapper, Tokenizer, TruncationDirection,
    TruncationParams, TruncationStrategy, truncate_encodings,
};

use crate::architectures::Kind;
use crate::chat::ChatTemplate;
use crate::error::{LoadError, Reason};
use crate::input::{Chat, ChatMessage, EncodeOptions, Encoded, InputError, TextInput, Truncation};

pub use show::ShownToken;

/// How a model's inputs are encoded.
#[derive(Debug)]
pub struct Settings {
    /// The most tokens of one input.
    pub max_tokens: usize,
    /// Which side of a long input is cut; by kind of input where it is `None`.
    pub truncation: Option<Truncation>,
    /// Which side of a long text the model's own files cut; chats are cut at their beginning all the
    /// same.
    pub own_side: Option<Truncation>,
    /// How many segment ids the model tells apart; `None` where it is fed none.
    pub segments: Option<usize>,
    /// Token ids below this have an embedding.
    pub vocabulary: usize,
    /// How the model reads a conversation.
    pub kind: Kind,
    /// What renders conversations for a decoder.
    pub chat: Option<ChatTemplate>,
    /// The token that begins a text, where there is one.
    pub bos: Option<String>,
    /// The token that ends a text, where there is one.
    pub eos: Option<String>,
    /// The token that fills texts up, where there is one.
    pub pad: Option<String>,
    /// Whether a text that begins with `bos` gets no second one.
    pub single_bos: bool,
}

/// The tokenizer of a model with its limits.
#[derive(Debug)]
pub struct InputTokenizer {
    tokenizer: Tokenizer,
    settings: Settings,
    bos: Option<u32>,
    pairs: bool,
}

/// What is given to the tokenizer.
struct Form<'a> {
    first: std::borrow::Cow<'a, str>,
    second: Option<&'a str>,
    /// Whether a template made it: its special tokens are in the text already.
    rendered: bool,
}

impl<'a> Form<'a> {
    const fn texts(first: &'a str, second: Option<&'a str>) -> Self {
        Self {
            first: std::borrow::Cow::Borrowed(first),
            second,
            rendered: false,
        }
    }
}

impl InputTokenizer {
    /// Reads `tokenizer.json`; beside it is the side that it cuts, where it says one.
    ///
    /// # Errors
    /// `ModelInvalid` when it cannot be read, or does not fit the model's `vocabulary`.
    pub fn parse(
        bytes: &[u8],
        vocabulary: usize,
    ) -> Result<(Tokenizer, Option<Truncation>), LoadError> {
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes)).map_err(|error| {
            LoadError::invalid(format!("tokenizer.json cannot be read ({error}): copy it again from where the model was trained"))
        })?;
        let side = tokenizer.get_truncation().map(|own| match own.direction {
            TruncationDirection::Left => Truncation::Left,
            TruncationDirection::Right => Truncation::Right,
        });
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| LoadError::invalid(format!("tokenizer.json: {error}")))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if usize::try_from(largest).map_or(true, |largest| largest >= vocabulary) {
            return Err(LoadError::invalid(format!(
                "tokenizer.json has the token id {largest}, the embedding has {vocabulary} rows: tokenizer and weights belong to different models"
            )));
        }
        Ok((tokenizer, side))
    }

    /// A tokenizer with the settings of its model.
    ///
    /// # Errors
    /// `LoadFailed` when nothing would be left beside the special tokens.
    pub fn new(tokenizer: Tokenizer, settings: Settings) -> Result<Self, LoadError> {
        let pairs = tokenizer.get_post_processor().is_some_and(has_pair_form);
        let special = special_tokens(&tokenizer, pairs);
        if settings.max_tokens <= special {
            return Err(LoadError::new(
                Reason::LoadFailed,
                format!(
                    "--max-tokens {} leaves no room beside {special} special tokens: raise it",
                    settings.max_tokens
                ),
            ));
        }
        let bos = settings
            .bos
            .as_ref()
            .and_then(|bos| tokenizer.token_to_id(bos));
        let unchecked = Self {
            tokenizer,
            settings,
            bos,
            pairs,
        };
        let pair = unchecked.encode(
            &TextInput::Pair("a".to_owned(), "b".to_owned()),
            EncodeOptions::default(),
        );
        if let Err(InputError::Tokenizer(why)) = pair {
            return Err(LoadError::invalid(format!(
                "tokenizer.json cannot encode two texts ({why}): copy it again from where the model was trained"
            )));
        }
        Ok(Self {
            pairs: pair != Err(InputError::NoPairs),
            ..unchecked
        })
    }

    /// The most tokens of one input.
    pub const fn max_tokens(&self) -> usize {
        self.settings.max_tokens
    }

    /// Whether the model has a form for two texts.
    pub const fn has_pairs(&self) -> bool {
        self.pairs
    }

    /// Whether conversations of any number of turns can be rendered.
    pub const fn has_template(&self) -> bool {
        self.settings.chat.is_some()
    }

    /// Encodes one input.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn encode(&self, input: &TextInput, options: EncodeOptions) -> Result<Encoded, InputError> {
        let (input, cut) = self.prepare(input, options)?;
        let form = self.form(&input)?;
        let side = options
            .truncation
            .or(self.settings.truncation)
            .unwrap_or_else(|| {
                if form.rendered {
                    Truncation::Left
                } else {
                    self.settings.own_side.unwrap_or_default()
                }
            });
        let special = options.add_special_tokens.unwrap_or(!form.rendered);
        let most = self.settings.max_tokens;
        let limit = options.max_tokens.map_or(most, |limit| limit.min(most));
        let (encoding, truncated) = self.fit(&form, special, limit, side)?;
        let mut ids = encoding.get_ids().to_vec();
        // The leading token that begins a rendered chat is part of its text, and was cut with it.
        if truncated && form.rendered && !special && side == Truncation::Left {
            self.restore_bos(&form, &mut ids)?;
        }
        let type_ids = match self.settings.segments {
            Some(_) => encoding.get_type_ids().to_vec(),
            None => vec![0; ids.len()],
        };
        self.check(Encoded {
            ids,
            type_ids,
            truncated: truncated || cut,
        })
    }

    fn form<'a>(&self, input: &'a TextInput) -> Result<Form<'a>, InputError> {
        match (input, self.settings.kind) {
            (TextInput::Text(text), _) => Ok(Form::texts(text, None)),
            (TextInput::Pair(first, second), _) => self.pair(first, second),
            (TextInput::Conversation { prompt, response }, Kind::Encoder) => {
                self.pair(prompt, response)
            }
            (TextInput::Conversation { prompt, response }, Kind::Decoder) => {
                self.render(&Chat::of(prompt, response))
            }
            (TextInput::Messages(chat), Kind::Encoder) => {
                if let Some(name) = chat.more_than_texts() {
                    return Err(InputError::NotInTwoTexts(name));
                }
                match chat.messages.as_slice() {
                    [prompt, response]
                        if prompt.role() == "user" && response.role() == "assistant" =>
                    {
                        let content = |turn: &'a ChatMessage| turn.content();
                        let both = content(prompt).zip(content(response));
                        let (prompt, response) = both.ok_or(InputError::NoPairOfTurns)?;
                        self.pair(prompt, response)
                    }
                    _ => Err(InputError::NoPairOfTurns),
                }
            }
            (TextInput::Messages(chat), Kind::Decoder) => self.render(chat),
        }
    }

    fn pair<'a>(&self, first: &'a str, second: &'a str) -> Result<Form<'a>, InputError> {
        if self.pairs {
            Ok(Form::texts(first, Some(second)))
        } else {
            Err(InputError::NoPairs)
        }
    }

    fn render(&self, chat: &Chat) -> Result<Form<'static>, InputError> {
        if chat.messages.is_empty() {
            return Err(InputError::NoMessages);
        }
        let template = self.settings.chat.as_ref().ok_or(InputError::NoTemplate)?;
        Ok(Form {
            first: template.render(chat)?.into(),
            second: None,
            rendered: true,
        })
    }

    /// Encodes with no more than `limit` tokens; whether something was cut is said beside it.
    fn fit(
        &self,
        form: &Form<'_>,
        special: bool,
        limit: usize,
        side: Truncation,
    ) -> Result<(Encoding, bool), InputError> {
        let first = self.tokens(&form.first)?;
        let second = form.second.map(|text| self.tokens(text)).transpose()?;
        let added = if special {
            special_tokens(&self.tokenizer, second.is_some())
        } else {
            0
        };
        let tokens = first.len() + second.as_ref().map_or(0, Encoding::len) + added;
        if side == Truncation::Reject && tokens > limit {
            return Err(InputError::TooLong { tokens, limit });
        }
        let direction = match side {
            Truncation::Right | Truncation::Reject => TruncationDirection::Right,
            Truncation::Left => TruncationDirection::Left,
        };
        if limit <= added {
            return Err(InputError::NoRoom {
                limit,
                special: added,
            });
        }
        let params = TruncationParams {
            direction,
            max_length: limit - added,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let encoding = guarded(|| {
            let (first, second) = truncate_encodings(first, second, &params)?;
            self.tokenizer
                .post_process(kept(first), second.map(kept), special)
        })
        .map_err(InputError::Tokenizer)?;
        Ok((encoding, tokens > limit))
    }

    /// Tokens of one text by itself, without special ones.
    fn tokens(&self, text: &str) -> Result<Encoding, InputError> {
        guarded(|| self.tokenizer.encode_fast(text, false)).map_err(InputError::Tokenizer)
    }

    fn restore_bos(&self, form: &Form<'_>, ids: &mut [u32]) -> Result<(), InputError> {
        let Some(bos) = self.settings.bos.as_deref().zip(self.bos) else {
            return Ok(());
        };
        // A limit of one token leaves the end, which is what is scored.
        if let ([first, _, ..], (text, id)) = (ids, bos)
            && form.first.starts_with(text)
            && self.tokens(text)?.get_ids() == [id]
        {
            *first = id;
        }
        Ok(())
    }

    fn check(&self, encoded: Encoded) -> Result<Encoded, InputError> {
        let segments = encoded
            .type_ids
            .iter()
            .max()
            .map_or(0, |id| *id as usize + 1);
        let beyond = encoded
            .ids
            .iter()
            .find(|id| **id as usize >= self.settings.vocabulary);
        if encoded.ids.is_empty() {
            Err(InputError::Empty)
        } else if self.settings.segments.is_some_and(|known| segments > known) {
            Err(InputError::NoPairs)
        } else if let Some(id) = beyond {
            Err(InputError::Tokenizer(format!(
                "the token id {id} has no embedding"
            )))
        } else {
            Ok(encoded)
        }
    }
}

/// The library panics where a file contradicts itself: such a file must neither end the program nor
/// a thread of it.
pub(crate) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_panic) => Err("it contradicts itself".to_owned()),
    }
}

/// Without what was cut off, which would be processed for nothing.
fn kept(mut encoding: Encoding) -> Encoding {
    drop(encoding.take_overflowing());
    encoding
}

/// Whether the tokenizer was made for pairs; without a form they would be two texts run together.
fn has_pair_form(processor: &PostProcessorWrapper) -> bool {
    match processor {
        PostProcessorWrapper::Roberta(_)
        | PostProcessorWrapper::Bert(_)
        | PostProcessorWrapper::Template(_) => true,
        PostProcessorWrapper::ByteLevel(_) => false,
        PostProcessorWrapper::Sequence(all) => all.as_ref().iter().any(has_pair_form),
    }
}

/// Special tokens that are added to one text, or to two.
fn special_tokens(tokenizer: &Tokenizer, pair: bool) -> usize {
    tokenizer
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(pair))
}
