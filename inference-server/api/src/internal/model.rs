//! What a scoring server says that it serves, and what it is to forget.

use serde::{Deserialize, Serialize};

use super::By;

/// What is served before anything is asked: JSON, because nobody asks for it often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Who would give scores.
    pub by: By,
    /// The architecture's name.
    pub architecture: String,
    /// How many parameters it has.
    pub parameters: u64,
    /// The format of its numbers.
    pub dtype: String,
    /// What it is computed on.
    pub device: String,
    /// By what it is computed.
    #[serde(default)]
    pub engine: String,
    /// Tokens of one input.
    pub max_tokens: usize,
    /// The date that chat templates see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_date: Option<String>,
    /// Seconds since 1970 when it was loaded.
    pub loaded_at: i64,
}

/// Whose scores a server is to forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// The version of the model.
    pub model_version: String,
}
