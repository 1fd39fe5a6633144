//! Scores that are remembered: by the tokens of a sequence and everything else that its score
//! depends on.
//!
//! Owns the key, the invalidation of a version, and that what several requests ask for at the same
//! time is computed once. It must not know how a score is computed. Invariants: a request that hangs
//! up never fails another one; a store that fails or is slow is a miss, never an error.

mod flights;
mod front;
mod memory;
mod redis;

use std::time::Duration;

use inference_models::Encoded;
use sha2::{Digest as _, Sha256};

pub(crate) use front::Front;
pub use memory::Memory;
pub use redis::Redis;

/// How scores are remembered.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// For how long.
    pub ttl: Duration,
    /// How many, in this process.
    pub max_entries: u64,
    /// The Redis that replicas share; in this process where absent.
    pub redis_url: Option<String>,
}

/// What a sequence is remembered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Everything but the tokens that a score depends on.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The version that is invalidated by name.
    version: String,
    hash: Sha256,
}

impl Scope {
    /// The scope of a model's version: its digest, the format of its numbers, and the engine that computes it,
    /// whose name changes when its bits do.
    pub fn new(version: &str, digest: &str, dtype: &str, engine: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [engine, digest, dtype] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self {
            version: version.to_owned(),
            hash,
        }
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The key of a sequence while the version has that epoch.
    pub fn key(&self, epoch: u64, sequence: &Encoded) -> Key {
        let mut hash = self.hash.clone();
        hash.update(epoch.to_le_bytes());
        hash.update((sequence.ids.len() as u64).to_le_bytes());
        for id in sequence.ids.iter().chain(&sequence.type_ids) {
            hash.update(id.to_le_bytes());
        }
        Key(hash.finalize().into())
    }
}

/// Where scores are remembered.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
    /// In a Redis that replicas share.
    Redis(Redis),
}

impl Store {
    /// The store that `settings` ask for.
    ///
    /// # Errors
    /// A sentence when the address is not one of a Redis.
    pub fn new(settings: &CacheSettings) -> Result<Self, String> {
        match &settings.redis_url {
            Some(url) => Redis::new(url, settings.ttl).map(Self::Redis),
            None => Ok(Self::Memory(Memory::new(
                settings.ttl,
                settings.max_entries,
            ))),
        }
    }

    /// The epoch of a version: it grows when the version is invalidated.
    pub(crate) fn epoch(&self, version: &str) -> u64 {
        match self {
            Self::Memory(memory) => memory.epoch(version),
            Self::Redis(redis) => redis.epoch(version),
        }
    }

    /// What is remembered of `keys`, in their order.
    pub(crate) async fn get(&self, keys: &[Key]) -> Vec<Option<Vec<f32>>> {
        match self {
            Self::Memory(memory) => keys.iter().map(|key| memory.get(key)).collect(),
            Self::Redis(redis) => redis.get(keys).await,
        }
    }

    /// Remembers.
    pub(crate) async fn put(&self, entries: Vec<(Key, Vec<f32>)>) {
        match self {
            Self::Memory(memory) => {
                for (key, logits) in entries {
                    memory.put(key, logits);
                }
            }
            Self::Redis(redis) => redis.put(entries).await,
        }
    }

    /// Forgets what is remembered of a version.
    ///
    /// # Errors
    /// A sentence when the store cannot be reached.
    pub async fn invalidate(&self, version: &str) -> Result<(), String> {
        match self {
            Self::Memory(memory) => {
                memory.invalidate(version);
                Ok(())
            }
            Self::Redis(redis) => redis.invalidate(version).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], type_ids: &[u32]) -> Encoded {
        Encoded {
            ids: ids.to_vec(),
            type_ids: type_ids.to_vec(),
            truncated: false,
        }
    }

    #[test]
    fn whatever_a_score_depends_on_is_in_its_key() {
        let scope = Scope::new("v", "d", "f32", "e-avx2");
        let base = scope.key(0, &sequence(&[1, 2], &[0, 0]));
        assert_eq!(base, scope.key(0, &sequence(&[1, 2], &[0, 0])));
        for other in [
            scope.key(1, &sequence(&[1, 2], &[0, 0])),
            scope.key(0, &sequence(&[1, 2, 0], &[0])),
            scope.key(0, &sequence(&[1, 2], &[0, 1])),
            scope.key(0, &sequence(&[2, 1], &[0, 0])),
            Scope::new("v", "e", "f32", "e-avx2").key(0, &sequence(&[1, 2], &[0, 0])),
            Scope::new("v", "d", "bf16", "e-avx2").key(0, &sequence(&[1, 2], &[0, 0])),
            Scope::new("v", "df", "32", "e-avx2").key(0, &sequence(&[1, 2], &[0, 0])),
            Scope::new("v", "d", "f32", "e-avx512").key(0, &sequence(&[1, 2], &[0, 0])),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_name_is_no_part_of_the_key() {
        let scope =
            |version| Scope::new(version, "d", "f32", "e-avx2").key(0, &sequence(&[1], &[0]));
        assert_eq!(scope("a"), scope("b"));
    }
}
