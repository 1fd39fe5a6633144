//! Models by their digests in a volume that many share: `sha256-HEX/` is a whole, checked model.
//!
//! Owns the names in that volume. Invariants: a folder gets its name in one step, when it was checked,
//! and loses it in one; of two that fetch the same source one waits; a model goes only if it is not
//! among those that are kept, and nobody has put it there or asked for it since those were counted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use inference_models::Digest;
use sha2::{Digest as _, Sha256};

use super::remote::Settings;

const PARTIAL: &str = ".partial-";
const LOCK: &str = ".lock-";
const GONE: &str = ".gone-";
/// Names who may remove models.
const OWNER: &str = ".owner";
/// How far the clocks of nodes, volumes and whoever counts may be apart.
const CLOCKS: Duration = Duration::from_hours(1);
/// How long what was begun is kept, to be gone on with.
const BEGUN: Duration = Duration::from_hours(24);

/// The models that stay.
#[derive(Clone, Debug)]
pub(super) struct Kept<'a> {
    pub(super) digests: &'a [Digest],
    /// When those were all.
    pub(super) as_of: SystemTime,
    /// Who has counted them: what others have put into the same volume is not among them.
    pub(super) owner: &'a str,
}

/// A folder of models, and the source that is fetched into it.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    /// Names the source.
    key: String,
    /// Held while it is fetched.
    _lock: Option<File>,
}

impl Cache {
    /// Opens the cache at `root` for `source`; waits while somebody else fetches the same.
    ///
    /// # Errors
    /// When the volume cannot be written to.
    pub(super) fn open(root: &Path, source: &str, settings: &Settings) -> anyhow::Result<Self> {
        fs::create_dir_all(root).context("the cache's folder cannot be made")?;
        let mut hash = Sha256::new();
        hash.update(source);
        for endpoint in ["HF_ENDPOINT", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"] {
            hash.update("\n");
            hash.update(settings.get(endpoint).map_or("", String::as_str));
        }
        let key: String = hex::encode(hash.finalize()).chars().take(16).collect();
        let lock = File::create(root.join(format!("{LOCK}{key}")))
            .context("the cache cannot be written to")?;
        // A volume without locks: what is fetched is checked before it gets its name all the same.
        let locked = lock.lock();
        if let Err(error) = &locked {
            tracing::warn!(%error, "the volume knows no locks");
        }
        Ok(Self {
            root: root.to_owned(),
            key,
            _lock: locked.is_ok().then_some(lock),
        })
    }

    /// Where the source's files are put until they are whole.
    pub(super) fn partial(&self) -> PathBuf {
        self.root.join(format!("{PARTIAL}{}", self.key))
    }

    /// Where the model of that digest is, or would be.
    pub(super) fn folder(&self, digest: &Digest) -> PathBuf {
        self.root.join(name(digest))
    }

    /// Gives what was fetched and checked its name. A folder that has it already is exchanged.
    ///
    /// # Errors
    /// When the volume cannot be written to.
    pub(super) fn publish(&self, digest: &Digest) -> anyhow::Result<()> {
        let folder = self.folder(digest);
        if folder.exists() {
            self.put_away(&folder)?;
        }
        fs::rename(self.partial(), &folder).context("the model cannot be given its name")
    }

    /// Marks a model as asked for.
    ///
    /// # Errors
    /// When the volume cannot be written to.
    pub(super) fn touch(&self, digest: &Digest) -> anyhow::Result<()> {
        let folder = File::open(self.folder(digest))?;
        folder
            .set_modified(SystemTime::now())
            .context("the model cannot be marked as asked for")
    }

    /// Removes what nobody needs, other than `wanted`. What cannot be removed stays, and is told.
    pub(super) fn sweep(&self, kept: &Kept<'_>, wanted: Option<&Digest>) {
        match self.owner(kept.owner) {
            Ok(owner) if owner == kept.owner => {}
            Ok(owner) => {
                tracing::warn!(owner, "the cache is another one's: nothing is removed");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "nobody knows whose the cache is: nothing is removed");
                return;
            }
        }
        let stays: Vec<String> = kept.digests.iter().chain(wanted).map(name).collect();
        let old = |path: &Path, age: Duration| {
            let at = kept.as_of.checked_sub(age);
            matches!((touched(path), at), (Ok(touched), Some(at)) if touched < at)
        };
        for name in names(&self.root) {
            let path = self.root.join(&name);
            let goes = if is_model(&name) {
                !stays.contains(&name) && old(&path, CLOCKS)
            } else if let Some(key) = name.strip_prefix(PARTIAL) {
                key != self.key && old(&path, BEGUN) && self.is_idle(key)
            } else {
                name.starts_with(GONE)
            };
            if goes {
                match self.put_away(&path) {
                    Ok(()) => tracing::info!(name, "removed what nobody needs"),
                    Err(error) => tracing::warn!(name, %error, "it cannot be removed"),
                }
            }
        }
    }

    /// Whose cache it is: who comes first has it.
    fn owner(&self, comes: &str) -> io::Result<String> {
        let path = self.root.join(OWNER);
        if !path.exists() {
            // Another one that comes at the same time is not overwritten.
            let mut file = File::create_new(&path)?;
            file.write_all(comes.as_bytes())?;
            file.sync_all()?;
        }
        fs::read_to_string(path)
    }

    /// Whether nobody fetches the source of that key.
    fn is_idle(&self, key: &str) -> bool {
        let lock = File::open(self.root.join(format!("{LOCK}{key}")));
        lock.map_or(true, |lock| lock.try_lock().is_ok())
    }

    /// Takes a folder's name away in one step, and then the folder.
    fn put_away(&self, path: &Path) -> anyhow::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.root.join(format!("{GONE}{}-{name}", self.key));
        if path != gone && !name.starts_with(GONE) {
            fs::rename(path, &gone).context("a folder cannot be taken away")?;
            return fs::remove_dir_all(&gone).context("a folder cannot be removed");
        }
        fs::remove_dir_all(path).context("a folder cannot be removed")
    }
}

