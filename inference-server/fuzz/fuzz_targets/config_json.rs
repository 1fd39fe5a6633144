//! What a model says about itself: the first byte names a model, the rest is its `config.json`, or
//! its `tokenizer_config.json` where the highest bit is set.
//!
//! Owns the choice of models: one for each file of `architectures`. Invariant: what is loaded can
//! be computed with, and everything else is an error; never a panic.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use inference_fuzz::json::Words;
use inference_fuzz::{Folder, here};
use inference_models::config::Config;
use inference_models::engine::{Engine, LocalEngine};
use inference_models::threads::Threads;
use inference_models::weights::Weights;
use inference_models::{Backend, Dtype, Packed, architectures};
use kernels::Kernels;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

const MODELS: [&str; 14] = [
    "parity-extra/bert-labels",
    "parity-extra/deberta-unshared",
    "parity-extra/electra",
    "parity-extra/gpt-neox-sequential",
    "parity-extra/grm",
    "parity-extra/inform",
    "parity-extra/llama-bf16",
    "parity-extra/mistral-window",
    "parity-extra/modernbert-cls",
    "parity-extra/qwen2-reward",
    "parity-extra/qwen3-f16",
    "parity-extra/roberta-labels",
    "parity/distilbert",
    "parity/gemma2",
];

#[expect(
    clippy::expect_used,
    reason = "there is nothing to fuzz without threads"
)]
static THREADS: LazyLock<Arc<Threads>> =
    LazyLock::new(|| Arc::new(Threads::new(1).expect("a thread")));

struct Sound {
    weights: Weights,
    /// All files but `tokenizer_config.json`.
    folder: Folder,
}

#[expect(
    clippy::expect_used,
    reason = "there is nothing to fuzz without the models"
)]
static SOUND: LazyLock<Vec<Sound>> = LazyLock::new(|| {
    let open = |name: &&str| {
        let source = here("models/tests/fixtures").join(name);
        Sound {
            weights: weights(source.clone()),
            folder: Folder::of(&source, &["tokenizer_config.json"]).expect("a folder"),
        }
    };
    MODELS.iter().map(open).collect()
});

#[expect(
    clippy::expect_used,
    reason = "there is nothing to fuzz without the models"
)]
fn weights(folder: PathBuf) -> Weights {
    let mut weights = Weights::new(
        Dtype::F32,
        Backend::Kernels(Kernels::best()),
        THREADS.clone(),
    );
    for entry in std::fs::read_dir(folder).expect("a model") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let bytes = std::fs::read(&path).expect("weights");
            weights.add_shard("weights", &bytes).expect("sound weights");
        }
    }
    weights
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::of(include_str!("../dictionaries/config_json.dict")));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    WORDS
        .change_after_first(data, size, seed)
        .filter(|size| *size <= max_size)
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

fuzz_target!(|data: &[u8]| {
    if let Some((choice, file)) = data.split_first()
        && let Some(sound) = SOUND.get(usize::from(choice & 127) % MODELS.len())
    {
        if choice & 128 == 0 {
            config(sound, file);
        } else {
            tokenizer_config(sound, file);
        }
    }
});

/// As `load` does, with the files that are sound read beforehand.
fn config(sound: &Sound, file: &[u8]) {
    // Layers take their tensors.
    let weights = sound.weights.clone();
    let built = Config::parse(file).and_then(|config| architectures::build(&weights, &config));
    match built {
        Ok(model) => {
            let length = model.inputs().max_positions.min(4);
            let ids: Vec<u32> = (0..4).take(length).collect();
            let mut batch = Packed::default();
            batch.push(&ids, &[]);
            let engine = LocalEngine::new(
                Arc::from(model),
                Backend::Kernels(Kernels::best()),
                THREADS.clone(),
            );
            // A model that refuses to compute is refused by its trial score.
            drop(engine.forward(&batch));
        }
        Err(error) => assert!(!error.message.is_empty(), "an error without a word"),
    }
}

#[expect(clippy::expect_used, reason = "a full disk is no finding")]
fn tokenizer_config(sound: &Sound, file: &[u8]) {
    sound
        .folder
        .write("tokenizer_config.json", file)
        .expect("a file");
    if let Err(error) = sound.folder.load() {
        assert!(!error.message.is_empty(), "an error without a word");
    }
}
