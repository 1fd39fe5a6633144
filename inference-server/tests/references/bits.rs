//! A score that is asked for over HTTP is the bits that the model gives, alone and in any batch,
//! beside any other request and on any number of threads, of every architecture.
//!
//! Texts are cut to [`MAX_TOKENS`] here, so that all of it ends in about a minute; the models crate
//! compares the same at each model's full length.

use std::sync::Mutex;

use inference_models::{Dtype, EncodeOptions, LoadOptions, Packed, TextInput};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fixtures::{Reference, flags, here, references};
use super::server::{Client, Server};
use super::texts::{Lcg, texts};

const MAX_TOKENS: usize = 128;
/// Texts of one request; 1 is `POST /predict`.
const SIZES: [usize; 6] = [1, 2, 3, 17, 64, 200];
const CALLERS: usize = 32;

/// What the model itself gives, and how many tokens each text has.
fn by_library(model: &Reference, texts: &[String]) -> (Vec<u32>, Vec<usize>) {
    let options = LoadOptions {
        max_tokens: Some(MAX_TOKENS),
        dtype: Dtype::F32,
        threads: 1,
        ..LoadOptions::default()
    };
    let model = inference_models::load(&model.folder, &options).unwrap();
    let score = |text: &String| {
        let input = TextInput::Text(text.clone());
        let encoded = model.tokenizer.encode(&input, EncodeOptions::default());
        let encoded = encoded.unwrap();
        let mut alone = Packed::default();
        alone.push(&encoded.ids, &encoded.type_ids);
        let logits = model.engine.forward(&alone).unwrap();
        (logits[0][0].to_bits(), encoded.ids.len())
    };
    texts.iter().map(score).unzip()
}

/// Numbers as they were written, so that nothing rounds them twice.
#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    reward_score: &'a RawValue,
}

#[derive(Deserialize)]
struct Many<'a> {
    #[serde(borrow)]
    reward_scores: Vec<&'a RawValue>,
}

fn bits(number: &RawValue) -> u32 {
    number.get().parse::<f32>().unwrap().to_bits()
}

/// The scores of one request.
fn ask(client: &mut Client, texts: &[&str]) -> Vec<u32> {
    if let [text] = texts {
        let body = serde_json::json!({ "text": text }).to_string();
        let answer = client.post("/predict", &body);
        let answer: One = serde_json::from_str(&answer).unwrap();
        return vec![bits(answer.reward_score)];
    }
    let body = serde_json::json!({ "texts": texts }).to_string();
    let answer = client.post("/predict/batch", &body);
    let answer: Many = serde_json::from_str(&answer).unwrap();
    answer.reward_scores.into_iter().map(bits).collect()
}

/// What was asked, and what has to be answered.
struct Claim<'a> {
    /// Model and threads.
    where_: String,
    texts: &'a [String],
    wanted: &'a [u32],
}

impl Claim<'_> {
    fn check(&self, client: &mut Client, request: &[usize], callers: usize) {
        let texts: Vec<&str> = request.iter().map(|i| self.texts[*i].as_str()).collect();
        let found = ask(client, &texts);
        assert_eq!(found.len(), request.len());
        for (i, found) in request.iter().zip(found) {
            assert_eq!(
                found,
                self.wanted[*i],
                "{}: text {i} in batches of {} beside {callers} callers",
                self.where_,
                request.len()
            );
        }
    }
}

/// All texts in requests of `size`, in an order of chance.
fn requests(random: &mut Lcg, texts: usize, size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<_> = (0..texts).collect();
    random.shuffle(&mut order);
    order.chunks(size).map(<[usize]>::to_vec).collect()
}

fn check(model: &Reference, texts: &[String], threads: usize, wanted: &[u32]) {
    let mut flags = flags(MAX_TOKENS);
    flags.extend(["--threads", &threads.to_string(), "--timeout", "60s"].map(ToOwned::to_owned));
    let server = Server::start(&model.folder, &flags);
    let claim = Claim {
        where_: format!("{} on {threads} threads", model.name),
        texts,
        wanted,
    };
    let mut random = Lcg(7);
    let mut sizes = || SIZES.map(|size| requests(&mut random, texts.len(), size));
    let mut client = Client::of(&server);
    for request in sizes().concat() {
        claim.check(&mut client, &request, 1);
    }
    // All sizes at once, so that the engine's batches are of several requests and of all lengths.
    let mut all = sizes().concat();
    Lcg(8).shuffle(&mut all);
    let rest = Mutex::new(all);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = Client::of(&server);
                loop {
                    let request = rest.lock().unwrap().pop();
                    let Some(request) = request else { break };
                    claim.check(&mut client, &request, CALLERS);
                }
            });
        }
    });
}

fn check_every_second(first: usize) {
    let pairs = here("../e2e/fixtures/data/preferences-eval.jsonl");
    let texts = texts(&std::fs::read_to_string(pairs).unwrap(), MAX_TOKENS);
    assert_eq!(texts.len(), 200);
    for model in references("parity").iter().skip(first).step_by(2) {
        let (wanted, tokens) = by_library(model, &texts);
        let maximal = tokens.iter().filter(|tokens| **tokens == MAX_TOKENS);
        assert!(maximal.count() >= 3, "{}", model.name);
        for threads in [1, 2] {
            check(model, &texts, threads, &wanted);
        }
    }
}

#[test]
fn of_one_half_of_the_architectures() {
    check_every_second(0);
}

#[test]
fn of_the_other_half() {
    check_every_second(1);
}
