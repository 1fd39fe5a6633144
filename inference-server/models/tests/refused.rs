//! What a checkpoint leaves open, or what is not computed, is refused with what to do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{changed, configure};
use inference_models::{LoadError, LoadOptions, Reason, load};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn refusal(folder: &Path) -> LoadError {
    load(folder, &LoadOptions::default()).unwrap_err()
}

/// Says what is wrong with a model of `parity-extra` whose config has one field changed.
#[track_caller]
fn refused(name: &str, field: &str, value: Value, reason: Reason, named: &str) {
    let error = refusal(changed(name, field, value.clone()).path());
    let said = format!("{name} {field} {value}: {}", error.message);
    assert_eq!(error.reason, reason, "{said}");
    assert!(error.message.contains(named), "{said}");
}

/// Writes the tensor `from` a second time, as `to`; where that is the same, it is left out.
fn copy_tensor(folder: &Path, from: &str, to: &str) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = tensors.tensors();
    if from == to {
        all.retain(|(name, _)| name != from);
    } else {
        all.push((to.to_owned(), tensors.tensor(from).unwrap()));
    }
    std::fs::write(path, safetensors::serialize(all, None).unwrap()).unwrap();
}

#[test]
fn two_heads_of_an_openrlhf_model_need_a_word_of_the_config() {
    let folder = changed("openrlhf", "mean", json!(0.75));
    copy_tensor(folder.path(), "value_head.weight", "score.weight");
    let error = refusal(folder.path());
    assert_eq!(error.reason, Reason::ModelInvalid);
    assert!(error.message.contains("value_head_prefix"), "{error}");
    // Told which is the head, the other one is still there for nothing.
    configure(folder.path(), "value_head_prefix", json!("score"));
    let error = refusal(folder.path());
    assert!(error.message.contains("value_head.weight"), "{error}");
}

#[test]
fn an_openrlhf_model_without_a_head_is_told_where_its_name_belongs() {
    let folder = changed("openrlhf", "mean", json!(0.75));
    copy_tensor(folder.path(), "value_head.weight", "value_head.weight");
    let error = refusal(folder.path());
    assert_eq!(error.reason, Reason::ModelInvalid);
    assert!(error.message.contains("value_head_prefix"), "{error}");
}

#[test]
fn what_an_openrlhf_config_leaves_open_is_refused() {
    use Reason::{ModelInvalid, UnsupportedFormat};
    refused(
        "openrlhf",
        "normalize_reward",
        Value::Null,
        ModelInvalid,
        "\"normalize_reward\": true",
    );
    refused("openrlhf", "std", json!(0), ModelInvalid, "std above 0");
    refused(
        "openrlhf",
        "std",
        Value::Null,
        ModelInvalid,
        "both mean and std",
    );
    refused("openrlhf", "std", json!("1"), ModelInvalid, "config.json");
    refused(
        "openrlhf",
        "value_head_prefix",
        json!("v_head"),
        ModelInvalid,
        "v_head.weight",
    );
    refused(
        "openrlhf",
        "model_type",
        json!("bert"),
        UnsupportedFormat,
        "RewardModel is served where model_type is llama",
    );
    refused(
        "openrlhf",
        "num_labels",
        json!(2),
        ModelInvalid,
        "value_head.weight",
    );
}

#[test]
fn several_labels_of_each_token_are_no_score_of_a_text() {
    for labels in [json!(2), json!(5)] {
        refused(
            "qwen2-tokens",
            "num_labels",
            labels,
            Reason::UnsupportedFormat,
            "process reward model",
        );
    }
    // transformers counts two labels where a file says nothing.
    refused(
        "qwen2-tokens",
        "id2label",
        Value::Null,
        Reason::UnsupportedFormat,
        "2 labels",
    );
}

#[test]
fn a_head_of_tokens_has_the_bias_that_the_config_says() {
    let folder = changed("llama-tokens", "pad_token_id", json!(2));
    copy_tensor(folder.path(), "score.bias", "score.bias");
    let error = refusal(folder.path());
    assert!(error.message.contains("lack score.bias"), "{error}");
    refused(
        "llama-tokens",
        "token_classification_bias",
        json!(false),
        Reason::ModelInvalid,
        "score.bias",
    );
}

#[test]
fn numbers_of_the_newer_families_that_cannot_be_are_refused() {
    for (name, field, value, named) in [
        ("gemma", "num_key_value_heads", json!(3), "evenly"),
        ("gemma", "head_dim", json!(0), "head_dim"),
        ("gemma3-old", "sliding_window_pattern", json!(0), "pattern"),
        ("gemma3-old", "rope_local_base_freq", json!(0), "local_base"),
        (
            "gemma3",
            "query_pre_attn_scalar",
            json!(-1),
            "query_pre_attn",
        ),
        (
            "gemma3",
            "rope_parameters",
            json!({"rope_type": "default"}),
            "sliding_attention",
        ),
        ("olmo2", "num_attention_heads", json!(8), "k_proj"),
        ("olmo2", "attention_bias", json!(true), "q_proj.bias"),
        ("phi3", "num_key_value_heads", json!(4), "qkv_proj"),
        ("phi3", "intermediate_size", json!(24), "gate_up_proj"),
        ("phi3", "partial_rotary_factor", json!(1.0), "short_factor"),
        (
            "phi3",
            "rope_scaling",
            json!({"type": "su"}),
            "short_factor",
        ),
        ("mixtral", "num_experts_per_tok", json!(0), "per_tok"),
        ("mixtral", "num_experts_per_tok", json!(5), "of 4 experts"),
        ("mixtral", "num_local_experts", json!(5), "gate.weight"),
        ("mixtral", "num_local_experts", json!(0), "experts"),
        ("qwen3-moe", "decoder_sparse_step", json!(0), "sparse_step"),
        ("qwen3-moe", "mlp_only_layers", json!([1]), "layers.1.mlp"),
        ("qwen3-moe", "moe_intermediate_size", json!(25), "experts.0"),
        ("gpt2", "n_head", json!(5), "attention heads"),
        ("gpt2", "n_inner", json!(64), "c_fc"),
        ("gpt2", "n_positions", json!(64), "wpe"),
        ("gpt2", "n_embd", json!(0), "n_embd"),
        (
            "llama-yarn",
            "rope_scaling",
            json!({"type": "yarn", "factor": 0}),
            "factor",
        ),
        (
            "llama-dynamic",
            "rope_parameters",
            json!({"rope_type": "dynamic"}),
            "factor",
        ),
    ] {
        refused(name, field, value, Reason::ModelInvalid, named);
    }
}

#[test]
fn what_the_newer_families_do_not_compute_is_refused_by_name() {
    for (name, field, value, named) in [
        (
            "gemma3",
            "attn_logit_softcapping",
            json!(50.0),
            "attn_logit_softcapping",
        ),
        (
            "gemma3",
            "use_bidirectional_attention",
            json!(true),
            "use_bidirectional_attention",
        ),
        (
            "phi3",
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
            "Phi 3",
        ),
        ("gpt2", "add_cross_attention", json!(true), "cross"),
    ] {
        refused(name, field, value, Reason::UnsupportedFormat, named);
    }
}
