//! A checkpoint of the shape of BERT-base, with weights that look random, written once.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

const HIDDEN: usize = 768;
const INNER: usize = 3_072;
const LAYERS: usize = 12;

/// Names and shapes, in the order of the file.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    let embeddings = "bert.embeddings";
    add(
        format!("{embeddings}.word_embeddings.weight"),
        &[30_522, HIDDEN],
    );
    add(
        format!("{embeddings}.position_embeddings.weight"),
        &[512, HIDDEN],
    );
    add(
        format!("{embeddings}.token_type_embeddings.weight"),
        &[2, HIDDEN],
    );
    let mut linear = |name: String, output: usize, input: usize| {
        add(format!("{name}.weight"), &[output, input]);
        add(format!("{name}.bias"), &[output]);
    };
    for i in 0..LAYERS {
        let layer = format!("bert.encoder.layer.{i}");
        for part in ["query", "key", "value"] {
            linear(format!("{layer}.attention.self.{part}"), HIDDEN, HIDDEN);
        }
        linear(format!("{layer}.attention.output.dense"), HIDDEN, HIDDEN);
        linear(format!("{layer}.intermediate.dense"), INNER, HIDDEN);
        linear(format!("{layer}.output.dense"), HIDDEN, INNER);
    }
    linear("bert.pooler.dense".to_owned(), HIDDEN, HIDDEN);
    linear("classifier".to_owned(), 1, HIDDEN);
    let layers = (0..LAYERS).map(|i| format!("bert.encoder.layer.{i}"));
    let norms = layers.flat_map(|layer| {
        ["attention.output", "output"].map(|part| format!("{layer}.{part}.LayerNorm"))
    });
    for norm in norms.chain(["bert.embeddings.LayerNorm".to_owned()]) {
        all.push((format!("{norm}.weight"), vec![HIDDEN]));
        all.push((format!("{norm}.bias"), vec![HIDDEN]));
    }
    all
}

/// Writes the model to `folder`, unless it is there.
pub(crate) fn make(folder: &Path) {
    let config = folder.join("config.json");
    if config.exists() {
        return;
    }
    fs::create_dir_all(folder).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tests/fixtures/parity/bert");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture.join(name), folder.join(name)).unwrap();
    }
    weights(&folder.join("model.safetensors"));
    let text = fs::read(fixture.join("config.json")).unwrap();
    let mut fields: Value = serde_json::from_slice(&text).unwrap();
    for (name, value) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", INNER),
        ("num_hidden_layers", LAYERS),
        ("num_attention_heads", 12),
        ("vocab_size", 30_522),
    ] {
        fields[name] = json!(value);
    }
    // Last, because the model is there where this is.
    fs::write(config, fields.to_string()).unwrap();
}

fn weights(path: &Path) {
    let tensors = tensors();
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in &tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let about = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), about);
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let mut state = 7_u64;
    for (name, shape) in &tensors {
        let norm = name.ends_with("LayerNorm.weight");
        for _ in 0..shape.iter().product::<usize>() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let number = if norm { 1.0 } else { 0.05 * unit };
            file.write_all(&number.to_le_bytes()).unwrap();
        }
    }
    file.flush().unwrap();
}
