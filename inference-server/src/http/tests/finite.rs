//! Scores that are no numbers: an error with the index of the item, on every route.

use std::path::PathBuf;

use inference_engine::cache::CacheSettings;
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_score_that_is_no_number_is_an_error_that_names_its_item() {
    let (router, _) = fake();
    for (path, body, index) in [
        ("/predict", json!({"text": "NaN"}), None),
        ("/predict", json!({"inputs": "NaN"}), None),
        ("/predict", json!({"inputs": [["1"], ["inf"]]}), Some(1)),
        (
            "/predict/batch",
            json!({"texts": ["1", "NaN", "1"]}),
            Some(1),
        ),
        ("/predict/batch", json!({"texts": ["-inf"]}), Some(0)),
        (
            "/get_reward",
            json!({"query": ["1", "1", "1", "1", "1", "NaN"]}),
            Some(5),
        ),
        ("/classify", json!({"input": ["1", "NaN"]}), Some(1)),
        ("/classify", json!({"text": ["1", "NaN"]}), Some(1)),
        (
            "/score",
            json!({"text_1": "0", "text_2": ["1", "1", "NaN"]}),
            Some(2),
        ),
        (
            "/v1/score",
            json!({"text_1": "0", "text_2": ["NaN"]}),
            Some(0),
        ),
        (
            "/rerank",
            json!({"query": "0", "texts": ["1", "NaN"]}),
            Some(1),
        ),
        (
            "/rerank",
            json!({"query": "0", "documents": ["1", "NaN"]}),
            Some(1),
        ),
        (
            "/v1/rerank",
            json!({"query": "0", "documents": ["1", "NaN"]}),
            Some(1),
        ),
        (
            "/v2/rerank",
            json!({"query": "0", "documents": ["1", "NaN"]}),
            Some(1),
        ),
        ("/v1/embeddings", json!({"input": ["1", "NaN"]}), Some(1)),
    ] {
        let (status, problem) = say(&router, path, body.clone()).await;
        assert_eq!(status, 500, "{path} {body}: {problem}");
        assert_eq!(problem["index"], json!(index), "{path} {body}: {problem}");
    }
    let good = json!({"chosen": "1", "rejected": "0"});
    let bad = json!({"chosen": "1", "rejected": "NaN"});
    let (status, problem) = say(&router, "/evaluate", json!({"pairs": [good, good, bad]})).await;
    assert_eq!((status.as_u16(), &problem["index"]), (500, &json!(2)));
}

#[tokio::test]
async fn another_label_that_is_no_number_is_an_error_too() {
    let labels = &["help", "harm"];
    let app = app_of(served(labelled(labels, None), labels, None));
    let router = router(Arc::new(app));
    let (status, problem) = say(
        &router,
        "/predict/batch",
        json!({"texts": ["1 2", "1 NaN"]}),
    )
    .await;
    assert_eq!((status.as_u16(), &problem["index"]), (500, &json!(1)));
}

/// A copy of the demo model whose embedding of one token is so large that its score is no number.
fn spoiled(token: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/fixtures/demo-models/tiny-reward-v1");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let mut bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensor = &header["bert.embeddings.word_embeddings.weight"];
    assert_eq!(tensor["dtype"], "F32");
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let row = number(&tensor["shape"][1]) * 4;
    let start = 8 + length + number(&tensor["data_offsets"][0]) + token * row;
    for value in bytes[start..start + row].as_chunks_mut::<4>().0 {
        *value = 3e38_f32.to_le_bytes();
    }
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

#[tokio::test]
async fn a_model_that_overflows_is_told_by_the_item_with_and_without_a_cache() {
    let (_folder, path) = spoiled(24);
    let body: Value = serde_json::from_str(include_str!(
        "../../../tests/cases/nan-without-index/body.json"
    ))
    .unwrap();
    let settings = CacheSettings {
        ttl: Duration::from_mins(1),
        max_entries: 100,
        redis_url: None,
    };
    let store = Arc::new(Store::new(&settings).unwrap());
    let scope = Scope::new("v", "sha256:d", "f32", "cpu");
    for cache in [None, Some((store, scope))] {
        let router = real_of(&path, cache);
        for _ in 0..2 {
            let (status, problem) = say(&router, "/predict/batch", body.clone()).await;
            assert_eq!(
                (status.as_u16(), &problem["index"]),
                (500, &json!(1)),
                "{problem}"
            );
        }
        let (status, _) = say(&router, "/predict/batch", json!({"texts": ["hello"]})).await;
        assert_eq!(status, 200);
    }
}
