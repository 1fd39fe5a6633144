//! The identity of a model: SHA-256 over the sorted `sha256  path` lines of its files.
//!
//! Owns which files count. Invariant: the same files give the same digest on every machine, and a
//! file that does not count cannot change a score.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{LoadError, Reason};

/// The files that are known by their names, beside those of weights.
pub const NAMED: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// The digest of a model, `sha256:` and 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Reads a digest.
    ///
    /// # Errors
    /// A sentence when it is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() == 64 && hex.bytes().all(lower) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a digest: write sha256: and 64 lower-case hex digits, as `inference-server verify` prints it"
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve hex digits, which name a version where nobody else does.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hashes of the files that were read, by name.
#[derive(Clone, Debug, Default)]
pub struct FileHashes(BTreeMap<String, String>);

impl FileHashes {
    /// Adds a file with these bytes.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0
            .insert(name.to_owned(), hex::encode(Sha256::digest(bytes)));
    }

    /// Adds a file whose SHA-256 is known.
    pub fn add_hash(&mut self, name: &str, hash: [u8; 32]) {
        self.0.insert(name.to_owned(), hex::encode(hash));
    }

    /// The digest of all files.
    pub fn digest(&self) -> Digest {
        let mut all = Sha256::new();
        for (name, hash) in &self.0 {
            all.update(format!("{hash}  {name}\n"));
        }
        Digest(format!("sha256:{}", hex::encode(all.finalize())))
    }
}

/// The files of the model in `folder` that count, sorted: configuration first, then weights.
///
/// # Errors
/// `VolumeUnavailable` when there is no such folder.
pub fn files(folder: &Path) -> Result<Vec<String>, LoadError> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        LoadError::new(
            Reason::VolumeUnavailable,
            format!(
                "the model's folder cannot be read ({error}): check the claim and the path in it"
            ),
        )
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| LoadError::new(Reason::LoadFailed, error.to_string()))?;
        if let Ok(name) = entry.file_name().into_string()
            && counts(&name)
            && folder.join(&name).is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a file of that name is part of a model.
pub fn counts(name: &str) -> bool {
    let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    NAMED.contains(&name) || weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sum_piped_into_sha256sum() {
        // printf hello > config.json; printf world > model.safetensors
        // LC_ALL=C sha256sum config.json model.safetensors | sha256sum
        let mut hashes = FileHashes::default();
        hashes.add("model.safetensors", b"world");
        hashes.add("config.json", b"hello");
        assert_eq!(
            hashes.digest().as_str(),
            "sha256:e4ac5835ff759dc3198e1e54363e9a038bd60aea4924d1c3318b7b7ed8340da7"
        );
    }

    #[test]
    fn only_the_files_of_a_model_count() {
        for name in [
            "config.json",
            "model-00001-of-00003.safetensors",
            "model.safetensors.index.json",
        ] {
            assert!(counts(name), "{name}");
        }
        for name in [
            "README.md",
            "pytorch_model.bin",
            "expected.jsonl",
            "calibration.json",
            ".safetensors.swp",
        ] {
            assert!(!counts(name), "{name}");
        }
    }

    #[test]
    fn a_malformed_digest_says_how_to_get_one() {
        for text in [
            "",
            "sha256:",
            "abc",
            &"a".repeat(64),
            &format!("sha256:{}", "A".repeat(64)),
        ] {
            assert!(
                Digest::parse(text).unwrap_err().contains("verify"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_missing_folder_names_claim_and_path() {
        let error = files(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.reason, Reason::VolumeUnavailable);
        assert!(!error.message.contains("/nowhere"));
    }
}
