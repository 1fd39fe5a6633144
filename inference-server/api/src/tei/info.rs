//! What TEI's clients ask before they score: `GET /info`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// Answer of `GET /info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TeiInfo)]
pub struct Info {
    /// The version that is served.
    pub model_id: String,
    /// The digest of its files.
    pub model_sha: Option<String>,
    /// Its number format, in TEI's words.
    pub model_dtype: String,
    /// The version that is served.
    pub served_model_name: String,
    /// Its labels, as a reranker (one label) or a classifier (several).
    pub model_type: BTreeMap<String, Labels>,
    /// Requests that are worked on at once.
    pub max_concurrent_requests: usize,
    /// Tokens of one input.
    pub max_input_length: usize,
    /// Tokens of one batch of the engine.
    pub max_batch_tokens: usize,
    /// Requests of one batch of the engine: not limited.
    pub max_batch_requests: Option<usize>,
    /// Items of one request.
    pub max_client_batch_size: usize,
    /// Whether long inputs are cut unless a request says otherwise.
    pub auto_truncate: bool,
    /// Threads that make tokens.
    pub tokenization_workers: usize,
    /// The server's version.
    pub version: String,
}

/// Names of labels by index, and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TeiLabels)]
pub struct Labels {
    /// Names by index.
    pub id2label: BTreeMap<String, String>,
    /// Indexes by name.
    pub label2id: BTreeMap<String, usize>,
}

impl Labels {
    /// The names in the order of the logits.
    pub fn new(names: &[String]) -> Self {
        let numbered = || names.iter().cloned().enumerate();
        Self {
            id2label: numbered()
                .map(|(id, name)| (id.to_string(), name))
                .collect(),
            label2id: numbered().map(|(id, name)| (name, id)).collect(),
        }
    }
}
