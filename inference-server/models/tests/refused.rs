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
