//! How requests are answered, whoever serves.

use std::time::Duration;

use inference_api::Limits;

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) max_pairs: usize,
    /// Of one body, decompressed.
    pub(crate) max_body_bytes: usize,
    pub(crate) max_batch_tokens: usize,
    pub(crate) max_concurrent_requests: usize,
    pub(crate) timeout: Duration,
    pub(crate) evaluate_timeout: Duration,
    pub(crate) dialect_scores: DialectScores,
}

/// Scores in the dialects of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialectScores {
    /// As the peer's own defaults and the request say.
    Peer,
    /// Logits, always.
    Raw,
}
