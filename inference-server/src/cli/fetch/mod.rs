//! `fetch`: a model's files from somewhere else into a folder.
//!
//! Owns what is fetched and when it counts. Invariants: only the files that the digest covers are
//! fetched, flat; a file appears under its name only when all are complete and the digest is
//! checked, and what was there before stays until then; an interrupted run is continued.

mod cache;
mod download;
mod failure;
mod http;
mod plan;
mod remote;

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use inference_models::digest::FileHashes;
use inference_models::legacy_tokens::{ADDED_TOKENS, refuse_others};
use inference_models::loader::LoadOptions;
use inference_models::{Digest, LoadError, Model, Reason};

use self::cache::{Cache, Kept};
pub(crate) use self::failure::Failure;
use self::plan::Plan;
use self::remote::{Remote, Settings};
use super::verify::Document;
use crate::args::Fetch;
use crate::cli::progress;

/// The exit code where trying again may help: `EX_TEMPFAIL`.
pub(crate) const TRY_AGAIN: u8 = 75;

/// Fetches.
///
/// # Errors
/// When the source cannot be read, or what comes is not what the digest says: a [`Failure`].
pub(crate) fn run(args: &Fetch) -> anyhow::Result<()> {
    let settings: Settings = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let outcome = match (&args.cache, &args.to) {
        (Some(cache), _) => into_cache(args, cache, &settings).map(|model| {
            let document = Document::sound(&model);
            (model.facts.digest.clone(), Some(document))
        }),
        (None, to) => to_folder(args, to.as_deref(), &settings).map(|digest| (digest, None)),
    };
    let outcome = outcome.map_err(|error| failure::of(&error, &settings));
    let document = match &outcome {
        Ok((_, document)) => document.as_ref(),
        Err(failure) => Some(&Document::failed(&failure.reason, &failure.message)),
    };
    if let (Some(file), Some(document)) = (&args.output, document) {
        document.write(file)?;
    }
    let (digest, _) = outcome?;
    writeln!(std::io::stdout(), "{digest}").context("the digest cannot be written")
}

fn to_folder(args: &Fetch, to: Option<&Path>, settings: &Settings) -> anyhow::Result<Digest> {
    let to = to.context("name a folder (--to) or a cache (--cache)")?;
    std::fs::create_dir_all(to).with_context(|| format!("--to {}", to.display()))?;
    fetch_now(&args.source, to, args.digest.as_ref(), settings)
}

/// Fetches into a cache what is not there yet, and checks it as `verify` does.
fn into_cache(args: &Fetch, root: &Path, settings: &Settings) -> anyhow::Result<Model> {
    let wanted = args.digest.as_ref();
    let cache = Cache::open(root, &args.source, settings)?;
    if let (Some(as_of), Some(owner)) = (args.as_of, &args.owner) {
        let kept = Kept {
            digests: &args.keep,
            as_of: as_of.into(),
            owner,
        };
        cache.sweep(&kept, wanted);
    }
    if let Some(model) = wanted.and_then(|digest| there(&cache, digest)) {
        cache.touch(&model.facts.digest)?;
        return Ok(model);
    }
    let partial = cache.partial();
    std::fs::create_dir_all(&partial).context("the cache cannot be written to")?;
    let digest = fetch_now(&args.source, &partial, wanted, settings)?;
    if let Some(model) = there(&cache, &digest) {
        std::fs::remove_dir_all(&partial).context("what was fetched twice cannot be removed")?;
        cache.touch(&digest)?;
        return Ok(model);
    }
    let model = match load(&partial, &digest) {
        Ok(model) => model,
        // What came cannot be served, or lies there as it did not come: nobody goes on with it.
        Err(error) => {
            std::fs::remove_dir_all(&partial).context("what is broken cannot be removed")?;
            return Err(error.into());
        }
    };
    std::fs::remove_file(partial.join(plan::STATE)).context("the cache cannot be written to")?;
    cache.publish(&digest)?;
    cache.touch(&digest)?;
    Ok(model)
}

/// A model that is in the cache, and sound: a broken one is fetched anew.
fn there(cache: &Cache, digest: &Digest) -> Option<Model> {
    let folder = cache.folder(digest);
    if !folder.exists() {
        return None;
    }
    let found = load(&folder, digest);
    found
        .inspect_err(|error| tracing::warn!(%error, "a model of the cache is fetched anew"))
        .ok()
}

fn load(folder: &Path, digest: &Digest) -> Result<Model, LoadError> {
    let options = LoadOptions {
        digest: Some(digest.clone()),
        ..LoadOptions::default()
    };
    inference_models::load(folder, &options)
}

fn fetch_now(
    source: &str,
    folder: &Path,
    wanted: Option<&Digest>,
    settings: &Settings,
) -> anyhow::Result<Digest> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(fetch(source, folder, wanted, settings))
}

async fn fetch(
    source: &str,
    folder: &Path,
    wanted: Option<&Digest>,
    settings: &Settings,
) -> anyhow::Result<Digest> {
    let mut remote = Remote::open(source, settings)?;
    let files = remote.list().await?;
    if !files.iter().any(|file| file.name.ends_with(".safetensors")) {
        return Err(LoadError::invalid(format!(
            "{source} holds no safetensors file: a reward model is config.json, tokenizer.json and *.safetensors"
        ))
        .into());
    }
    let plan = Plan::begin(source, folder, &files)?;
    let sizes: Option<u64> = files.iter().map(|file| file.size).sum();
    let progress = progress::bytes("fetching", sizes);
    let mut hashes = FileHashes::default();
    for file in &files {
        let (path, is_there) = plan.place(folder, &file.name);
        let hash = download::complete(&remote, file, (&path, is_there), &progress).await?;
        hashes.add_hash(&file.name, hash);
    }
    progress.finish_and_clear();
    for file in &files {
        if let Err(error) = download::require_content(&plan.place(folder, &file.name).0, &file.name)
        {
            plan.forget(folder)?;
            return Err(error);
        }
    }
    if let Some(added) = remote.beside(ADDED_TOKENS).await? {
        let (tokenizer, config) = ("tokenizer.json", "tokenizer_config.json");
        let tokenizer = plan.bytes_of(folder, tokenizer)?.unwrap_or_default();
        let config = plan.bytes_of(folder, config)?;
        refuse_others(&added, &tokenizer, config.as_deref())?;
    }
    let found = hashes.digest();
    if let Some(wanted) = wanted.filter(|wanted| **wanted != found) {
        plan.forget(folder)?;
        let message = format!(
            "{source} is {found}, not {wanted}: correct the source, or pin the new digest; nothing of it is kept"
        );
        return Err(LoadError::new(Reason::DigestMismatch, message).into());
    }
    plan.publish(folder)?;
    Ok(found)
}

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_sources;
