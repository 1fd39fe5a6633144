//! Where an interrupted run goes on.
//!
//! Owns the sidecar beside the output, `OUTPUT.resume.json`, that says what the scores depend on.
//! Invariants: an output that was not begun with the same model and settings, or of another input,
//! is never written to; of a line that was torn nothing is kept.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use super::fields::Fields;

/// An output that is open at its end.
#[derive(Debug)]
pub(super) struct Output {
    /// Where the next line goes.
    pub(super) file: File,
    /// Lines that are there.
    pub(super) lines: usize,
    /// The last of them.
    pub(super) last: Option<String>,
    /// Those that say why they could not be scored.
    pub(super) errors: usize,
}

/// Opens `path` to go on where it ends, if it was begun under the same `settings`.
///
/// # Errors
/// When it was not, or cannot be read or written.
pub(super) fn open(path: &Path, settings: &Value, field: &str) -> anyhow::Result<Output> {
    let name = path.display();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("--output {name}"))?;
    if !file.metadata()?.is_file() {
        // A pipe or a terminal has no past.
        return Ok(Output {
            file,
            lines: 0,
            last: None,
            errors: 0,
        });
    }
    let sidecar = sidecar(path);
    if file.metadata()?.len() > 0 {
        require_same(&sidecar, settings, path)?;
    } else {
        let text = serde_json::to_string_pretty(settings)?;
        std::fs::write(&sidecar, text).with_context(|| sidecar.display().to_string())?;
    }
    drop_torn(file, field).with_context(|| format!("--output {name}"))
}

fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".resume.json");
    PathBuf::from(name)
}

fn require_same(sidecar: &Path, settings: &Value, path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let Ok(text) = std::fs::read_to_string(sidecar) else {
        bail!(
            "--output {name} is there already and no interrupted run of score: remove it, or choose another name"
        );
    };
    let begun: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} cannot be read: remove it and {name} to begin anew",
            sidecar.display()
        )
    })?;
    let differs = settings
        .as_object()
        .into_iter()
        .flatten()
        .find(|(key, value)| begun.get(key.as_str()) != Some(value));
    match differs {
        None => Ok(()),
        Some((key, value)) => bail!(
            "--output {name} was begun with another {key} ({}, not {value}): remove it, or go on with the same",
            begun.get(key.as_str()).unwrap_or(&Value::Null)
        ),
    }
}

/// Cuts the file after its last whole line, and counts those.
fn drop_torn(mut file: File, field: &str) -> std::io::Result<Output> {
    let (mut lines, mut errors, mut whole, mut last) = (0, 0, 0_u64, None);
    let mut reader = BufReader::new(&file);
    loop {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.pop() != Some(b'\n') {
            break;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        lines += 1;
        errors += usize::from(has_error(&line, field));
        whole += read as u64;
        last = Some(line);
    }
    drop(reader);
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(Output {
        file,
        lines,
        last,
        errors,
    })
}

/// Whether the line could not be scored: one that was may have an `error` of its own.
fn has_error(line: &str, field: &str) -> bool {
    let failed = |fields: Fields| fields.has("error") && !fields.has(field);
    line.contains("\"error\"") && serde_json::from_str::<Fields>(line).is_ok_and(failed)
}

/// Whether the output line was made of the input line: without our fields they are the same.
pub(super) fn made_of(output: &str, input: &[u8], field: &str) -> bool {
    let rest = |line: &[u8]| {
        let mut fields: Fields = serde_json::from_slice(line).unwrap_or_default();
        fields.remove(field);
        fields.remove("error");
        fields
    };
    rest(output.as_bytes()).same(&rest(input))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_torn_line_is_dropped_and_whole_ones_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let settings = json!({"digest": "d"});
        open(&path, &settings, "score").unwrap();
        let whole = "{\"error\":\"e\"}\n{\"error\":\"its own\",\"score\":1}\n{\"a\":2}\n";
        std::fs::write(&path, format!("{whole}{{\"a\"")).unwrap();
        let output = open(&path, &settings, "score").unwrap();
        assert_eq!((output.lines, output.errors), (3, 1));
        assert_eq!(output.last.as_deref(), Some("{\"a\":2}"));
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept, whole);
    }

    #[test]
    fn a_run_does_not_go_on_with_another_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        open(&path, &json!({"digest": "a"}), "score").unwrap();
        std::fs::write(&path, "{}\n").unwrap();
        let why = open(&path, &json!({"digest": "b"}), "score").unwrap_err();
        assert!(why.to_string().contains("another digest"), "{why}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
    }

    #[test]
    fn a_file_of_somebody_else_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thesis.txt");
        std::fs::write(&path, "precious").unwrap();
        let why = open(&path, &json!({}), "score").unwrap_err();
        assert!(why.to_string().contains("choose another name"), "{why}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn lines_are_compared_without_our_fields() {
        assert!(made_of(
            r#"{"id":1,"score":0.5,"text":"a"}"#,
            br#"{"text":"a","id":1}"#,
            "score"
        ));
        assert!(made_of(
            r#"{"id":1,"error":"e"}"#,
            br#"{"id":1,"score":7}"#,
            "score"
        ));
        assert!(made_of(
            r#"{"error":"not a JSON object"}"#,
            b"garbage",
            "score"
        ));
        assert!(!made_of(r#"{"id":1,"score":0.5}"#, br#"{"id":2}"#, "score"));
    }
}
