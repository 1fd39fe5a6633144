//! Inputs that users sent, with the answers that the peers and transformers give. The inputs lie in
//! `tests/cases`, a folder each.

use serde_json::Map;
use tempfile::TempDir;

use super::*;

/// Models by name, with files changed: of `config.json` members, others whole.
fn model(name: &str, case: &str, files: &[(&str, &str)]) -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(root.join("..").join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    for (file, with) in files {
        let with = std::fs::read(root.join("tests/cases").join(case).join(with)).unwrap();
        let target = folder.path().join(file);
        if *file == "config.json" {
            let mut config: Map<String, Value> =
                serde_json::from_slice(&std::fs::read(&target).unwrap()).unwrap();
            config.extend(serde_json::from_slice::<Map<String, Value>>(&with).unwrap());
            std::fs::write(&target, serde_json::to_vec(&config).unwrap()).unwrap();
        } else {
            std::fs::write(&target, with).unwrap();
        }
    }
    folder
}

fn body(case: &str, file: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    serde_json::from_slice(&std::fs::read(root.join(case).join(file)).unwrap()).unwrap()
}

fn served_from(folder: &Path) -> Router {
    let model = loaded(folder);
    let version = Some("v".to_owned());
    let by = Arc::new(inference_engine::description(&model.facts, version, None));
    let mut app = app_over(model, by, None);
    app.settings.limits.max_characters = 10_000;
    app.settings.max_body_bytes = 1 << 20;
    router(Arc::new(app))
}

const TINY: &str = "e2e/fixtures/demo-models/tiny-reward-v1";
const BERT: &str = "inference-server/models/tests/fixtures/parity/bert";
const LABELS: &str = "inference-server/models/tests/fixtures/parity-extra/bert-labels";
const LLAMA: &str = "inference-server/models/tests/fixtures/parity/llama";
const LLAMA_BF16: &str = "inference-server/models/tests/fixtures/parity-extra/llama-bf16";

/// What is answered: numbers, or a status.
enum Right {
    Numbers(&'static str, &'static [f64]),
    Status(u16),
}

use Right::{Numbers, Status};

type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str, Right)],
);

const CONFIG: &str = "tokenizer_config.json";
const CHAT: &[(&str, &str)] = &[(CONFIG, CONFIG)];

