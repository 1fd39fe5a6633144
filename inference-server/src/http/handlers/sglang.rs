//! `SGLang`'s `POST /classify` and `POST /v1/embeddings`: the logits as an embedding.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inference_api::Texts;
use inference_api::sglang::{
    self, ClassifyRequest, ClassifyResponse, Embedding, EmbeddingItem, EmbeddingsRequest,
    EmbeddingsResponse, Encoding, MetaInfo, Numbers,
};
use inference_scoring::{Score, Scorer};

use super::vllm;
use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload};

pub(crate) async fn classify<S: Scorer>(
    call: &Call<S>,
    payload: &Payload,
) -> Result<Response, Failure> {
    let request: ClassifyRequest = payload.parse()?;
    let limits = &call.app.settings.limits;
    let embedding = |score: Score| Embedding {
        embedding: score.logits,
        meta_info: MetaInfo {
            id: call.id.clone(),
            prompt_tokens: score.tokens,
        },
    };
    let options = sglang::options(&request.rest)?;
    let one = matches!(request.text, Texts::One(_));
    let inputs = sglang::inputs(request.text, "text", limits)?;
    let scores = call.score(inputs, options).await;
    let scores = scores.map_err(|failure| {
        if one {
            failure.without_index()
        } else {
            failure
        }
    })?;
    let shown = call.shown(&scores);
    let mut embeddings: Vec<_> = scores.scores.into_iter().map(embedding).collect();
    let answer = match embeddings.pop() {
        Some(only) if one => ClassifyResponse::One(only),
        last => {
            embeddings.extend(last);
            ClassifyResponse::Many(embeddings)
        }
    };
    Ok(shown.answer(answer))
}

pub(crate) async fn embeddings<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let request: EmbeddingsRequest = payload.parse()?;
    let options = sglang::options(&request.rest)?;
    let inputs = sglang::inputs(request.input, "input", &call.app.settings.limits)?;
    let scores = call.score(inputs, options).await?;
    let shown = call.shown(&scores);
    let usage = vllm::usage(&scores.scores);
    let item = |(index, score): (usize, Score)| EmbeddingItem {
        object: "embedding",
        embedding: match request.encoding_format {
            Some(Encoding::Base64) => Numbers::Base64(base64(&score.logits)),
            Some(Encoding::Float) | None => Numbers::Float(score.logits),
        },
        index,
    };
    let answer = EmbeddingsResponse {
        object: "list",
        data: scores.scores.into_iter().enumerate().map(item).collect(),
        model: shown.version(),
        usage,
    };
    Ok(shown.answer(answer))
}

fn base64(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}
