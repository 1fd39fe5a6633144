//! A folder with a model in it, one file of which is replaced again and again.
//!
//! Owns how the sound files come into the folder. Must not know what is wrong with the one that is
//! replaced. Invariant: the sound files are never written to.

pub mod json;

use std::fs;
use std::path::{Path, PathBuf};

use inference_models::{LoadError, LoadOptions, Model, load};
use tempfile::TempDir;

/// A folder with a model in it.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// With links to the files of `source`, but for those called as in `without`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn of(source: &Path, without: &[&str]) -> std::io::Result<Self> {
        let folder = TempDir::new()?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let name = entry.file_name();
            if !without.iter().any(|other| *other == name) {
                std::os::unix::fs::symlink(entry.path(), folder.path().join(name))?;
            }
        }
        Ok(Self(folder))
    }

    /// Writes a file that is none of the links.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        fs::write(self.0.path().join(name), bytes)
    }

    /// Loads the model as the server does, with one thread.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&self) -> Result<Model, LoadError> {
        let options = LoadOptions {
            threads: 1,
            ..LoadOptions::default()
        };
        load(self.0.path(), &options)
    }
}

/// A path of this repository, as seen from `inference-server`.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
