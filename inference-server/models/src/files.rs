//! The files of a model's folder.
//!
//! Owns reading them and finding the shards. Must not know what is in them. Invariant: every file is
//! read once, and the bytes that are handed out are those that are hashed.

use std::path::Path;

use serde::Deserialize;

use crate::digest::{self, Digest, FileHashes};
use crate::error::{LoadError, Reason};
use crate::weights::Weights;

const INDEX: &str = "model.safetensors.index.json";
/// What holds the weights where they are not in shards.
const WHOLE: &str = "model.safetensors";
/// How a file begins that Git LFS has not replaced by its content.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// What peft saves beside, or in place of, a model.
pub const ADAPTER_FILES: [&str; 3] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
];

/// Why the folder or the source that holds files of these names is an adapter and no whole model.
///
/// # Errors
/// `UnsupportedFormat` with the file that shows it.
pub fn refuse_adapters<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), LoadError> {
    match names.find(|name| ADAPTER_FILES.contains(name)) {
        None => Ok(()),
        Some(name) => Err(LoadError::unsupported(format!(
            "{name} belongs to an adapter (LoRA or another of peft), without which the scores would be those of the base model: merge it (peft: merge_and_unload, then save_pretrained) and use the merged model; remove the file if the base model is meant"
        ))),
    }
}

/// Refuses the bytes of a file that are no more than where Git LFS keeps its content.
///
/// # Errors
/// `ModelInvalid` with the file's name.
pub fn refuse_pointer(name: &str, bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.starts_with(LFS_POINTER) {
        return Err(LoadError::invalid(format!(
            "{name} is a Git LFS pointer and not the file itself: run git lfs pull where it was cloned, and copy it again"
        )));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// The files of a folder, read once each.
pub(crate) struct Files<'a> {
    folder: &'a Path,
    names: Vec<String>,
    hashes: FileHashes,
    bytes: u64,
}

impl<'a> Files<'a> {
    pub(crate) fn open(folder: &'a Path) -> Result<Self, LoadError> {
        let names = digest::files(folder)?;
        refuse_adapters(
            ADAPTER_FILES
                .into_iter()
                .filter(|name| folder.join(name).is_file()),
        )?;
        Ok(Self {
            folder,
            names,
            hashes: FileHashes::default(),
            bytes: 0,
        })
    }

    /// The digest of what was read.
    pub(crate) fn digest(&self) -> Digest {
        self.hashes.digest()
    }

    /// Bytes that were read.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, LoadError> {
        let bytes = std::fs::read(self.folder.join(name)).map_err(|error| {
            LoadError::new(
                Reason::LoadFailed,
                format!("{name} cannot be read: {error}"),
            )
        })?;
        refuse_pointer(name, &bytes)?;
        self.hashes.add(name, &bytes);
        self.bytes += bytes.len() as u64;
        self.names.retain(|other| other != name);
        Ok(bytes)
    }

    /// A file beside the model's, which is no part of its digest.
    pub(crate) fn beside(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        match std::fs::read(self.folder.join(name)) {
            Ok(bytes) => {
                refuse_pointer(name, &bytes)?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LoadError::new(
                Reason::LoadFailed,
                format!("{name} cannot be read: {error}"),
            )),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        if self.has(name) {
            self.read(name).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Vec<u8>, LoadError> {
        self.optional(name)?.ok_or_else(|| {
            LoadError::invalid(format!("{name} is missing: copy it beside the weights"))
        })
    }

    /// Adds the tensors of all shards to `weights`.
    pub(crate) fn weights(&mut self, mut weights: Weights) -> Result<Weights, LoadError> {
        let shards = self.shards()?;
        for shard in shards {
            let bytes = self.read(&shard)?;
            weights.add_shard(&shard, &bytes)?;
        }
        Ok(weights.settled())
    }

    fn shards(&mut self) -> Result<Vec<String>, LoadError> {
        let Some(index) = self.optional(INDEX)? else {
            return self.single();
        };
        let index: Index = serde_json::from_slice(&index).map_err(|error| {
            LoadError::invalid(format!("{INDEX} cannot be read ({error}): copy it again"))
        })?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        // What is left of a sharded model beside a whole one: transformers reads the whole one.
        if self.has(WHOLE) && !shards.iter().any(|shard| shard == WHOLE) {
            return Ok(vec![WHOLE.to_owned()]);
        }
        let missing: Vec<_> = shards
            .iter()
            .filter(|shard| !self.has(shard))
            .cloned()
            .collect();
        if missing.is_empty() && !shards.is_empty() {
            Ok(shards)
        } else {
            Err(LoadError::invalid(format!(
                "shards are missing: {}; copy the model again",
                missing.join(", ")
            )))
        }
    }

    fn single(&self) -> Result<Vec<String>, LoadError> {
        let found: Vec<_> = self
            .names
            .iter()
            .filter(|name| name.ends_with(".safetensors"))
            .cloned()
            .collect();
        match found.len() {
            1 => Ok(found),
            0 => Err(self.no_weights()),
            _ if self.has(WHOLE) => Ok(vec![WHOLE.to_owned()]),
            _ => Err(LoadError::invalid(format!(
                "there are several safetensors files and no {INDEX}: copy the index too"
            ))),
        }
    }

    /// Pickles run code when they are read; they are named and refused.
    fn no_weights(&self) -> LoadError {
        let pickle = |name: &String| {
            [".bin", ".pt", ".pth", ".pkl", ".ckpt"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let entries = std::fs::read_dir(self.folder)
            .into_iter()
            .flatten()
            .flatten();
        let found = entries
            .filter_map(|e| e.file_name().into_string().ok())
            .find(pickle);
        match found {
            Some(name) => LoadError::unsupported(format!(
                "{name} is a pickle, which runs code when it is read; convert it with transformers: model.save_pretrained(DIR, safe_serialization=True)"
            )),
            None => LoadError::invalid(
                "there is no safetensors file in the model's folder: copy the weights",
            ),
        }
    }

    /// Hashes what counts but is not used.
    pub(crate) fn rest(&mut self) -> Result<(), LoadError> {
        for name in self.names.clone() {
            self.read(&name)?;
        }
        Ok(())
    }
}
