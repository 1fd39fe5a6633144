//! Scores are those of transformers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{
    Expected, changed, demo, encode, expected, here, input, limit, logits, open, open_as,
    references,
};
use inference_models::architectures::supported;
use inference_models::{Dtype, EncodeOptions, Model, TextInput};

const TOLERANCE: f32 = 1e-4;

fn largest_difference(model: &Model, lines: &[Expected]) -> f32 {
    let inputs: Vec<_> = lines.iter().map(input).collect();
    let mut largest = 0f32;
    for (found, line) in logits(model, &encode(model, &inputs)).iter().zip(lines) {
        let wanted = line.logits();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            largest = largest.max((found - wanted).abs());
        }
    }
    largest
}

/// Tokens and scores of all lines of a model.
fn check(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let model = open(folder, limit(folder), 1);
    let lines = expected(folder);
    for line in &lines {
        let encoded = model
            .tokenizer
            .encode(&input(line), EncodeOptions::default())
            .unwrap();
        if let Some(tokens) = line.tokens {
            assert_eq!(encoded.ids.len(), tokens, "{name}: {:?}", line.text);
        }
    }
    let largest = largest_difference(&model, &lines);
    assert!(largest <= TOLERANCE, "{name}: {largest}");
    format!(
        "{name}: {} lines, largest difference {largest:e}",
        lines.len()
    )
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
        println!("{name}: largest difference {largest:e}");
        assert!(largest <= TOLERANCE, "{name}: {largest}");
    }
}

#[test]
fn the_parity_vectors_are_met_in_scores_and_in_tokens() {
    let folders = references("parity");
    assert_eq!(folders.len(), 12);
    for folder in folders {
        println!("{}", check(&folder));
    }
}

#[test]
fn heads_formats_and_configs_that_those_lack_score_as_transformers_does() {
    let folders = references("parity-extra");
    assert_eq!(folders.len(), 29);
    for folder in folders {
        println!("{}", check(&folder));
    }
}

#[test]
fn a_checkpoint_of_sixteen_bits_loses_nothing_in_its_own_format() {
    for (name, dtype) in [("llama-bf16", Dtype::Bf16), ("qwen3-f16", Dtype::F16)] {
        let folder = here("tests/fixtures/parity-extra").join(name);
        let lines = expected(&folder);
        let inputs: Vec<_> = lines.iter().map(input).collect();
        let score = |dtype| {
            let model = open_as(&folder, limit(&folder), 1, dtype);
            logits(&model, &encode(&model, &inputs))
        };
        assert_eq!(score(dtype), score(Dtype::F32), "{name}");
        assert_ne!(score(Dtype::Int8), score(Dtype::F32), "{name}");
    }
}

#[test]
fn every_architecture_that_is_said_to_be_served_has_a_reference() {
    let folders = [references("parity"), references("parity-extra")].concat();
    let architecture = |folder: &std::path::PathBuf| {
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["architectures"][0].as_str().unwrap().to_owned()
    };
    let proven: BTreeSet<_> = folders.iter().map(architecture).collect();
    let said: BTreeSet<_> = supported().map(ToOwned::to_owned).collect();
    assert_eq!(said, proven);
}

/// The largest difference of a model whose config has one field changed.
fn difference_with(name: &str, field: &str, value: serde_json::Value) -> f32 {
    let source = here("tests/fixtures/parity-extra").join(name);
    let folder = changed(name, field, value);
    largest_difference(&open(folder.path(), limit(&source), 1), &expected(&source))
}

#[test]
fn a_config_that_leaves_tensors_unread_is_refused_with_their_names() {
    for (name, field, value, tensor) in [
        (
            "deberta-unshared",
            "pos_att_type",
            serde_json::json!("c2p"),
            "pos_query_proj",
        ),
        (
            "mistral-window",
            "num_hidden_layers",
            serde_json::json!(1),
            "layers.1.",
        ),
    ] {
        let folder = changed(name, field, value);
        let error =
            inference_models::load(folder.path(), &inference_models::LoadOptions::default());
        let message = error.unwrap_err().message;
        assert!(message.contains(tensor), "{message}");
    }
}

#[test]
fn the_references_notice_what_they_are_there_for() {
    use serde_json::{Value, json};
    for (name, field, value) in [
        ("mistral-window", "sliding_window", Value::Null),
        ("mistral-window", "sliding_window", json!(9)),
        ("modernbert-cls", "classifier_pooling", json!("mean")),
        ("modernbert-cls", "local_attention", json!(18)),
        ("modernbert-cls", "global_attn_every_n_layers", json!(1)),
        ("modernbert-cls", "local_rope_theta", Value::Null),
        ("llama-bf16", "pad_token_id", Value::Null),
        ("llama-bf16", "rope_scaling", Value::Null),
        ("qwen2-reward", "use_sliding_window", json!(false)),
        ("qwen2-reward", "max_window_layers", json!(0)),
        ("grm", "attn_logit_softcapping", Value::Null),
        ("grm", "query_pre_attn_scalar", json!(8)),
        ("gpt-neox-sequential", "use_parallel_residual", json!(true)),
        ("gpt-neox-sequential", "rotary_emb_base", json!(10_000)),
        ("gpt-neox-sequential", "hidden_act", json!("gelu")),
        ("gemma3-old", "rope_local_base_freq", json!(10_000)),
        ("gemma3-old", "rope_theta", json!(500)),
        ("gemma3-old", "rope_scaling", Value::Null),
        ("gemma3-old", "sliding_window_pattern", json!(2)),
        ("gemma3", "query_pre_attn_scalar", json!(12)),
        ("phi3", "sliding_window", Value::Null),
        ("phi3", "original_max_position_embeddings", json!(17)),
        ("phi3", "original_max_position_embeddings", json!(64)),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(false)),
        ("gpt2", "activation_function", json!("gelu")),
        ("mixtral", "num_experts_per_tok", json!(1)),
        ("mixtral", "sliding_window", Value::Null),
        ("qwen3-moe", "norm_topk_prob", json!(true)),
        ("qwen3-moe", "num_experts_per_tok", json!(2)),
        ("llama-yarn", "rope_scaling", Value::Null),
        ("openrlhf", "std", json!(1.6)),
        ("openrlhf", "mean", json!(0.7)),
        ("openrlhf", "normalize_reward", json!(false)),
        ("openrlhf-score", "normalize_reward", json!(true)),
    ] {
        let difference = difference_with(name, field, value.clone());
        assert!(
            difference > TOLERANCE,
            "{name} with {field} {value}: {difference}"
        );
    }
}

/// The right values are of a computation in f64 with numpy, which meets the parity vectors too.
#[test]
fn deberta_without_absolute_positions_reads_texts_of_any_length_block_by_block() {
    let mut folder = references("parity").into_iter();
    let folder = folder.find(|folder| folder.ends_with("deberta-v2"));
    let model = open(&folder.unwrap(), Some(4_096), 1);
    for (text, times, tokens, right) in [
        ("The answer is four, and not five. ", 60, 1_083, -0.563_707),
        ("Tokyo is a city. ", 200, 2_203, -0.643_673_7),
    ] {
        let encoded = encode(&model, &[TextInput::Text(text.repeat(times))]);
        assert_eq!(
            (encoded[0].ids.len(), encoded[0].truncated),
            (tokens, false)
        );
        let score = logits(&model, &encoded)[0][0];
        assert!((score - right).abs() < 1e-5, "{score}, {right}");
    }
}
