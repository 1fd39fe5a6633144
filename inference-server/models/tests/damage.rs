//! Damage of a model's files, wherever it falls, is an error or another model; never a crash.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::texts::Lcg;
use common::{here, references};
use inference_models::chat::{ChatTemplate, Origin};
use inference_models::{Chat, LoadOptions, load};
use tempfile::TempDir;

/// What a careless hand, a torn copy or a curious mind does to a text.
fn damaged(bytes: &[u8], random: &mut Lcg) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = random.below(bytes.len());
    let some = [
        &b"9"[..],
        b"-1",
        b"null",
        b"\"",
        b"99999999999999999999",
        b"0",
        b"}",
        b"1e999",
        b"\xff",
        b"[]",
    ];
    let new = some.get(random.below(some.len())).unwrap();
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => drop(bytes.splice(at..at, new.iter().copied())),
        2 => drop(bytes.splice(at..(at + 1).min(bytes.len()), new.iter().copied())),
        _ => {
            // A whole number, wherever one begins next.
            let digit = |byte: &u8| byte.is_ascii_digit();
            let start = at + bytes.iter().skip(at).take_while(|b| !digit(b)).count();
            let length = bytes.iter().skip(start).take_while(|b| digit(b)).count();
            drop(bytes.splice(start..start + length, new.iter().copied()));
        }
    }
    bytes
}

fn damage(folder: &Path, file: &str, rounds: usize) {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let sound = fs::read(folder.join(file)).unwrap();
    let options = LoadOptions {
        threads: 1,
        max_tokens: Some(64),
        ..LoadOptions::default()
    };
    let mut random = Lcg(file.len() as u64);
    for _ in 0..rounds {
        fs::write(copy.path().join(file), damaged(&sound, &mut random)).unwrap();
        if let Err(error) = load(copy.path(), &options) {
            assert!(!error.message.is_empty());
        }
    }
}

#[test]
fn of_configs() {
    for folder in [references("parity"), references("parity-extra")].concat() {
        damage(&folder, "config.json", 100);
        damage(&folder, "tokenizer_config.json", 20);
    }
}

#[test]
fn of_tokenizers() {
    for folder in references("parity-extra") {
        damage(&folder, "tokenizer.json", 60);
    }
}

#[test]
fn of_headers_of_weights() {
    for folder in references("parity-extra") {
        let file = folder.join("model.safetensors");
        let sound = fs::read(&file).unwrap();
        let copy = TempDir::new().unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let length: [u8; 8] = sound.get(..8).unwrap().try_into().unwrap();
        let data = 8 + usize::try_from(u64::from_le_bytes(length)).unwrap();
        let header = sound.get(8..data).unwrap();
        let mut random = Lcg(5);
        for _ in 0..60 {
            let header = damaged(header, &mut random);
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header);
            bytes.extend(sound.get(data..).unwrap());
            fs::write(copy.path().join("model.safetensors"), bytes).unwrap();
            if let Err(error) = load(copy.path(), &LoadOptions::default()) {
                assert!(!error.message.is_empty());
            }
        }
    }
}

#[test]
fn of_chat_templates() {
    let lines = fs::read_to_string(here("tests/fixtures/templates.jsonl")).unwrap();
    let chat = Chat::of("hello", "hello");
    let mut random = Lcg(3);
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let source = line.get("template").and_then(|text| text.as_str()).unwrap();
        for _ in 0..100 {
            let source = damaged(source.as_bytes(), &mut random);
            let source = String::from_utf8_lossy(&source);
            let file = Origin::Model("chat_template.jinja");
            let date = "2026-02-03".parse().unwrap();
            if let Ok(template) = ChatTemplate::parse(&source, file, &[].into(), date) {
                drop(template.render(&chat));
            }
        }
    }
}