fn name(digest: &Digest) -> String {
    digest.as_str().replace(':', "-")
}

fn is_model(name: &str) -> bool {
    Digest::parse(&name.replacen('-', ":", 1)).is_ok()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// When a folder, or a file in it, was last written.
fn touched(folder: &Path) -> io::Result<SystemTime> {
    let mut last = fs::metadata(folder)?.modified()?;
    for name in names(folder) {
        let file = fs::metadata(folder.join(name))?.modified()?;
        // The files of a model are as old as its fetch; its folder tells who has asked since.
        last = last.max(file);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    fn open(root: &Path, source: &str) -> Cache {
        Cache::open(root, source, &Settings::new()).unwrap()
    }

    fn put(cache: &Cache, letter: char) {
        fs::create_dir_all(cache.partial()).unwrap();
        fs::write(cache.partial().join("config.json"), "{}").unwrap();
        cache.publish(&digest(letter)).unwrap();
    }

    fn sweep(cache: &Cache, kept: &[char], hours: u64) {
        let digests: Vec<Digest> = kept.iter().copied().map(digest).collect();
        let as_of = SystemTime::now() + Duration::from_hours(hours);
        let digests = &digests;
        let owner = "team";
        let kept = Kept {
            digests,
            as_of,
            owner,
        };
        cache.sweep(&kept, Some(&digest('d')));
    }

    #[test]
    fn what_no_revision_names_goes_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "hf://a/b@1");
        ('a'..='d').for_each(|letter| put(&cache, letter));
        for foreign in ["tiny-reward-v1", "sha256-short"] {
            fs::create_dir(root.path().join(foreign)).unwrap();
        }
        sweep(&cache, &['a', 'c'], 2);
        for (letter, stays) in [('a', true), ('b', false), ('c', true), ('d', true)] {
            assert_eq!(cache.folder(&digest(letter)).exists(), stays, "{letter}");
        }
        assert!(root.path().join("tiny-reward-v1").exists());
        assert!(root.path().join("sha256-short").exists());
    }

    #[test]
    fn in_a_volume_of_others_nothing_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "hf://a/b@1");
        put(&cache, 'a');
        fs::write(root.path().join(OWNER), "others").unwrap();
        sweep(&cache, &[], 2);
        assert!(cache.folder(&digest('a')).exists());
    }

    #[test]
    fn what_was_asked_for_since_the_count_stays() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "hf://a/b@1");
        put(&cache, 'a');
        let long_ago = SystemTime::now() - Duration::from_hours(100);
        for path in [
            cache.folder(&digest('a')).join("config.json"),
            cache.folder(&digest('a')),
        ] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        cache.touch(&digest('a')).unwrap();
        sweep(&cache, &[], 0);
        assert!(cache.folder(&digest('a')).exists());
    }

    #[test]
    fn what_was_begun_stays_a_day_and_as_long_as_somebody_is_at_it() {
        let root = tempfile::tempdir().unwrap();
        let begun = open(root.path(), "hf://a/begun@1");
        fs::create_dir(begun.partial()).unwrap();
        let other = open(root.path(), "hf://a/other@1");
        sweep(&other, &[], 100);
        assert!(begun.partial().exists(), "its lock is held");
        let partial = begun.partial();
        drop(begun);
        sweep(&other, &[], 2);
        assert!(partial.exists(), "it is younger than a day");
        sweep(&other, &[], 100);
        assert!(!partial.exists());
    }

    #[test]
    fn a_broken_model_is_exchanged_under_its_name() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path(), "hf://a/b@1");
        put(&cache, 'a');
        let config = cache.folder(&digest('a')).join("config.json");
        fs::write(&config, "broken").unwrap();
        put(&cache, 'a');
        assert_eq!(fs::read_to_string(config).unwrap(), "{}");
        let left = names(root.path());
        assert!(!left.iter().any(|name| name.starts_with(GONE)), "{left:?}");
    }

    #[test]
    fn a_half_removed_folder_of_before_goes() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".gone-0-sha256-x")).unwrap();
        sweep(&open(root.path(), "hf://a/b@1"), &[], 0);
        assert!(!root.path().join(".gone-0-sha256-x").exists());
    }
}
