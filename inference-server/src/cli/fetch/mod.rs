//! `fetch`: a model's files from somewhere else into a folder.
//!
//! Owns what is fetched and when it counts. Invariants: only the files that the digest covers are
//! fetched, flat; a file appears under its name only when all are complete and the digest is
//! checked; an interrupted run is continued.

mod download;
mod remote;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use inference_models::digest::{self, FileHashes};
use inference_models::legacy_tokens::{ADDED_TOKENS, refuse_others};
use serde::{Deserialize, Serialize};

use self::remote::{Remote, RemoteFile};
use crate::args::Fetch;
use crate::cli::progress;

/// Remembers where the files of a folder came from. It is no part of the digest.
const STATE: &str = ".fetch.json";

/// What was fetched, or begun.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    source: String,
    files: BTreeMap<String, Mark>,
}

/// What tells whether a file has changed at its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    size: Option<u64>,
    tag: Option<String>,
}

/// Fetches.
///
/// # Errors
/// When the source cannot be read, or what comes is not what the digest says.
pub(crate) fn run(args: &Fetch) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.to).with_context(|| format!("--to {}", args.to.display()))?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(fetch(args))
}

async fn fetch(args: &Fetch) -> anyhow::Result<()> {
    let folder = &args.to;
    let remote = Remote::open(&args.source)?;
    let files = remote.list().await?;
    ensure!(
        files.iter().any(|file| file.name.ends_with(".safetensors")),
        "{} holds no safetensors file: a reward model is config.json, tokenizer.json and *.safetensors",
        args.source
    );
    require_no_others(folder, &files)?;
    let before = read_state(folder);
    let state = State {
        source: args.source.clone(),
        files: files
            .iter()
            .map(|file| (file.name.clone(), mark(file)))
            .collect(),
    };
    let same = |name: &str| {
        before.source == state.source && before.files.get(name) == state.files.get(name)
    };
    let changed: Vec<&RemoteFile> = files.iter().filter(|file| !same(&file.name)).collect();
    for file in changed {
        download::forget(folder, &file.name)?;
    }
    write_state(folder, &state)?;
    let sizes: Option<u64> = files.iter().map(|file| file.size).sum();
    let progress = progress::bytes("fetching", sizes);
    let mut hashes = FileHashes::default();
    for file in &files {
        let hash = download::complete(&remote, file, folder, &progress).await?;
        hashes.add_hash(&file.name, hash);
    }
    progress.finish_and_clear();
    for file in &files {
        if let Err(error) = download::require_content(folder, &file.name) {
            download::forget(folder, &file.name)?;
            return Err(error);
        }
    }
    if let Some(added) = remote.beside(ADDED_TOKENS).await? {
        let (tokenizer, config) = ("tokenizer.json", "tokenizer_config.json");
        let tokenizer = download::bytes_of(folder, tokenizer)?.unwrap_or_default();
        let config = download::bytes_of(folder, config)?;
        refuse_others(&added, &tokenizer, config.as_deref())?;
    }
    let found = hashes.digest();
    if let Some(wanted) = args.digest.as_ref().filter(|wanted| **wanted != found) {
        for file in &files {
            download::forget(folder, &file.name)?;
        }
        bail!(
            "DigestMismatch: {} is {found}, not {wanted}: nothing of it is kept",
            args.source
        );
    }
    for file in &files {
        download::publish(folder, &file.name)?;
    }
    writeln!(std::io::stdout(), "{found}").context("the digest cannot be written")
}

fn mark(file: &RemoteFile) -> Mark {
    Mark {
        size: file.size,
        tag: file.tag.clone(),
    }
}

/// A file of another model would be part of the digest.
fn require_no_others(folder: &Path, files: &[RemoteFile]) -> anyhow::Result<()> {
    let there = digest::files(folder).map_err(|error| anyhow::anyhow!("{error}"))?;
    match there
        .iter()
        .find(|name| files.iter().all(|file| file.name != **name))
    {
        None => Ok(()),
        Some(name) => bail!(
            "{} holds {name}, which the source does not: fetch into an empty folder",
            folder.display()
        ),
    }
}

fn read_state(folder: &Path) -> State {
    std::fs::read(folder.join(STATE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn write_state(folder: &Path, state: &State) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(state)?;
    std::fs::write(folder.join(STATE), text)
        .with_context(|| format!("{} cannot be written", folder.display()))
}

#[cfg(test)]
mod tests;
