//! A file that may change while the server runs, such as a mounted secret.
//!
//! Invariant: a change that cannot be read leaves the last good value in force.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

/// The file is looked at this often at most, when somebody asks.
const PATIENCE: Duration = Duration::from_secs(1);

type Parse<T> = fn(&[u8]) -> Result<T, String>;

/// The value of a small file.
pub(crate) struct Reloaded<T> {
    path: PathBuf,
    parse: Parse<T>,
    value: ArcSwap<T>,
    seen: Mutex<Seen>,
    patience: Duration,
}

struct Seen {
    bytes: Vec<u8>,
    at: Instant,
}

impl<T> Reloaded<T> {
    /// Reads the file.
    ///
    /// # Errors
    /// A sentence when it cannot be read or parsed.
    pub(crate) fn open(path: &Path, parse: Parse<T>) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        Ok(Self {
            path: path.to_owned(),
            parse,
            value: ArcSwap::from_pointee(parse(&bytes)?),
            seen: Mutex::new(Seen {
                bytes,
                at: Instant::now(),
            }),
            patience: PATIENCE,
        })
    }

    /// The value, as new as a second ago.
    pub(crate) fn get(&self) -> Arc<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.at.elapsed() >= self.patience {
            seen.at = Instant::now();
            match std::fs::read(&self.path) {
                Ok(bytes) if bytes == seen.bytes => {}
                Ok(bytes) => {
                    match (self.parse)(&bytes) {
                        Ok(value) => {
                            self.value.store(Arc::new(value));
                            tracing::info!(target: "api", file = %self.path.display(), "reloaded");
                        }
                        Err(error) => self.keep(&error),
                    }
                    seen.bytes = bytes;
                }
                Err(error) => self.keep(&error.to_string()),
            }
        }
        self.value.load_full()
    }

    fn keep(&self, error: &str) {
        tracing::warn!(
            target: "api",
            file = %self.path.display(),
            error,
            "the file changed and cannot be used; what it held before stays in force"
        );
    }

    #[cfg(test)]
    pub(crate) fn impatient(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<u32, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn a_change_is_seen_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, "1").unwrap();
        let file = Reloaded::open(&path, number).unwrap().impatient();
        assert_eq!(*file.get(), 1);
        std::fs::write(&path, "2\n").unwrap();
        assert_eq!(*file.get(), 2);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(*file.get(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*file.get(), 2);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(*file.get(), 3);
    }

    #[test]
    fn a_file_that_is_missing_or_broken_at_the_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        assert!(Reloaded::open(&path, number).is_err());
        std::fs::write(&path, "x").unwrap();
        assert!(Reloaded::open(&path, number).is_err());
    }
}
