//! Which key is served by whom: the same in every router, after every restart, in every language.
//!
//! Owns the hash of docs/sticky.md (stats.md section 5): SHA-256 over a domain, a salt, a zero byte and
//! the key, whose first eight bytes are a big-endian number in 0..2^64 that is scaled to slots. It must
//! not know of weights: who owns a slot is [`crate::effective`]'s. Invariant: a key is hashed as it was
//! received, byte for byte.

use sha2::{Digest, Sha256};

use crate::WHOLE;

/// What slots are hashed under.
const ASSIGN: &[u8] = b"abx/assign/v1\0";
/// What cells are hashed under, so that they say nothing of slots.
const CELL: &[u8] = b"abx/cell/v1\0";
/// What is hashed under to choose who is shadowed, so that it says nothing of slots and cells.
const SHADOW: &[u8] = b"abx/shadow/v1\0";
/// Cells of evidence.
pub const CELLS: u16 = 1_024;

/// A place of the traffic, 0 to 9,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// `None` from 10,000.
    pub const fn new(slot: u16) -> Option<Self> {
        if slot < WHOLE { Some(Self(slot)) } else { None }
    }
}

/// Why a text is no user's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasNul;

impl std::fmt::Display for KeyHasNul {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the user key contains a zero byte: send an id without one")
    }
}

impl std::error::Error for KeyHasNul {}

/// What requests that belong together have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// A user's id.
    ///
    /// # Errors
    /// Where it contains a zero byte: other implementations end it there.
    pub fn user(id: &'a [u8]) -> Result<Self, KeyHasNul> {
        if id.contains(&0) {
            Err(KeyHasNul)
        } else {
            Ok(Self(id))
        }
    }

    /// The prompt, where no user is known. Any bytes: a salt has no zero byte, so what is hashed is
    /// unambiguous all the same, and a text is not refused for what decides where it goes.
    pub const fn prompt(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The user's id where there is one, else the prompt.
    ///
    /// # Errors
    /// Where the id contains a zero byte.
    pub fn choose(user: Option<&'a [u8]>, prompt: &'a [u8]) -> Result<Self, KeyHasNul> {
        match user.filter(|id| !id.is_empty()) {
            Some(id) => Self::user(id),
            None => Ok(Self::prompt(prompt)),
        }
    }
}

/// Places keys, under one salt.
#[derive(Clone, Debug)]
pub struct Assigner {
    assign: Sha256,
    cell: Sha256,
    shadow: Sha256,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The hash that the slot is made of. It stands for the key where keys are counted.
    pub hash: u64,
    /// The place of the traffic.
    pub slot: Slot,
}

impl Assigner {
    /// That of a salt. The part of the hash that all keys share is computed once.
    pub fn new(salt: &str) -> Self {
        let under = |domain: &[u8]| {
            Sha256::new()
                .chain_update(domain)
                .chain_update(salt)
                .chain_update([0])
        };
        Self {
            assign: under(ASSIGN),
            cell: under(CELL),
            shadow: under(SHADOW),
        }
    }

    /// Where a key stands in the traffic.
    pub fn place(&self, key: Key<'_>) -> Place {
        let hash = head(self.assign.clone(), key);
        Place {
            hash,
            slot: Slot(scaled(hash, WHOLE)),
        }
    }

    /// The cell of evidence that a key belongs to, 0 to 1,023.
    pub fn cell(&self, key: Key<'_>) -> u16 {
        scaled(head(self.cell.clone(), key), CELLS)
    }

    /// Whether a key is of the so many percent whose requests are shadowed: the same in every router, and
    /// of more percent for ever.
    pub fn is_shadowed(&self, key: Key<'_>, percent: u8) -> bool {
        scaled(head(self.shadow.clone(), key), 100) < u16::from(percent)
    }

    /// The first 32 bits of what the cell of a key is made of. They stand for the key where evidence
    /// counts it once.
    pub fn unit(&self, key: Key<'_>) -> u32 {
        // 32 bits are left.
        u32::try_from(head(self.cell.clone(), key) >> 32).unwrap_or_default()
    }
}

fn head(hash: Sha256, key: Key<'_>) -> u64 {
    let digest = hash.chain_update(key.0).finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `hash / 2^64 * parts`, rounded down.
fn scaled(hash: u64, parts: u16) -> u16 {
    let scaled = (u128::from(hash) * u128::from(parts)) >> 64;
    // Below `parts` by construction.
    u16::try_from(scaled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_a_zero_byte_is_refused_and_a_prompt_is_not() {
        assert_eq!(Key::user(b"a\0b"), Err(KeyHasNul));
        let assigner = Assigner::new("salt");
        let [plain, zero] = [&b"a"[..], b"a\0"].map(|text| assigner.place(Key::prompt(text)));
        assert_ne!(plain.hash, zero.hash);
    }

    #[test]
    fn who_is_shadowed_is_shadowed_at_more_percent_too_and_all_are_at_a_hundred() {
        let assigner = Assigner::new("salt");
        let keys: Vec<String> = (0..2_000).map(|user| format!("user {user}")).collect();
        let of = |percent| {
            let is = |key: &&String| assigner.is_shadowed(Key::prompt(key.as_bytes()), percent);
            keys.iter().filter(is).count()
        };
        assert_eq!((of(0), of(100)), (0, keys.len()));
        assert!((300..500).contains(&of(20)), "{}", of(20));
        for key in &keys {
            let key = Key::prompt(key.as_bytes());
            assert!(!assigner.is_shadowed(key, 20) || assigner.is_shadowed(key, 21));
        }
    }

    #[test]
    fn a_cell_is_a_part_of_the_hash_that_stands_for_the_key() {
        let assigner = Assigner::new("salt");
        for user in 0_u32..500 {
            let bytes = user.to_be_bytes();
            let key = Key::prompt(&bytes);
            let unit = crate::evidence::Unit::of(&assigner, key);
            assert_eq!(unit.cell(), assigner.cell(key));
        }
    }

    #[test]
    fn a_missing_user_is_served_by_the_prompt() {
        let prompt = Key::prompt(b"prompt");
        assert_eq!(Key::choose(None, b"prompt"), Ok(prompt));
        assert_eq!(Key::choose(Some(b""), b"prompt"), Ok(prompt));
        assert_eq!(Key::choose(Some(b"u"), b"prompt"), Key::user(b"u"));
        assert_eq!(Key::choose(Some(b"\0"), b"prompt"), Err(KeyHasNul));
    }

    #[test]
    fn the_ends_of_the_hash_are_the_ends_of_the_slots() {
        assert_eq!(scaled(0, WHOLE), 0);
        assert_eq!(scaled(u64::MAX, WHOLE), 9_999);
        assert_eq!(scaled(u64::MAX, CELLS), 1_023);
    }
}
