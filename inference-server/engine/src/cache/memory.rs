//! Scores remembered in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use super::Key;

/// Scores remembered in this process, up to a number and a time.
#[derive(Debug)]
pub struct Memory {
    scores: Cache<Key, Vec<f32>>,
    epochs: Mutex<HashMap<String, u64>>,
}

impl Memory {
    /// Remembers `max_entries` scores for `ttl`.
    pub fn new(ttl: Duration, max_entries: u64) -> Self {
        let scores = Cache::builder()
            .time_to_live(ttl)
            .max_capacity(max_entries)
            .build();
        Self {
            scores,
            epochs: Mutex::default(),
        }
    }

    pub(super) fn epoch(&self, version: &str) -> u64 {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.get(version).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Vec<f32>> {
        self.scores.get(key)
    }

    pub(super) fn put(&self, key: Key, logits: Vec<f32>) {
        self.scores.insert(key, logits);
    }

    pub(super) fn invalidate(&self, version: &str) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        *epochs.entry(version.to_owned()).or_insert(0) += 1;
    }
}
