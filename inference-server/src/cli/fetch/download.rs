//! One file: begun, continued, hashed.
//!
//! Invariant: bytes under `NAME.part` are the first of the file; a name without `.part` is whole.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use indicatif::ProgressBar;
use inference_models::files::refuse_pointer;
use sha2::{Digest as _, Sha256};

use super::failure::{self, Refusal};
use super::remote::{Remote, RemoteFile};

/// How often a download that breaks is continued without a byte of progress.
const TRIES: u32 = 5;
/// How long the first of those waits; each next one twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Enough to tell a pointer of Git LFS.
const POINTER_BYTES: u64 = 256;

/// Completes a file at `path`, where it may be begun, unless it is whole; answers its SHA-256.
pub(super) async fn complete(
    remote: &Remote,
    file: &RemoteFile,
    (path, is_whole): (&Path, bool),
    progress: &ProgressBar,
) -> anyhow::Result<[u8; 32]> {
    let (mut hash, mut bytes) = hash_of(path)?;
    progress.inc(bytes);
    if is_whole {
        return Ok(hash.finalize().into());
    }
    let mut target = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    let (mut tries, mut pause) = (0, PAUSE);
    while file.size != Some(bytes) {
        let before = bytes;
        let outcome = append(remote, file, &mut target, &mut hash, &mut bytes, progress).await;
        match outcome {
            Ok(()) if file.size.is_none_or(|size| size == bytes) => break,
            Ok(()) if file.size.is_some_and(|size| size < bytes) => {
                forget(path)?;
                bail!("{} is longer than its source says: try again", file.name);
            }
            Ok(()) => {}
            Err(error) if tries >= TRIES || !failure::passes(&error) => return Err(error),
            Err(error) => tracing::debug!(%error, file = file.name, "continuing"),
        }
        if bytes > before {
            (tries, pause) = (0, PAUSE);
        } else {
            tries += 1;
        }
        if tries > TRIES {
            let why = format!("{} does not come any further: try again later", file.name);
            return Err(Refusal::passing(why).into());
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
pub(super) fn require_content(path: &Path, name: &str) -> anyhow::Result<()> {
    let mut first = Vec::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(POINTER_BYTES).read_to_end(&mut first)?;
    refuse_pointer(name, &first).map_err(Into::into)
}

/// Removes a file, where there is one.
pub(super) fn forget(path: &Path) -> anyhow::Result<()> {
    if path.is_file() {
        std::fs::remove_file(path).with_context(|| path.display().to_string())?;
    }
    Ok(())
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
