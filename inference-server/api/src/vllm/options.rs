//! What all of vLLM's scoring routes take, and how it turns inputs into tokens.
//!
//! Must not know what the routes answer. Invariant: an option that would change a score is honoured or
//! refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::input::{InputOptions, Side};
use crate::{Limits, Problem, options};

/// What all of vLLM's scoring routes take.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = VllmOptions)]
pub struct Options {
    /// Whether logits go through an activation; it does by default.
    #[serde(default, alias = "activation", alias = "softmax")]
    pub use_activation: Option<bool>,
    /// Keeps the last tokens; -1 is as many as the model takes.
    #[serde(default)]
    pub truncate_prompt_tokens: Option<i64>,
    /// Which side is cut.
    #[serde(default)]
    pub truncation_side: Option<Cut>,
    /// Whether the tokenizer adds its special tokens; by default it does, except to messages.
    #[serde(default)]
    pub add_special_tokens: Option<bool>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: BTreeMap<String, Value>,
}

/// Names of options that change a score, here or in requests that have these.
const KNOWN: [&str; 14] = [
    "use_activation",
    "activation",
    "softmax",
    "truncate_prompt_tokens",
    "truncation_side",
    "add_special_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "documents",
    "tools",
    "top_n",
    "max_tokens_per_doc",
    "max_tokens_per_query",
];

/// Which side is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = VllmCut)]
pub enum Cut {
    /// The beginning.
    Left,
    /// The end.
    Right,
}

impl Options {
    /// Whether the logits are answered as they are.
    pub const fn raw(&self) -> bool {
        matches!(self.use_activation, Some(false))
    }

    /// How much a text may hold: one that is cut may be of any length.
    pub const fn limits(&self, limits: &Limits) -> Limits {
        if self.cuts() {
            limits.of_cut_texts()
        } else {
            *limits
        }
    }

    /// Whether inputs are to be cut.
    pub const fn cuts(&self) -> bool {
        self.truncate_prompt_tokens.is_some()
    }

    /// How inputs are encoded by a model that takes `most` tokens. Too long an input is refused
    /// unless it is to be cut.
    ///
    /// # Errors
    /// 422 when `truncate_prompt_tokens` keeps nothing, or an option is unknown; 400 when it keeps
    /// more than the model takes.
    pub fn input_options(&self, most: usize) -> Result<InputOptions, Problem> {
        options::check(&self.rest, &KNOWN)?;
        let wrong = || {
            Problem::unprocessable(
                "truncate_prompt_tokens keeps no token: send a positive number, or -1",
            )
        };
        let max_tokens = match self.truncate_prompt_tokens {
            None | Some(-1) => None,
            Some(kept) => Some(
                usize::try_from(kept)
                    .ok()
                    .filter(|kept| *kept > 0)
                    .ok_or_else(wrong)?,
            ),
        };
        if let Some(kept) = max_tokens.filter(|kept| *kept > most) {
            return Err(Problem::bad_request(format!(
                "truncate_prompt_tokens keeps {kept} tokens, the model takes {most}: lower it, or send -1 for as many as it takes"
            )));
        }
        let side = match (self.cuts(), self.truncation_side) {
            (false, _) => Side::Reject,
            (true, Some(Cut::Right)) => Side::Right,
            (true, Some(Cut::Left) | None) => Side::Left,
        };
        Ok(InputOptions {
            add_special_tokens: self.add_special_tokens,
            max_tokens,
            truncation: Some(side),
            ..InputOptions::default()
        })
    }
}
