//! One file: begun, continued, hashed, and given its name.
//!
//! Invariant: bytes under `NAME.part` are the first of the file; a name without `.part` is whole.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use indicatif::ProgressBar;
use inference_models::files::refuse_pointer;
use sha2::{Digest as _, Sha256};

use super::remote::{Remote, RemoteFile};

/// How often a download that breaks is continued without a byte of progress.
const TRIES: u32 = 5;
/// Enough to tell a pointer of Git LFS.
const POINTER_BYTES: u64 = 256;

/// Completes a file under `NAME.part`, unless it is there under its name; answers its SHA-256.
pub(super) async fn complete(
    remote: &Remote,
    file: &RemoteFile,
    folder: &Path,
    progress: &ProgressBar,
) -> anyhow::Result<[u8; 32]> {
    let (path, part) = (folder.join(&file.name), part(folder, &file.name));
    let have = if path.is_file() { &path } else { &part };
    let (mut hash, mut bytes) = hash_of(have)?;
    progress.inc(bytes);
    if path.is_file() {
        return Ok(hash.finalize().into());
    }
    let mut target = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part)
        .with_context(|| part.display().to_string())?;
    let (mut tries, mut pause) = (0, Duration::from_millis(250));
    while file.size != Some(bytes) {
        let before = bytes;
        let outcome = append(remote, file, &mut target, &mut hash, &mut bytes, progress).await;
        match outcome {
            Ok(()) if file.size.is_none_or(|size| size == bytes) => break,
            Ok(()) if file.size.is_some_and(|size| size < bytes) => {
                forget(folder, &file.name)?;
                bail!("{} is longer than its source says: try again", file.name);
            }
            Ok(()) => {}
            Err(error) if tries >= TRIES => return Err(error),
            Err(error) => tracing::debug!(%error, file = file.name, "continuing"),
        }
        tries = if bytes > before { 0 } else { tries + 1 };
        if tries > TRIES {
            bail!("{} does not come any further: try again later", file.name);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    target.flush()?;
    target.sync_all()?;
    Ok(hash.finalize().into())
}

/// Appends what comes from `bytes` on.
async fn append(
    remote: &Remote,
    file: &RemoteFile,
    target: &mut std::fs::File,
    hash: &mut Sha256,
    bytes: &mut u64,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let mut stream = remote.read(file, *bytes).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        target
            .write_all(&chunk)
            .with_context(|| format!("{} cannot be written", file.name))?;
        hash.update(&chunk);
        *bytes += chunk.len() as u64;
        progress.inc(chunk.len() as u64);
    }
    Ok(())
}

/// Refuses a complete file that is no more than where Git LFS keeps its content.
pub(super) fn require_content(folder: &Path, name: &str) -> anyhow::Result<()> {
    let (path, part) = (folder.join(name), part(folder, name));
    let path = if path.is_file() { path } else { part };
    let mut first = Vec::new();
    let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    file.take(POINTER_BYTES).read_to_end(&mut first)?;
    refuse_pointer(name, &first).map_err(Into::into)
}

/// A complete file, whether it has its name yet or not; `None` where the source has none.
pub(super) fn bytes_of(folder: &Path, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let paths = [folder.join(name), part(folder, name)];
    let Some(path) = paths.iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(Some(bytes))
}

/// Gives a complete file its name.
pub(super) fn publish(folder: &Path, name: &str) -> anyhow::Result<()> {
    let part = part(folder, name);
    if part.is_file() {
        std::fs::rename(&part, folder.join(name)).with_context(|| part.display().to_string())?;
    }
    Ok(())
}

/// Removes what is there of a file.
pub(super) fn forget(folder: &Path, name: &str) -> anyhow::Result<()> {
    for path in [folder.join(name), part(folder, name)] {
        if path.is_file() {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn part(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.part"))
}

fn hash_of(path: &Path) -> anyhow::Result<(Sha256, u64)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    if !path.is_file() {
        return Ok((hash, bytes));
    }
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hash, bytes));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}
