//! A score is the same bits alone and in any batch, on any number of threads, of every architecture.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::texts::{Lcg, texts};
use common::{encode, here, limit, logits, open_as, references};
use inference_models::{Dtype, Encoded, Model, TextInput};

fn bits(model: &Model, batch: &[&Encoded]) -> Vec<Vec<u32>> {
    let logits = logits(model, batch.iter().copied());
    let to_bits = |logits: Vec<f32>| logits.into_iter().map(f32::to_bits).collect();
    logits.into_iter().map(to_bits).collect()
}

fn check(folder: &std::path::Path, dtype: Dtype, sizes: &[(usize, usize)]) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let model = |threads| open_as(folder, limit(folder), threads, dtype);
    let (one, two) = (model(1), model(2));
    let pairs = here("../../e2e/fixtures/data/preferences-eval.jsonl");
    let texts = texts(&std::fs::read_to_string(pairs).unwrap(), 1_200);
    let texts: Vec<_> = texts.into_iter().map(TextInput::Text).collect();
    let inputs = encode(&one, &texts);
    assert_eq!(inputs.len(), 200);
    let alone: Vec<_> = inputs.iter().flat_map(|e| bits(&one, &[e])).collect();
    let mut random = Lcg(7);
    for (size, threads) in sizes {
        let model = if *threads == 1 { &one } else { &two };
        let mut order: Vec<_> = (0..inputs.len()).collect();
        random.shuffle(&mut order);
        for chunk in order.chunks(*size) {
            let batch: Vec<_> = chunk.iter().map(|i| &inputs[*i]).collect();
            for (i, found) in chunk.iter().zip(bits(model, &batch)) {
                assert_eq!(
                    found, alone[*i],
                    "{name} {dtype}: text {i} in batches of {size} on {threads} threads"
                );
            }
        }
    }
    at_once(&two, &inputs, &alone);
}

/// 32 callers at once.
fn at_once(model: &Model, inputs: &[Encoded], alone: &[Vec<u32>]) {
    std::thread::scope(|scope| {
        for caller in 0..32 {
            scope.spawn(move || {
                for (input, alone) in inputs.iter().zip(alone).skip(caller).step_by(32) {
                    assert_eq!(&bits(model, &[input])[0], alone);
                }
            });
        }
    });
}

/// All batch sizes on one thread or two, of every second architecture.
fn check_every_second(first: usize) {
    for folder in references("parity").iter().skip(first).step_by(2) {
        check(
            folder,
            Dtype::F32,
            &[(2, 2), (3, 1), (17, 2), (64, 1), (200, 2)],
        );
    }
}

#[test]
fn in_f32_of_one_half_of_the_architectures() {
    check_every_second(0);
}

#[test]
fn in_f32_of_the_other_half() {
    check_every_second(1);
}

#[test]
fn in_every_number_format() {
    for folder in references("parity") {
        let name = folder.file_name().unwrap().to_str().unwrap();
        if ["bert", "qwen3"].contains(&name) {
            for dtype in [Dtype::Bf16, Dtype::F16, Dtype::Int8] {
                check(&folder, dtype, &[(17, 2)]);
            }
        }
    }
}

/// Frequencies by length, two rotary positions, norms of all heads, learned positions, experts, a normalised reward.
#[test]
fn in_f32_of_what_else_there_is_in_decoders() {
    for folder in references("parity-extra") {
        let name = folder.file_name().unwrap().to_str().unwrap();
        if ["phi3", "gemma3", "olmo2", "gpt2", "mixtral", "openrlhf"].contains(&name) {
            check(&folder, Dtype::F32, &[(3, 1), (17, 2), (200, 2)]);
        }
    }
}

/// Answers to three prompts, one twice, and one that ends where another goes on; in an order of chance.
fn answers(model: &Model) -> Vec<Encoded> {
    let mut all = Vec::new();
    for topic in ["city", "river", "mountain"] {
        let prompt = format!("Tell me what you know about this {topic}, please. ").repeat(12);
        for answer in [
            "",
            "It is",
            "It is old.",
            "Nobody lives there.",
            "It is old.",
        ] {
            all.push(TextInput::Text(format!("{prompt}{answer}")));
        }
    }
    all.push(TextInput::Text("Short.".to_owned()));
    Lcg(3).shuffle(&mut all);
    encode(model, &all)
}

/// Of each of these, whether what texts have in common is computed once.
#[test]
fn of_texts_that_begin_alike_and_share_what_they_have_in_common() {
    let mut sharing = Vec::new();
    for folder in [references("parity"), references("parity-extra")].concat() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        for dtype in [Dtype::F32, Dtype::Int8] {
            let model = open_as(&folder, limit(&folder), 2, dtype);
            let inputs = answers(&model);
            let alone: Vec<_> = inputs.iter().flat_map(|e| bits(&model, &[e])).collect();
            let found = bits(&model, &inputs.iter().collect::<Vec<_>>());
            assert_eq!(found, alone, "{name} {dtype}");
            if dtype == Dtype::F32 && model.engine.shared(&inputs[0].ids, &inputs[0].ids) > 0 {
                sharing.push(name.to_owned());
            }
        }
    }
    for name in ["llama", "qwen3", "gemma2", "gpt-neox", "gpt2", "mixtral"] {
        assert!(sharing.iter().any(|n| n == name), "{name}: {sharing:?}");
    }
    // Frequencies that go by the length of the text, and tokens that look ahead.
    for name in ["phi3", "bert", "modernbert", "deberta-v2"] {
        assert!(!sharing.iter().any(|n| n == name), "{name}: {sharing:?}");
    }
}
