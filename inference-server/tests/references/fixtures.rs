//! Models with scores of transformers, which are those of the models crate's own tests.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// A model and what it is held against.
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// What the reference was cut to.
    pub(crate) max_tokens: usize,
    /// In the order of the logits.
    pub(crate) labels: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

impl Reference {
    fn read(folder: PathBuf) -> Self {
        let json = |file: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let limit = &json("LIMITS.json")["max_tokens_used_for_reference"];
        let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
        let lines: Vec<_> = text
            .lines()
            .map(|line| Line(serde_json::from_str(line).unwrap()))
            .collect();
        let names = &json("config.json")["id2label"];
        let label = |index: usize| {
            let name = names[index.to_string()].as_str();
            name.map_or_else(|| format!("LABEL_{index}"), ToOwned::to_owned)
        };
        Self {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            max_tokens: usize::try_from(limit.as_u64().unwrap()).unwrap(),
            labels: (0..lines[0].logits().len()).map(label).collect(),
            lines,
            folder,
        }
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        flags(self.max_tokens)
    }
}

/// Scores as the reference has them, and each computed.
pub(crate) fn flags(max_tokens: usize) -> Vec<String> {
    let max_tokens = max_tokens.to_string();
    let flags = [
        "--dtype",
        "f32",
        "--cache",
        "false",
        "--max-characters",
        "1000000",
        "--max-tokens",
        &max_tokens,
    ];
    flags.map(ToOwned::to_owned).to_vec()
}

/// A line of `expected.jsonl`.
pub(crate) struct Line(Map<String, Value>);

impl Line {
    /// The body that asks for it.
    pub(crate) fn request(&self) -> String {
        let mut body = self.0.clone();
        body.retain(|field, _| ["text", "text_pair", "messages"].contains(&field.as_str()));
        Value::from(body).to_string()
    }

    pub(crate) fn logits(&self) -> Vec<f32> {
        let scores = self.0.get("scores").cloned();
        let scores = scores.unwrap_or_else(|| Value::from(vec![self.0["score"].clone()]));
        serde_json::from_value(scores).unwrap()
    }

    pub(crate) fn tokens(&self) -> Option<u64> {
        self.0.get("tokens")?.as_u64()
    }
}

/// Models with references, by the folder's name.
pub(crate) fn references(folder: &str) -> Vec<Reference> {
    let folder = here("models/tests/fixtures").join(folder);
    let mut folders: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.into_iter().map(Reference::read).collect()
}

pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
