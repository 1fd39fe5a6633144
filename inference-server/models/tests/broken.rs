//! A broken model is refused with its reason and a sentence that says what to do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use inference_models::{LoadError, LoadOptions, Reason, load};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parity")
        .join(name)
}

fn sound() -> PathBuf {
    fixture("bert")
}

/// A copy of a sound model.
fn copy() -> TempDir {
    copy_of("bert")
}

fn copy_of(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir(fixture(name)).unwrap() {
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

/// What is said of a model whose config has this field changed.
fn configured(name: &str, field: &str, value: serde_json::Value) -> LoadError {
    let folder = copy_of(name);
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let fields = config.as_object_mut().unwrap();
    fields.insert(field.to_owned(), value);
    fs::write(&path, config.to_string()).unwrap();
    refusal(&folder)
}

const ALL: [&str; 12] = [
    "bert",
    "deberta-v2",
    "distilbert",
    "gemma2",
    "gpt-neox",
    "llama",
    "mistral",
    "modernbert",
    "qwen2",
    "qwen3",
    "roberta",
    "xlm-roberta",
];

/// The field of that meaning: DistilBERT has names of its own.
fn field<'a>(model: &str, name: &'a str) -> &'a str {
    match (model, name) {
        ("distilbert", "num_hidden_layers") => "n_layers",
        ("distilbert", "hidden_size") => "dim",
        ("distilbert", "num_attention_heads") => "n_heads",
        ("distilbert", "intermediate_size") => "hidden_dim",
        _ => name,
    }
}

#[test]
fn counts_that_cannot_be_are_an_error_and_not_a_crash() {
    // 2^63 and more would overflow what is computed of them, 10^9 layers would fill the memory.
    let counts = [0, 1, 3, 1_000_000_000, (1 << 63) - 1, u64::MAX];
    for model in ALL {
        for name in [
            "num_hidden_layers",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "vocab_size",
        ] {
            for count in counts {
                // Fewer layers than the file has are a smaller model, and 1 head a strange one.
                let may_be = match name {
                    "num_hidden_layers" => count <= 3,
                    "num_attention_heads" => count == 1,
                    _ => false,
                };
                if !may_be {
                    let error = configured(model, field(model, name), count.into());
                    assert_eq!(
                        error.reason,
                        Reason::ModelInvalid,
                        "{model} {name} {count}: {}",
                        error.message
                    );
                }
            }
        }
    }
}

#[test]
fn fields_of_one_family_that_cannot_be_are_refused_too() {
    let huge = serde_json::json!(u64::MAX);
    let many = serde_json::json!(1_000_000_000_000u64);
    for (model, field, value) in [
        ("llama", "num_key_value_heads", 3.into()),
        ("llama", "num_key_value_heads", 0.into()),
        ("llama", "head_dim", 0.into()),
        ("llama", "head_dim", huge.clone()),
        ("llama", "rope_theta", 0.into()),
        ("llama", "max_position_embeddings", 0.into()),
        ("mistral", "sliding_window", 0.into()),
        ("mistral", "sliding_window", many.clone()),
        ("gemma2", "query_pre_attn_scalar", 0.into()),
        ("gemma2", "attn_logit_softcapping", (-1).into()),
        ("gemma2", "layer_types", serde_json::json!([])),
        ("qwen3", "head_dim", 33.into()),
        ("gpt-neox", "num_attention_heads", 5.into()),
        (
            "gpt-neox",
            "rope_parameters",
            serde_json::json!({"partial_rotary_factor": 0.01}),
        ),
        ("modernbert", "local_attention", 0.into()),
        ("modernbert", "layer_types", serde_json::json!(["none"])),
        ("modernbert", "classifier_pooling", "max".into()),
        ("deberta-v2", "position_buckets", many.clone()),
        ("deberta-v2", "position_buckets", 16.into()),
        ("roberta", "pad_token_id", 600.into()),
        ("roberta", "max_position_embeddings", 1.into()),
        ("bert", "type_vocab_size", 0.into()),
        ("bert", "hidden_act", "sine".into()),
    ] {
        let error = configured(model, field, value.clone());
        assert_eq!(
            error.reason,
            Reason::ModelInvalid,
            "{model} {field} {value}: {}",
            error.message
        );
    }
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let axial = serde_json::json!({"rope_type": "axial", "factor": 4.0});
    for (model, field, value, name) in [
        (
            "deberta-v2",
            "conv_kernel_size",
            3.into(),
            "conv_kernel_size",
        ),
        ("llama", "rope_scaling", axial, "axial"),
        (
            "bert",
            "position_embedding_type",
            "relative_key".into(),
            "relative_key",
        ),
        ("bert", "is_decoder", true.into(), "is_decoder"),
        (
            "gemma2",
            "use_bidirectional_attention",
            true.into(),
            "use_bidirectional_attention",
        ),
    ] {
        let error = configured(model, field, value);
        assert_eq!(error.reason, Reason::UnsupportedFormat, "{}", error.message);
        assert!(error.message.contains(name), "{}", error.message);
    }
}