const CASES: &[Case] = &[
    (
        "chat-options-ignored",
        LLAMA,
        CHAT,
        &[
            ("/classify", "a.json", Numbers("/data/0/probs/0", &[0.2723])),
            ("/classify", "b.json", Numbers("/data/0/probs/0", &[0.0887])),
        ],
    ),
    (
        "message-members-dropped",
        LLAMA,
        CHAT,
        &[
            (
                "/classify",
                "tool_calls.json",
                Numbers("/data/0/probs/0", &[-0.2303]),
            ),
            (
                "/classify",
                "reasoning.json",
                Numbers("/data/0/probs/0", &[-0.0451]),
            ),
            ("/classify", "null.json", Status(200)),
            ("/predict", "null.json", Status(200)),
        ],
    ),
    (
        "cross-encoder-identity",
        BERT,
        &[("config.json", "config_a.json")],
        &[("/score", "body.json", Numbers("/data/0/score", &[0.9241]))],
    ),
    (
        "cross-encoder-identity",
        BERT,
        &[("config.json", "config_b.json")],
        &[("/score", "body.json", Numbers("/data/0/score", &[0.9241]))],
    ),
    (
        "problem-type-activation",
        LABELS,
        &[("config.json", "config_multi.json")],
        &[(
            "/classify",
            "body.json",
            Numbers("/data/0/probs", &[0.4888, 0.4634, 0.6207]),
        )],
    ),
    (
        "problem-type-activation",
        LABELS,
        &[("config.json", "config_regression.json")],
        &[(
            "/classify",
            "body.json",
            Numbers("/data/0/probs", &[-0.0447, -0.1467, 0.4923]),
        )],
    ),
    (
        "problem-type-activation",
        LABELS,
        &[],
        &[(
            "/classify",
            "body.json",
            Numbers("/data/0/probs", &[0.2767, 0.2499, 0.4734]),
        )],
    ),
    (
        "max-tokens-per-doc-cuts-query",
        TINY,
        &[],
        &[
            (
                "/v1/rerank",
                "body.json",
                Numbers("/usage/total_tokens", &[31.0]),
            ),
            (
                "/v2/rerank",
                "body.json",
                Numbers("/results/0/relevance_score", &[0.3262]),
            ),
        ],
    ),
    (
        "openrlhf-eos-not-normalised",
        LLAMA,
        &[],
        &[(
            "/get_reward",
            "body.json",
            Numbers("/rewards", &[-0.3402, -0.3402, -0.3402]),
        )],
    ),
    (
        "tei-truncate-refused",
        TINY,
        &[],
        &[("/predict", "body.json", Status(200))],
    ),
    (
        "template-passes-verify",
        LLAMA_BF16,
        CHAT,
        &[("/predict", "body.json", Status(200))],
    ),
    (
        "tokens-only-in-tokenizer-config",
        LLAMA,
        &[(CONFIG, CONFIG), ("tokenizer.json", "tokenizer.json")],
        &[
            ("/predict", "body.json", Numbers("/reward_score", &[0.8141])),
            ("/predict", "body.json", Numbers("/tokens", &[7.0])),
        ],
    ),
    (
        "tokens-only-in-tokenizer-config",
        LLAMA,
        &[(CONFIG, CONFIG), ("tokenizer.json", "tokenizer_b.json")],
        &[
            (
                "/predict",
                "body_b.json",
                Numbers("/reward_score", &[-0.3402]),
            ),
            ("/predict", "body_b.json", Numbers("/tokens", &[25.0])),
        ],
    ),
    (
        "truncation-side-ignored",
        BERT,
        CHAT,
        &[("/predict", "body.json", Numbers("/reward_score", &[0.5026]))],
    ),
    (
        "vllm-overlong-silent",
        TINY,
        &[],
        &[
            ("/classify", "classify.json", Status(400)),
            ("/score", "score.json", Status(400)),
            ("/v1/score", "score.json", Status(400)),
            ("/rerank", "rerank.json", Status(400)),
            ("/v1/rerank", "rerank.json", Status(400)),
            ("/v2/rerank", "rerank.json", Status(400)),
        ],
    ),
];

