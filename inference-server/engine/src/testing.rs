//! What several tests of this crate need.

use std::time::Duration;

use inference_models::Encoded;

use crate::Observer;

/// Nobody watches.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Observer for Nobody {
    fn batch(&self, _: usize, _: usize, _: Duration) {}
    fn left(&self) {}
    fn lost(&self, _: &str) {}
}

/// Sequences of three tokens each, all of them that one.
pub(crate) fn sequences(ids: &[u32]) -> Vec<Encoded> {
    ids.iter().map(|&id| sequence(id, 3)).collect()
}

/// A sequence of so many tokens, all of them that one.
pub(crate) fn sequence(id: u32, tokens: usize) -> Encoded {
    Encoded {
        ids: vec![id; tokens],
        type_ids: vec![0; tokens],
        truncated: false,
    }
}
