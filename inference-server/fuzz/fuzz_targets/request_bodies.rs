//! Bodies of requests: the first byte is the route, the rest is what a client sent to it.
//!
//! Owns which type each route reads. Invariant: a body is a request within the limits or a problem
//! that every dialect can show; never a panic.
#![no_main]

use std::sync::LazyLock;

use inference_api::evaluate::{EvaluateRequest, Pair};
use inference_api::native::{BatchRequest, PredictRequest};
use inference_api::openrlhf::RewardRequest;
use inference_api::update::UpdateRequest;
use inference_api::{Dialect, Input, Limits, Problem, cohere, sglang, tei, vllm};
use inference_fuzz::json::Words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde::de::DeserializeOwned;

/// So small that they are met.
const LIMITS: Limits = Limits {
    max_characters: 64,
    max_batch: 4,
};
/// What the model takes.
const MAX_TOKENS: usize = 256;
const MAX_PAIRS: usize = 4;

static WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::of(include_str!("../dictionaries/request_bodies.dict")));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    WORDS
        .change_after_first(data, size, seed)
        .filter(|size| *size <= max_size)
        .unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

fuzz_target!(|data: &[u8]| {
    if let Some((route, body)) = data.split_first() {
        match read(*route, body) {
            // What a request asks to cut may be of any length.
            Ok(inputs) => check(inputs, matches!(route % 13, 4..=8)),
            Err(problem) => show(&problem),
        }
    }
});

/// What the handler of the route does before it scores.
fn read(route: u8, body: &[u8]) -> Result<Vec<Input>, Problem> {
    match route % 13 {
        0 => Ok(vec![parse::<PredictRequest>(body)?.into_input(&LIMITS)?]),
        1 => parse::<BatchRequest>(body)?.into_inputs(&LIMITS),
        2 => {
            let pairs = parse::<EvaluateRequest>(body)?.into_pairs(&LIMITS, MAX_PAIRS)?;
            assert!(pairs.len() <= MAX_PAIRS, "too many pairs");
            // Both answers of all pairs are scored in parts.
            pairs
                .iter()
                .flat_map(Pair::inputs)
                .for_each(|input| check(vec![input], false));
            Ok(vec![Input::Text(String::new())])
        }
        3 => {
            // A list of any length is scored in parts.
            let inputs = parse::<RewardRequest>(body)?.into_inputs(&LIMITS)?;
            for input in inputs {
                check(vec![input], false);
            }
            Ok(vec![Input::Text(String::new())])
        }
        4 => {
            let request = parse::<vllm::ClassifyRequest>(body)?;
            let _raw = request.options.raw();
            request.options.input_options(MAX_TOKENS)?;
            request.into_inputs(&LIMITS)
        }
        5 => {
            let request = parse::<vllm::ScoreRequest>(body)?;
            request.options.input_options(MAX_TOKENS)?;
            request.into_inputs(&LIMITS)
        }
        6 => {
            let request = parse::<cohere::RerankRequest>(body)?;
            assert!(request.wanted() > 0, "nothing is wanted");
            let (inputs, options) = request.inputs(&LIMITS, MAX_TOKENS)?;
            assert!(options.max_tokens != Some(0), "no token is kept");
            Ok(inputs)
        }
        7 => Ok(parse::<tei::PredictRequest>(body)?
            .into_asked(&LIMITS)?
            .inputs),
        8 => Ok(parse::<tei::RerankRequest>(body)?.inputs(&LIMITS)?.0),
        9 => {
            let request = parse::<tei::TokenizeRequest>(body)?;
            sglang::inputs(request.inputs, "inputs", &LIMITS)
        }
        10 => {
            let request = parse::<sglang::ClassifyRequest>(body)?;
            sglang::inputs(request.text, "text", &LIMITS)
        }
        11 => {
            let request = parse::<sglang::EmbeddingsRequest>(body)?;
            sglang::inputs(request.input, "input", &LIMITS)
        }
        _ => {
            parse::<UpdateRequest>(body)?.check()?;
            Ok(vec![Input::Text(String::new())])
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::unprocessable(error.to_string()))
}

/// What is scored keeps the limits.
fn check(mut inputs: Vec<Input>, cut: bool) {
    assert!(
        (1..=LIMITS.max_batch).contains(&inputs.len()),
        "a batch beyond its limit"
    );
    for string in inputs.iter_mut().flat_map(Input::strings_mut) {
        assert!(
            cut || string.chars().count() <= LIMITS.max_characters,
            "a string beyond its limit"
        );
    }
}

/// What is refused is said to all clients.
fn show(problem: &Problem) {
    for dialect in [
        Dialect::Native,
        Dialect::Tei,
        Dialect::OpenAi,
        Dialect::Cohere,
    ] {
        let shown = dialect.render(problem);
        assert!(
            shown.get("detail").is_some_and(|text| text != ""),
            "a problem without a word"
        );
    }
}
