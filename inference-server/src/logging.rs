//! Logs: components by name, in text or JSON, to standard error and to a file that is rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// Bytes after which a file is put aside.
const FILE_BYTES: u64 = 10 * 1024 * 1024;
/// Files that are kept beside the newest: NAME.1 to NAME.5.
const KEPT: usize = 5;

/// Sends logs to standard error, and to `file` where there is one.
///
/// # Errors
/// When `filter` cannot be read, or the file not be written.
pub(crate) fn start(filter: &str, format: LogFormat, file: Option<&Path>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow!("--log {filter:?}: {error}; write info,model=debug,api=info"))?;
    let file = file
        .map(|path| {
            Rotating::open(path, FILE_BYTES)
                .with_context(|| format!("--log-file {}", path.display()))
        })
        .transpose()?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(file.is_none() && io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(Outputs(file.map(|file| Arc::new(Mutex::new(file)))));
    let started = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!("logs: {error}"))
}

/// Standard error, and the file.
#[derive(Clone)]
struct Outputs(Option<Arc<Mutex<Rotating>>>);

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Outputs {
    /// A full disk loses lines of the file, and no request.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.0 {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.write_line(line);
        }
        io::stderr().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A file that is put aside when it is full.
#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: File,
    written: u64,
    full: u64,
}

impl Rotating {
    fn open(path: &Path, full: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            written: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            full,
        })
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.written > 0 && self.written + line.len() as u64 > self.full {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(())
    }

    /// NAME becomes NAME.1, NAME.1 becomes NAME.2, and the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: usize| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            let from = aside(number);
            if from.exists() {
                std::fs::rename(from, aside(number + 1))?;
            }
        }
        std::fs::rename(&self.path, aside(1))?;
        *self = Self::open(&self.path, self.full)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_five_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        let mut file = Rotating::open(&path, 10).unwrap();
        for line in 0..20 {
            file.write_line(format!("line {line}\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("server.log"), "line 19\n");
        assert_eq!(read("server.log.1"), "line 18\n");
        assert_eq!(read("server.log.5"), "line 14\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1 + KEPT);
    }

    #[test]
    fn a_file_that_was_there_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        std::fs::write(&path, "12345678").unwrap();
        let mut file = Rotating::open(&path, 10).unwrap();
        file.write_line(b"abc").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
    }
}
