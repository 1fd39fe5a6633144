//! The code for GPUs, run on the CPU: scores are those of transformers there too, in any batch.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::texts::{Lcg, texts};
use common::{Expected, demo, encode, expected, here, input, limit, logits, references};
use inference_models::{
    DeviceChoice, Dtype, Encoded, LoadError, LoadOptions, Model, Reason, TextInput, load,
};

/// Of f32, as by the kernels.
const TOLERANCE: f32 = 1e-4;

fn try_tensors(folder: &Path, max_tokens: Option<usize>, dtype: Dtype) -> Result<Model, LoadError> {
    let options = LoadOptions {
        max_tokens,
        threads: 1,
        dtype,
        device: DeviceChoice::Tensors,
        ..LoadOptions::default()
    };
    load(folder, &options)
}

fn tensors(folder: &Path, dtype: Dtype) -> Model {
    let limits = folder.join("LIMITS.json").exists();
    let limit = limits.then(|| limit(folder)).flatten();
    try_tensors(folder, limit, dtype).unwrap()
}

fn all() -> Vec<std::path::PathBuf> {
    [references("parity"), references("parity-extra")].concat()
}

fn difference(model: &Model, lines: &[Expected]) -> f32 {
    let inputs: Vec<_> = lines.iter().map(input).collect();
    let found = logits(model, &encode(model, &inputs));
    let wanted = lines.iter().flat_map(Expected::logits);
    let apart = found.into_iter().flatten().zip(wanted);
    apart
        .map(|(found, wanted)| (found - wanted).abs())
        .fold(0.0, f32::max)
}

fn named(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_model_scores_as_transformers_does() {
    let demos = ["tiny-reward-v1", "tiny-reward-v2"].map(demo);
    for folder in all().into_iter().chain(demos) {
        let lines = expected(&folder);
        let largest = difference(&tensors(&folder, Dtype::F32), &lines);
        println!(
            "{}: {} lines, largest difference {largest:e}",
            named(&folder),
            lines.len()
        );
        assert!(largest <= TOLERANCE, "{}: {largest}", named(&folder));
    }
}

/// Each product rounds to 8 bits, or to 11, what goes in and what comes out. These models are random and tiny, and
/// their scores are about 1; the farthest off of them was 0.056 in bf16.
#[test]
fn sixteen_bits_score_nearly_as_transformers_does_in_f32() {
    for (dtype, tolerance) in [(Dtype::Bf16, BF16), (Dtype::F16, F16)] {
        for folder in all() {
            let largest = difference(&tensors(&folder, dtype), &expected(&folder));
            println!("{} {dtype}: largest difference {largest:e}", named(&folder));
            assert!(
                largest <= tolerance,
                "{} {dtype}: {largest}",
                named(&folder)
            );
        }
    }
}

const BF16: f32 = 0.08;
const F16: f32 = 0.01;

#[test]
fn auto_is_the_format_that_a_checkpoint_is_stored_in() {
    for (name, dtype) in [
        ("llama-bf16", Dtype::Bf16),
        ("qwen3-f16", Dtype::F16),
        ("gpt2", Dtype::F32),
    ] {
        let folder = here("tests/fixtures/parity-extra").join(name);
        assert_eq!(tensors(&folder, Dtype::Auto).facts.dtype, dtype, "{name}");
    }
}

#[test]
fn eight_bits_are_refused_with_what_to_choose() {
    let error = try_tensors(&demo("tiny-reward-v1"), None, Dtype::Int8).unwrap_err();
    assert_eq!(error.reason, Reason::LoadFailed);
    assert!(error.message.contains("--dtype int8"), "{error}");
}

#[test]
fn a_model_says_by_what_and_where_it_is_computed() {
    let facts = tensors(&demo("tiny-reward-v1"), Dtype::Auto).facts;
    assert!(facts.engine.starts_with("tensors-1/"), "{}", facts.engine);
    assert_eq!(facts.device, "cpu");
}

#[test]
fn a_batch_changes_a_score_by_rounding_alone() {
    let pairs = here("../../e2e/fixtures/data/preferences-eval.jsonl");
    let texts = texts(&std::fs::read_to_string(pairs).unwrap(), 300);
    let texts: Vec<_> = texts.into_iter().map(TextInput::Text).collect();
    for folder in all() {
        let model = tensors(&folder, Dtype::F32);
        // Every tenth, and those of one word and of the most tokens.
        let chosen = texts.iter().step_by(10).chain(&texts[196..]).cloned();
        let inputs = encode(&model, &chosen.collect::<Vec<_>>());
        let alone: Vec<f32> = inputs
            .iter()
            .flat_map(|one| logits(&model, [one]).concat())
            .collect();
        let mut order: Vec<_> = (0..inputs.len()).collect();
        Lcg(7).shuffle(&mut order);
        let batch: Vec<&Encoded> = order.iter().map(|i| &inputs[*i]).collect();
        let found = logits(&model, batch.iter().copied());
        let labels = found[0].len();
        for (i, found) in order.iter().zip(&found) {
            for (found, alone) in found.iter().zip(&alone[i * labels..]) {
                let apart = (found - alone).abs();
                assert!(apart <= TOLERANCE, "{} text {i}: {apart}", named(&folder));
            }
        }
    }
}

/// The right values are those of the kernels' test.
#[test]
fn deberta_reads_texts_of_any_length_block_by_block() {
    let folder = here("tests/fixtures/parity/deberta-v2");
    let model = try_tensors(&folder, Some(4_096), Dtype::F32).unwrap();
    let text = TextInput::Text("Tokyo is a city. ".repeat(200));
    let score = logits(&model, &encode(&model, &[text]))[0][0];
    assert!((score + 0.643_673_7).abs() < 1e-5, "{score}");
}
