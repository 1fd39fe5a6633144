//! Weights beside a sound config and tokenizer. The first byte says how the rest is read: as the
//! file; as a header, up to the first zero byte, and data, with the length put before them; or as
//! the index of shards beside sound weights.
//!
//! Owns nothing but the form of its input. Invariant: weights are those of the model or refused,
//! whatever their header says of shapes and places; never a panic.
#![no_main]

use std::sync::LazyLock;

use inference_fuzz::json::{Words, replace};
use inference_fuzz::{Folder, here};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model of a few numbers, without its weights and with them.
#[expect(
    clippy::expect_used,
    reason = "there is nothing to fuzz without the model"
)]
static BARE: LazyLock<Folder> =
    LazyLock::new(|| Folder::of(&here("fuzz/model"), &[WEIGHTS]).expect("a folder"));
#[expect(
    clippy::expect_used,
    reason = "there is nothing to fuzz without the model"
)]
static WHOLE: LazyLock<Folder> =
    LazyLock::new(|| Folder::of(&here("fuzz/model"), &[]).expect("a folder"));

#[expect(clippy::expect_used, reason = "a full disk is no finding")]
fn load(folder: &Folder, name: &str, file: &[u8]) {
    folder.write(name, file).expect("a file");
    if let Err(error) = folder.load() {
        assert!(!error.message.is_empty(), "an error without a word");
    }
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::of(include_str!("../dictionaries/safetensors.dict")));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let (header, tail) = match data.get(1..size) {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == 0);
            let (header, tail) = rest.split_at(end.unwrap_or(rest.len()));
            (WORDS.change(header, seed), tail.to_vec())
        }
        None => (None, Vec::new()),
    };
    header
        .and_then(|header| replace(data, 1, &header, &tail))
        .filter(|size| *size <= max_size)
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else {
        return;
    };
    match form % 3 {
        0 => load(&BARE, WEIGHTS, rest),
        1 => {
            let mut parts = rest.splitn(2, |byte| *byte == 0);
            let header = parts.next().unwrap_or_default();
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend(header);
            file.extend(parts.next().unwrap_or_default());
            load(&BARE, WEIGHTS, &file);
        }
        _ => load(&WHOLE, INDEX, rest),
    }
});