#[tokio::test]
async fn an_input_that_failed_is_answered_as_its_peer_answers_it() {
    for (case, name, files, requests) in CASES {
        let folder = model(name, case, files);
        let router = served_from(folder.path());
        for (path, file, right) in *requests {
            let (status, answer) = say(&router, path, body(case, file)).await;
            match right {
                Status(expected) => assert_eq!(status, *expected, "{case} {file}: {answer}"),
                Numbers(at, expected) => {
                    assert_eq!(status, 200, "{case} {file}: {answer}");
                    let found = answer.pointer(at).unwrap();
                    let found: Vec<f64> = match found.as_array() {
                        Some(list) => list.iter().filter_map(Value::as_f64).collect(),
                        None => found.as_f64().into_iter().collect(),
                    };
                    let near = found.len() == expected.len()
                        && found
                            .iter()
                            .zip(*expected)
                            .all(|(a, b)| (a - b).abs() < 2e-4);
                    assert!(near, "{case} {file}: {found:?}, {expected:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_the_request_cuts_is_scored_whatever_its_length() {
    let folder = model(TINY, "vllm-overlong-silent", &[]);
    let router = served_from(folder.path());
    for (path, file) in [
        ("/classify", "classify.json"),
        ("/score", "score.json"),
        ("/rerank", "rerank.json"),
    ] {
        let mut asked = body("vllm-overlong-silent", file);
        asked["truncate_prompt_tokens"] = Value::from(-1);
        let (status, answer) = say(&router, path, asked.clone()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!(answer["usage"]["total_tokens"], 256, "{path}");
        asked["truncate_prompt_tokens"] = Value::from(257);
        assert_eq!(say(&router, path, asked).await.0, 400, "{path}");
    }
    let mut cut = body("vllm-overlong-silent", "rerank.json");
    cut["max_tokens_per_doc"] = Value::from(9);
    let (status, answer) = say(&router, "/v2/rerank", cut).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["meta"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("documents 0")
    );
}

#[tokio::test]
async fn too_long_an_input_has_the_status_of_its_peer() {
    let folder = model(TINY, "vllm-overlong-silent", &[]);
    let router = served_from(folder.path());
    let long = body("vllm-overlong-silent", "classify.json")["input"].clone();
    for (path, body, expected) in [
        (
            "/predict",
            serde_json::json!({"inputs": long, "truncate": false}),
            413,
        ),
        ("/predict", serde_json::json!({"inputs": long}), 200),
        ("/classify", serde_json::json!({"text": long}), 400),
        ("/v1/embeddings", serde_json::json!({"input": long}), 400),
        ("/get_reward", serde_json::json!({"query": long}), 200),
        ("/predict", serde_json::json!({"text": long}), 200),
    ] {
        let (status, answer) = say(&router, path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
        if status == 413 {
            assert_eq!(answer["error_type"], "Validation");
        }
    }
}

#[tokio::test]
async fn an_unknown_member_is_refused_with_the_nearest_name() {
    let (router, _) = fake();
    for (path, body, near) in [
        ("/predict", r#"{"text":"1","contxt":"q"}"#, "context"),
        (
            "/predict/batch",
            r#"{"texts":["1"],"context":["q"]}"#,
            "contexts",
        ),
        (
            "/evaluate",
            r#"{"pairs":[{"chosen":"1","rejectd":"0"}]}"#,
            "rejected",
        ),
        (
            "/classify",
            r#"{"input":"1","use_activaton":false}"#,
            "use_activation",
        ),
        (
            "/rerank",
            r#"{"query":"q","documents":["1"],"max_tokens_per_docs":5}"#,
            "max_tokens_per_doc",
        ),
        (
            "/rerank",
            r#"{"query":"q","texts":["1"],"raw_score":true}"#,
            "raw_scores",
        ),
    ] {
        let (status, answer) = ask(&router, post(path, body)).await;
        assert_eq!(status, 422, "{path} {body}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("do you mean {near}?")), "{detail}");
    }
    let harmless = r#"{"model":"m","input":"1","user":"u","request_id":"r","priority":1}"#;
    assert_eq!(ask(&router, post("/classify", harmless)).await.0, 200);
}

#[test]
fn adapters_and_pointers_are_refused_by_name() {
    let files = ["adapter_config.json", "adapter_model.safetensors"].map(|name| (name, name));
    for name in [
        "inference-server/models/tests/fixtures/parity/mistral",
        LLAMA,
    ] {
        for files in [&files[..], &files[..1], &files[1..]] {
            let folder = model(name, "lora-adapter", files);
            let error = inference_models::load(folder.path(), &LoadOptions::default());
            let message = error.unwrap_err().message;
            assert!(
                message.contains(files[0].0) && message.contains("merge"),
                "{message}"
            );
        }
    }
    let pointer = "model.safetensors";
    for file in [
        "model.safetensors",
        "tokenizer.json",
        CONFIG,
        "special_tokens_map.json",
    ] {
        let folder = model(BERT, "lfs-pointer", &[(file, pointer)]);
        let error = inference_models::load(folder.path(), &LoadOptions::default());
        let message = error.unwrap_err().message;
        assert!(
            message.contains(file) && message.contains("git lfs pull"),
            "{message}"
        );
    }
}
