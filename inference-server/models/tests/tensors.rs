//! A checkpoint is served with all the tensors that its architecture has, from the files that
//! transformers reads, and with no others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use inference_models::{
    EncodeOptions, LoadError, LoadOptions, Model, Packed, Reason, TextInput, load,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn copy_of(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity");
    for file in fs::read_dir(fixture.join(name)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

fn outcome(folder: &TempDir) -> Result<Model, LoadError> {
    load(folder.path(), &LoadOptions::default())
}

fn configure(folder: &TempDir, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    fs::write(&path, config.to_string()).unwrap();
}

/// Gives the tensor `from` another name in whichever file it is in.
fn rename(folder: &TempDir, from: &str, to: &str) {
    let mut found = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|end| end != "safetensors") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        let (header, data) = rest.split_at(length);
        let mut header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
        let Some(tensor) = header.remove(from) else {
            continue;
        };
        header.insert(to.to_owned(), tensor);
        let header = Value::Object(header).to_string().into_bytes();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(&path, [&length, header.as_slice(), data].concat()).unwrap();
        found += 1;
    }
    assert_eq!(found, 1, "{from}");
}

fn score(model: &Model, text: &str) -> f32 {
    let input = TextInput::Text(text.to_owned());
    let encoded = model.tokenizer.encode(&input, EncodeOptions::default());
    let encoded = encoded.unwrap();
    let mut batch = Packed::default();
    batch.push(&encoded.ids, &encoded.type_ids);
    let logits = model.engine.forward(&batch).unwrap();
    *logits.first().unwrap().first().unwrap()
}

#[test]
fn a_bias_that_is_lacking_is_named() {
    for (model, bias) in [
        ("bert", "bert.encoder.layer.1.output.dense.bias"),
        ("bert", "bert.encoder.layer.0.output.LayerNorm.bias"),
        ("bert", "bert.pooler.dense.bias"),
        ("bert", "classifier.bias"),
        ("roberta", "classifier.out_proj.bias"),
        ("distilbert", "distilbert.transformer.layer.0.ffn.lin1.bias"),
        (
            "deberta-v2",
            "deberta.encoder.layer.0.attention.self.key_proj.bias",
        ),
        ("qwen2", "model.layers.0.self_attn.q_proj.bias"),
        ("gpt-neox", "gpt_neox.layers.0.attention.dense.bias"),
        ("gpt-neox", "gpt_neox.final_layer_norm.bias"),
        ("modernbert", "classifier.bias"),
    ] {
        let folder = copy_of(model);
        // Under a name that no layer has and that is nobody's loss.
        rename(&folder, bias, "lm_head.bias");
        let error = outcome(&folder).unwrap_err();
        assert_eq!(error.reason, Reason::ModelInvalid);
        assert!(error.message.contains(bias), "{model}: {}", error.message);
    }
}

#[test]
fn a_bias_that_the_config_gives_no_place_is_refused() {
    for (model, vector, bias) in [
        (
            "llama",
            "model.layers.0.self_attn.o_proj.bias",
            "attention_bias",
        ),
        (
            "modernbert",
            "model.layers.0.attn.Wo.bias",
            "attention_bias",
        ),
    ] {
        let folder = copy_of(model);
        add_zeros(&folder, vector, hidden(&folder));
        let error = outcome(&folder).unwrap_err();
        assert!(error.message.contains(vector), "{}", error.message);
        // Where the config says that there is one, the others are looked for.
        configure(&folder, |config| {
            config.insert(bias.to_owned(), json!(true));
        });
        let error = outcome(&folder).unwrap_err();
        assert!(error.message.contains("lack"), "{}", error.message);
    }
}

fn hidden(folder: &TempDir) -> usize {
    let config = fs::read(folder.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    usize::try_from(config.get("hidden_size").unwrap().as_u64().unwrap()).unwrap()
}

/// Adds a vector of zeros to the one file of weights.
fn add_zeros(folder: &TempDir, name: &str, width: usize) {
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    let (header, data) = rest.split_at(length);
    let mut header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let (begin, more) = (data.len(), vec![0_u8; 4 * width]);
    let tensor =
        json!({"dtype": "F32", "shape": [width], "data_offsets": [begin, begin + more.len()]});
    header.insert(name.to_owned(), tensor);
    let header = Value::Object(header).to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    let all = [&length, header.as_slice(), data, more.as_slice()].concat();
    fs::write(&path, all).unwrap();
}

#[test]
fn of_a_whole_file_and_an_index_that_does_not_name_it_the_whole_one_counts() {
    // What save_pretrained leaves where a sharded model was before, or where somebody merged it.
    let (whole, sharded) = (copy_of("llama"), copy_of("mistral"));
    let wanted = score(&outcome(&whole).unwrap(), "Hello there");
    for name in ["model.safetensors.index.json"]
        .into_iter()
        .map(str::to_owned)
        .chain((1..=3).map(|i| format!("model-{i:05}-of-00003.safetensors")))
    {
        fs::copy(sharded.path().join(&name), whole.path().join(&name)).unwrap();
        let found = score(&outcome(&whole).unwrap(), "Hello there");
        assert_eq!(found.to_bits(), wanted.to_bits(), "{name}");
    }
    // Beside another file of weights without an index, too.
    fs::remove_file(whole.path().join("model.safetensors.index.json")).unwrap();
    assert!(outcome(&whole).is_ok());
}

#[test]
fn an_index_that_names_the_whole_file_too_is_followed() {
    let folder = copy_of("bert");
    let index = json!({"weight_map": {"classifier.weight": "model.safetensors"}});
    let path = folder.path().join("model.safetensors.index.json");
    fs::write(path, index.to_string()).unwrap();
    assert!(outcome(&folder).is_ok());
}

#[test]
fn a_type_of_layer_that_is_not_known_is_refused_by_name() {
    for model in ["mistral", "qwen2", "qwen3", "gemma2", "llama"] {
        let folder = copy_of(model);
        configure(&folder, |config| {
            let layers = config.get("num_hidden_layers").unwrap().as_u64().unwrap();
            let types = (0..layers).map(|_| json!("chunked_attention"));
            config.insert("layer_types".to_owned(), types.collect());
        });
        let error = outcome(&folder).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
        let named = error.message.contains("chunked_attention");
        assert!(named, "{model}: {}", error.message);
    }
}

#[test]
fn every_label_has_a_name_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity-extra");
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(folder.join("bert-labels")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    configure(&copy, |config| {
        let names = json!({"0": "safe", "1": "safe", "2": "LABEL_1"});
        config.insert("id2label".to_owned(), names);
    });
    let mut labels = outcome(&copy).unwrap().facts.labels;
    assert_eq!(labels.first().map(String::as_str), Some("safe"));
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), 3, "{labels:?}");
}

#[test]
fn a_token_that_only_added_tokens_json_has_is_refused_by_name() {
    let folder = copy_of("llama");
    let path = folder.path().join("added_tokens.json");
    // transformers gives "<|eot_id|>" its id of tokenizer.json, whatever this says.
    fs::write(&path, r#"{"<|eot_id|>": 5}"#).unwrap();
    let with = outcome(&folder).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(with.facts.digest, outcome(&folder).unwrap().facts.digest);
    fs::write(&path, r#"{"<|new|>": 600}"#).unwrap();
    let error = outcome(&folder).unwrap_err();
    assert_eq!(error.reason, Reason::UnsupportedFormat);
    assert!(error.message.contains("<|new|>"), "{}", error.message);
}
