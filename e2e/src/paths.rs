//! Where things lie: the cache outside the checkout, and the checkout itself.
//!
//! Invariant: whatever survives `down` is under `bin/`, `images/` or `logs/` of the cache;
//! whatever a cluster makes is under `run/NAME`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The cache folder, `${XDG_CACHE_HOME:-~/.cache}/betterai`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of the user who runs this program.
    pub fn of_user() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join(".cache"),
            (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set: set one of them"),
        };
        if !base.is_absolute() {
            bail!(
                "the cache folder {} is not an absolute path: set XDG_CACHE_HOME to one",
                base.display()
            );
        }
        Ok(Self::at(base.join("betterai")))
    }

    /// A cache at a folder of the caller's choice.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Built programs, one folder for each module and version.
    pub fn programs(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Built image archives and the base image.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// What the cluster `name` makes while it runs; `down` removes it.
    pub fn run(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    /// The lock that one launcher at a time holds on the cluster `name`.
    pub fn lock(&self, name: &str) -> PathBuf {
        self.root.join("run").join(format!("{name}.lock"))
    }

    /// The logs of the last cluster `name` that was stopped.
    pub fn last_logs(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(name)
    }
}

/// The root of the checkout that this program was built from.
pub fn checkout() -> anyhow::Result<PathBuf> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder
        .parent()
        .context("the crate e2e has no parent folder")?;
    if !root.join("Cargo.lock").is_file() {
        bail!(
            "the checkout that this program was built from is gone ({}): build it again with cargo",
            root.display()
        );
    }
    Ok(root.to_path_buf())
}
