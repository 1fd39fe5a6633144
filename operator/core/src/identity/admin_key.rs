//! The key that the tokens of the routers' admin ports are made of.
//!
//! Invariant: a token says nothing of the key, and its hash nothing of the token, so that the hash may
//! stand in a traffic table that many may read.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A secret of one installation.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey(Vec<u8>);

impl AdminKey {
    /// Bytes below which a key could be guessed.
    pub const LEAST: usize = 32;

    /// A key; `None` where it is too short.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= Self::LEAST).then_some(Self(bytes))
    }

    /// The token for the routers of the resource `uid`: HMAC-SHA-256 of it (RFC 2104), in hex.
    pub fn token(&self, uid: &str) -> String {
        // A key of any length will do, so that there is no error.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).map(|mut mac| {
            mac.update(uid.as_bytes());
            hex::encode(mac.finalize().into_bytes())
        });
        mac.unwrap_or_default()
    }

    /// SHA-256 of that token, in hex: what the routers compare with.
    pub fn token_hash(&self, uid: &str) -> String {
        hex::encode(Sha256::digest(self.token(uid)))
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_a_token_of_its_own_and_none_tells_the_key() {
        let key = AdminKey::new(vec![7; 32]).unwrap();
        assert_ne!(key.token("a"), key.token("b"));
        assert_eq!(key.token("a").len(), 64);
        assert_ne!(key.token("a"), key.token_hash("a"));
        assert_eq!(format!("{key:?}"), "AdminKey(..)");
        assert_eq!(AdminKey::new(vec![7; 31]), None);
    }
}
