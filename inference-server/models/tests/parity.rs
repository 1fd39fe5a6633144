//! Scores are those of transformers, and the same bits in any batch.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use inference_models::{EncodeOptions, LoadOptions, Model, Packed, TextInput, load};
use serde::Deserialize;

const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    text: String,
    text_pair: Option<String>,
    score: f32,
    tokens: Option<usize>,
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn demo(name: &str) -> PathBuf {
    here("../../e2e/fixtures/demo-models").join(name)
}

fn open(folder: &Path, max_tokens: Option<usize>, threads: usize) -> Model {
    load(
        folder,
        &LoadOptions {
            max_tokens,
            threads,
            ..LoadOptions::default()
        },
    )
    .unwrap()
}

fn expected(folder: &Path) -> Vec<Expected> {
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn input(line: &Expected) -> TextInput {
    match &line.text_pair {
        Some(pair) => TextInput::Pair(line.text.clone(), pair.clone()),
        None => TextInput::Text(line.text.clone()),
    }
}

fn scores(model: &Model, inputs: &[TextInput]) -> Vec<f32> {
    let mut batch = Packed::default();
    for input in inputs {
        let encoded = model.tokenizer.encode(input, EncodeOptions::default()).unwrap();
        batch.push(&encoded.ids, &encoded.type_ids);
    }
    model
        .engine
        .forward(&batch)
        .unwrap()
        .into_iter()
        .map(|logits| logits[0])
        .collect()
}

fn largest_difference(model: &Model, lines: &[Expected]) -> f32 {
    let inputs: Vec<_> = lines.iter().map(input).collect();
    let differences = scores(model, &inputs)
        .into_iter()
        .zip(lines)
        .map(|(s, l)| (s - l.score).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn the_demo_models_score_as_transformers_does() {
    for name in [
        "tiny-reward-v1",
        "tiny-reward-v2",
        "tiny-reward-v2-shifted",
        "tiny-reward-v3-regressed",
    ] {
        let lines = expected(&demo(name));
        assert!(lines.len() > 100);
        let largest = largest_difference(&open(&demo(name), None, 1), &lines);
        println!(
            "{name}: {} lines, largest difference {largest:e}",
            lines.len()
        );
        assert!(largest <= TOLERANCE, "{name}: {largest}");
    }
}

#[test]
fn the_parity_vectors_are_met_in_scores_and_in_tokens() {
    let folder = here("tests/fixtures/parity/bert");
    let limits = std::fs::read_to_string(folder.join("LIMITS.json")).unwrap();
    let limits: serde_json::Value = serde_json::from_str(&limits).unwrap();
    let max = limits["max_tokens_used_for_reference"].as_u64().unwrap();
    let model = open(&folder, usize::try_from(max).ok(), 1);
    let lines = expected(&folder);
    for line in &lines {
        let encoded = model.tokenizer.encode(&input(line), EncodeOptions::default()).unwrap();
        if let Some(tokens) = line.tokens {
            assert_eq!(encoded.ids.len(), tokens, "{:?}", line.text);
        }
    }
    let largest = largest_difference(&model, &lines);
    println!(
        "bert: {} lines, largest difference {largest:e}",
        lines.len()
    );
    assert!(largest <= TOLERANCE, "{largest}");
}

#[test]
fn a_score_is_the_same_bits_alone_and_in_any_batch_on_any_number_of_threads() {
    let folder = demo("tiny-reward-v2");
    let lines = expected(&folder);
    let mut inputs: Vec<_> = lines.iter().take(100).map(input).collect();
    inputs.push(TextInput::Text("a".to_owned()));
    inputs.push(TextInput::Text("word ".repeat(5_000)));
    let model = open(&folder, None, 1);
    let alone: Vec<u32> = inputs
        .iter()
        .map(|input| scores(&model, std::slice::from_ref(input))[0].to_bits())
        .collect();
    for threads in [1, 2] {
        let model = open(&folder, None, threads);
        for size in [2, 3, 17, 64, 102] {
            let batched = inputs.chunks(size).flat_map(|chunk| scores(&model, chunk));
            let bits: Vec<u32> = batched.map(f32::to_bits).collect();
            assert_eq!(bits, alone, "in batches of {size} on {threads} threads");
        }
    }
}