#[test]
fn a_head_of_the_wrong_shape_is_named() {
    for (model, head) in [
        ("bert", "classifier.weight"),
        ("roberta", "classifier.out_proj.weight"),
        ("modernbert", "classifier.weight"),
        ("llama", "score.weight"),
        ("gpt-neox", "score.weight"),
    ] {
        let labels = serde_json::json!({"0": "a", "1": "b"});
        let error = configured(model, "id2label", labels);
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(error.message.contains(head), "{}", error.message);
    }
}

#[test]
fn an_embedding_smaller_than_the_tokenizer_is_refused_for_every_architecture() {
    for model in ALL {
        let folder = copy_of(model);
        let path = folder.path().join("tokenizer.json");
        let mut tokenizer: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let added = tokenizer
            .get_mut("added_tokens")
            .and_then(serde_json::Value::as_array_mut)
            .unwrap();
        added.push(serde_json::json!({
            "id": 2_500, "content": "<extra>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }));
        // Ids of added tokens follow the vocabulary where they are not in it.
        for i in 0..900 {
            added.push(serde_json::json!({
                "id": 2_501 + i, "content": format!("<extra{i}>"), "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true
            }));
        }
        fs::write(&path, tokenizer.to_string()).unwrap();
        let error = refusal(&folder);
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(
            error.message.contains("belong to different models"),
            "{model}: {}",
            error.message
        );
    }
}

#[test]
fn special_tokens_beyond_the_embedding_are_refused() {
    // The ids of a post-processor are its own, whatever the vocabulary says.
    let error = replaced(
        "tokenizer.json",
        "\"ids\": [\n          3\n        ]",
        "\"ids\": [9999]",
    );
    assert_eq!(error.reason, Reason::ModelInvalid);
    assert!(error.message.contains("9999"), "{}", error.message);
}

#[test]
fn damaged_files_of_chats_are_named() {
    for (name, bytes) in [
        ("chat_template.jinja", &b"\xff\xfe"[..]),
        ("chat_template.jinja", b"{% if %}"),
        ("special_tokens_map.json", b"{"),
        ("tokenizer_config.json", b"{\"chat_template\": 7}"),
    ] {
        let folder = copy_of("llama");
        fs::write(folder.path().join(name), bytes).unwrap();
        let error = refusal(&folder);
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(error.message.contains(name), "{name}: {}", error.message);
    }
}

#[test]
fn a_missing_shard_of_a_sharded_model_is_named() {
    let folder = copy_of("mistral");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let error = refusal(&folder);
    assert!(
        error.message.contains("model-00002-of-00003.safetensors"),
        "{}",
        error.message
    );
}

/// A safetensors file of that header, and so many bytes of 0.
fn safetensors(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.resize(file.len() + bytes, 0);
    file
}

#[test]
fn weights_that_are_none_are_refused() {
    for (header, bytes) in [
        ("{}", 0),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}"#,
            4,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}"#,
            4,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,0]}}"#,
            4,
        ),
        (r#"{"a":1}"#, 0),
        ("[]", 0),
    ] {
        let error = change("model.safetensors", |_| safetensors(header, bytes));
        assert_eq!(
            error.reason,
            Reason::ModelInvalid,
            "{header}: {}",
            error.message
        );
    }
    let eight = r#"{"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}"#;
    let error = change("model.safetensors", |_| safetensors(eight, 4));
    assert_eq!(error.reason, Reason::UnsupportedFormat);
}

#[test]
fn a_shape_of_nothing_and_more_than_everything_is_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[0,18446744073709551615,9],"data_offsets":[0,0]}}"#;
    let error = change("model.safetensors", |_| safetensors(header, 0));
    assert!(error.message.contains("shape"), "{}", error.message);
}

#[test]
fn numbers_too_large_for_f16_are_refused_with_what_to_choose() {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let data = 8 + usize::try_from(length).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let words = &header["bert.embeddings.word_embeddings.weight"]["data_offsets"][0];
    let at = data + usize::try_from(words.as_u64().unwrap()).unwrap();
    bytes.splice(at..at + 4, 1e6f32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let options = LoadOptions {
        dtype: inference_models::Dtype::F16,
        ..LoadOptions::default()
    };
    let error = load(folder.path(), &options).unwrap_err();
    assert!(error.message.contains("--dtype"), "{}", error.message);
}
