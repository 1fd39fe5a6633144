//! What of a model is in a folder already, what is to come, and what goes.
//!
//! Owns what is remembered of a folder between runs. Invariants: a file under its name is touched only when
//! all that is to come is there; what was begun of another file is never gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use inference_models::digest;
use serde::{Deserialize, Serialize};

use super::download;
use super::remote::RemoteFile;

/// Remembers where the files of a folder came from. It is no part of the digest.
pub(super) const STATE: &str = ".fetch.json";
/// The same of the files that were begun, and have no names yet.
const BEGUN: &str = ".fetch.part.json";

/// What was fetched, or begun.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    source: String,
    /// With nothing where it is to be fetched anew, whatever it is.
    files: BTreeMap<String, Option<Mark>>,
}

/// What tells whether a file has changed at its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    size: Option<u64>,
    tag: Option<String>,
}

/// One run of a folder.
pub(super) struct Plan {
    state: State,
    /// The files that are there under their names, as their source has them.
    there: BTreeSet<String>,
    /// Those that the source has no more.
    gone: Vec<String>,
}

impl Plan {
    /// Looks at the folder. What was begun of files that have changed since is of no use, and goes.
    ///
    /// # Errors
    /// When the folder has files of another model, or cannot be written to.
    pub(super) fn begin(source: &str, folder: &Path, files: &[RemoteFile]) -> anyhow::Result<Self> {
        let marks = files
            .iter()
            .map(|file| (file.name.clone(), Some(mark(file))));
        let state = State {
            source: source.to_owned(),
            files: marks.collect(),
        };
        let (named, begun) = (read_state(folder, STATE), read_state(folder, BEGUN));
        let is_same = |of: &State, name: &str| {
            let mark = |of: &State| of.files.get(name).cloned().flatten();
            of.source == state.source && mark(of).is_some() && mark(of) == mark(&state)
        };
        let is_gone = |name: &&String| !state.files.contains_key(*name);
        let own = named.source == state.source;
        let gone: Vec<String> = named
            .files
            .keys()
            .filter(|name| own && is_gone(name))
            .cloned()
            .collect();
        require_no_others(folder, &state, &gone)?;
        let is_there = |name: &&String| is_same(&named, name) && folder.join(name).is_file();
        let there: BTreeSet<String> = state.files.keys().filter(is_there).cloned().collect();
        for name in begun.files.keys().chain(state.files.keys()) {
            if there.contains(name) || !is_same(&begun, name) {
                download::forget(&part(folder, name))?;
            }
        }
        write_state(folder, BEGUN, &state)?;
        Ok(Self { state, there, gone })
    }

    /// Where a file is, or comes, and whether it is there.
    pub(super) fn place(&self, folder: &Path, name: &str) -> (PathBuf, bool) {
        if self.there.contains(name) {
            (folder.join(name), true)
        } else {
            (part(folder, name), false)
        }
    }

    /// A complete file, whether it has its name yet or not; `None` where the source has none.
    pub(super) fn bytes_of(&self, folder: &Path, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        if !self.state.files.contains_key(name) {
            return Ok(None);
        }
        let (path, _) = self.place(folder, name);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Some(bytes))
    }

    /// What has come is no model: nothing of it is gone on with. What was there before stays, and is
    /// fetched anew the next time, because it may be that which is broken.
    pub(super) fn forget(&self, folder: &Path) -> anyhow::Result<()> {
        for name in self.state.files.keys() {
            download::forget(&part(folder, name))?;
        }
        self.distrust(folder)?;
        download::forget(&folder.join(BEGUN))
    }

    /// What is under its name is fetched anew the next time.
    fn distrust(&self, folder: &Path) -> anyhow::Result<()> {
        let names = self.state.files.keys().chain(&self.gone);
        let state = State {
            source: self.state.source.clone(),
            files: names.map(|name| (name.clone(), None)).collect(),
        };
        write_state(folder, STATE, &state)
    }

    /// All has come: gives it its names.
    pub(super) fn publish(&self, folder: &Path) -> anyhow::Result<()> {
        // A run that ends in between is not believed.
        self.distrust(folder)?;
        for name in &self.gone {
            download::forget(&folder.join(name))?;
        }
        for name in self.state.files.keys() {
            let part = part(folder, name);
            if part.is_file() {
                std::fs::rename(&part, folder.join(name))
                    .with_context(|| part.display().to_string())?;
            }
        }
        write_state(folder, STATE, &self.state)?;
        download::forget(&folder.join(BEGUN))
    }
}

fn part(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.part"))
}

fn mark(file: &RemoteFile) -> Mark {
    Mark {
        size: file.size,
        tag: file.tag.clone(),
    }
}

/// A file of another model would be part of the digest.
fn require_no_others(folder: &Path, state: &State, gone: &[String]) -> anyhow::Result<()> {
    let there = digest::files(folder).map_err(|error| anyhow::anyhow!("{error}"))?;
    match there
        .iter()
        .find(|name| !state.files.contains_key(*name) && !gone.contains(name))
    {
        None => Ok(()),
        Some(name) => bail!(
            "{} holds {name}, which the source does not: fetch into an empty folder",
            folder.display()
        ),
    }
}

fn read_state(folder: &Path, name: &str) -> State {
    std::fs::read(folder.join(name))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn write_state(folder: &Path, name: &str, state: &State) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(state)?;
    std::fs::write(folder.join(name), text)
        .with_context(|| format!("{} cannot be written", folder.display()))
}
