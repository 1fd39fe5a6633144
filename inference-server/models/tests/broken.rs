//! A broken model is refused with its reason and a sentence that says what to do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use inference_models::{LoadError, LoadOptions, Reason, load};
use tempfile::TempDir;

fn sound() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/bert")
}

/// A copy of a sound model.
fn copy() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(sound()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn refusal(folder: &TempDir) -> LoadError {
    let error = load(folder.path(), &LoadOptions::default()).unwrap_err();
    let path = folder.path().to_str().unwrap();
    assert!(
        !error.message.contains(path),
        "a path leaked: {}",
        error.message
    );
    error
}

fn change(name: &str, with: impl FnOnce(Vec<u8>) -> Vec<u8>) -> LoadError {
    let folder = copy();
    let path = folder.path().join(name);
    fs::write(&path, with(fs::read(&path).unwrap())).unwrap();
    refusal(&folder)
}

fn without(name: &str) -> LoadError {
    let folder = copy();
    fs::remove_file(folder.path().join(name)).unwrap();
    refusal(&folder)
}

fn replaced(name: &str, from: &str, to: &str) -> LoadError {
    change(name, |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    })
}

#[test]
fn a_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json"] {
        let error = without(name);
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(error.message.contains(name), "{}", error.message);
    }
    assert!(without("model.safetensors").message.contains("safetensors"));
}

#[test]
fn a_broken_file_is_named() {
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        for with in [
            &b""[..],
            b"{",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"null nonsense",
        ] {
            let error = change(name, |_| with.to_vec());
            assert_eq!(
                error.reason,
                Reason::ModelInvalid,
                "{name} {with:?}: {}",
                error.message
            );
            assert!(
                error.message.contains(name),
                "{name} {with:?}: {}",
                error.message
            );
        }
    }
}

#[test]
fn a_truncated_weights_file_is_not_a_whole_one() {
    let error = change("model.safetensors", |mut bytes| {
        bytes.truncate(bytes.len() - 4);
        bytes
    });
    assert!(
        error.message.contains("not a whole safetensors file"),
        "{}",
        error.message
    );
}

#[test]
fn a_header_that_lies_about_its_length_is_refused() {
    for length in [u64::MAX, 1 << 40, 0, 1] {
        let error = change("model.safetensors", |mut bytes| {
            bytes.splice(..8, length.to_le_bytes());
            bytes
        });
        assert_eq!(error.reason, Reason::ModelInvalid, "{length}");
    }
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    let error = change("model.safetensors", |mut bytes| {
        let end = bytes.len();
        bytes.splice(end - 4.., f32::NAN.to_le_bytes());
        bytes
    });
    assert!(error.message.contains("not finite"), "{}", error.message);
}

#[test]
fn weights_of_another_model_are_refused() {
    let error = replaced("config.json", "\"hidden_size\": 64", "\"hidden_size\": 32");
    assert!(
        error.message.contains("different models"),
        "{}",
        error.message
    );
    let error = replaced(
        "config.json",
        "\"num_hidden_layers\": ",
        "\"num_hidden_layers\": 9",
    );
    assert!(
        error.message.contains("the weights lack"),
        "{}",
        error.message
    );
}

#[test]
fn a_tokenizer_larger_than_the_embedding_is_refused() {
    let error = replaced("tokenizer.json", "\"[PAD]\": 0", "\"[PAD]\": 999999");
    assert_eq!(error.reason, Reason::ModelInvalid, "{}", error.message);
}

#[test]
fn an_architecture_that_is_not_served_is_refused_with_those_that_are() {
    let error = replaced(
        "config.json",
        "BertForSequenceClassification",
        "BertForMaskedLM",
    );
    assert_eq!(error.reason, Reason::UnsupportedFormat);
    assert!(
        error.message.contains("BertForSequenceClassification"),
        "{}",
        error.message
    );
}

#[test]
fn a_pickle_is_refused_with_how_to_convert_it() {
    let folder = copy();
    fs::rename(
        folder.path().join("model.safetensors"),
        folder.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let error = refusal(&folder);
    assert_eq!(error.reason, Reason::UnsupportedFormat);
    assert!(
        error.message.contains("safe_serialization=True"),
        "{}",
        error.message
    );
}

#[test]
fn missing_shards_are_listed() {
    let folder = copy();
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    fs::rename(
        folder.path().join("model.safetensors"),
        folder.path().join("model-00001-of-00002.safetensors"),
    )
    .unwrap();
    let error = refusal(&folder);
    assert_eq!(error.reason, Reason::ModelInvalid);
    assert!(
        error.message.contains("model-00002-of-00002.safetensors"),
        "{}",
        error.message
    );
}

#[test]
fn one_flipped_byte_is_a_digest_mismatch() {
    let digest = load(&sound(), &LoadOptions::default())
        .unwrap()
        .facts
        .digest;
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let options = LoadOptions {
        digest: Some(digest.clone()),
        ..LoadOptions::default()
    };
    assert!(load(&sound(), &options).is_ok());
    let error = load(folder.path(), &options).unwrap_err();
    assert_eq!(error.reason, Reason::DigestMismatch);
    assert!(error.message.contains(digest.as_str()));
}

#[test]
fn a_limit_that_cannot_be_is_refused() {
    for max_tokens in [0, 1, 2, 3, 1_000_000] {
        let options = LoadOptions {
            max_tokens: Some(max_tokens),
            ..LoadOptions::default()
        };
        let error = load(&sound(), &options).unwrap_err();
        assert!(error.message.contains("--max-tokens"), "{}", error.message);
    }
}
