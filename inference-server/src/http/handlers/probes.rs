//! `GET /info` and `GET /v1/models`: what TEI's and vLLM's clients ask before they score.

use std::collections::BTreeMap;

use crate::http::request::Call;
use axum::Json;
use inference_api::tei::{Info, Labels};
use inference_api::vllm::{ModelCard, ModelList};
use inference_scoring::Scorer;

pub(crate) async fn info<S: Scorer>(call: Call<S>) -> Json<Info> {
    let (model, settings) = (&call.served.model, &call.app.settings);
    let kind = if model.about.labels.len() == 1 {
        "reranker"
    } else {
        "classifier"
    };
    Json(Info {
        model_id: model.about.version.clone(),
        model_sha: Some(model.about.digest.clone()),
        model_dtype: tei_dtype(&model.dtype).to_owned(),
        served_model_name: model.about.version.clone(),
        model_type: BTreeMap::from([(kind.to_owned(), Labels::new(&model.about.labels))]),
        max_concurrent_requests: settings.max_concurrent_requests,
        max_input_length: model.max_tokens,
        max_batch_tokens: settings.max_batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: settings.limits.max_batch,
        auto_truncate: true,
        tokenization_workers: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// TEI writes `float32` where others write `f32`.
fn tei_dtype(dtype: &str) -> &str {
    match dtype {
        "f32" => "float32",
        "f16" => "float16",
        "bf16" => "bfloat16",
        other => other,
    }
}

pub(crate) async fn models<S: Scorer>(call: Call<S>) -> Json<ModelList> {
    let model = &call.served.model;
    Json(ModelList {
        object: "list",
        data: vec![ModelCard {
            id: model.about.version.clone(),
            object: "model",
            created: model.loaded_at,
            owned_by: "betterai",
            root: model.about.version.clone(),
            max_model_len: model.max_tokens,
        }],
    })
}
