//! Models with references, and how tests score with them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test uses a part; a test fails by panicking"
)]

pub mod texts;

use std::path::{Path, PathBuf};

use inference_models::{
    Chat, ChatMessage, Dtype, EncodeOptions, Encoded, LoadOptions, Model, Packed, TextInput, load,
};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Expected {
    #[serde(default)]
    pub text: String,
    pub text_pair: Option<String>,
    pub messages: Option<Vec<Message>>,
    pub score: Option<f32>,
    /// All logits, where there are several.
    pub scores: Option<Vec<f32>>,
    pub tokens: Option<usize>,
}

#[derive(Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

impl Expected {
    pub fn logits(&self) -> Vec<f32> {
        self.scores
            .clone()
            .unwrap_or_else(|| vec![self.score.unwrap()])
    }
}

pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn demo(name: &str) -> PathBuf {
    here("../../e2e/fixtures/demo-models").join(name)
}

pub fn open(folder: &Path, max_tokens: Option<usize>, threads: usize) -> Model {
    open_as(folder, max_tokens, threads, Dtype::Auto)
}

pub fn open_as(folder: &Path, max_tokens: Option<usize>, threads: usize, dtype: Dtype) -> Model {
    load(
        folder,
        &LoadOptions {
            max_tokens,
            threads,
            dtype,
            ..LoadOptions::default()
        },
    )
    .unwrap()
}

pub fn expected(folder: &Path) -> Vec<Expected> {
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn input(line: &Expected) -> TextInput {
    match (&line.messages, &line.text_pair) {
        (Some(messages), _) => {
            let turn = |message: &Message| ChatMessage::new(&message.role, &message.content);
            TextInput::Messages(Chat::from(messages.iter().map(turn).collect::<Vec<_>>()))
        }
        (None, Some(pair)) => TextInput::Pair(line.text.clone(), pair.clone()),
        (None, None) => TextInput::Text(line.text.clone()),
    }
}

pub fn encode(model: &Model, inputs: &[TextInput]) -> Vec<Encoded> {
    let encode = |input| {
        model
            .tokenizer
            .encode(input, EncodeOptions::default())
            .unwrap()
    };
    inputs.iter().map(encode).collect()
}

pub fn logits<'a>(model: &Model, batch: impl IntoIterator<Item = &'a Encoded>) -> Vec<Vec<f32>> {
    let mut packed = Packed::default();
    for encoded in batch {
        packed.push(&encoded.ids, &encoded.type_ids);
    }
    model.engine.forward(&packed).unwrap()
}

/// A copy of a model of `parity-extra`, whose config has one field changed.
pub fn changed(name: &str, field: &str, value: serde_json::Value) -> tempfile::TempDir {
    let source = here("tests/fixtures/parity-extra").join(name);
    let folder = tempfile::TempDir::new().unwrap();
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    configure(folder.path(), field, value);
    folder
}

/// Changes a field of the config in `folder`.
pub fn configure(folder: &Path, field: &str, value: serde_json::Value) {
    let path = folder.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

/// Folders of models with references, below `tests/fixtures`.
pub fn references(folder: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::fs::read_dir(here("tests/fixtures").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

pub fn limit(folder: &Path) -> Option<usize> {
    let limits = std::fs::read_to_string(folder.join("LIMITS.json")).unwrap();
    let limits: serde_json::Value = serde_json::from_str(&limits).unwrap();
    let max = limits["max_tokens_used_for_reference"].as_u64().unwrap();
    usize::try_from(max).ok()
}
