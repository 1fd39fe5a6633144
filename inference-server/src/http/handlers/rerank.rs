//! `POST /rerank`: Cohere's and vLLM's clients send `documents`, TEI's send `texts`.

use axum::response::Response;
use inference_api::cohere::{Meta, Ranked, RankedDocument, RerankRequest, RerankResponse};
use inference_scoring::Scorer;

use super::{tei, vllm};
use crate::http::base::failure::Failure;
use crate::http::request::{Call, Payload, ranking, require_one};

pub(crate) async fn rerank<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    if payload.has("texts") {
        require_one(&payload, "texts", &["documents"])?;
        tei::rerank(&call, &payload).await
    } else {
        documents(call, payload).await
    }
}

pub(crate) async fn documents<S: Scorer>(
    call: Call<S>,
    payload: Payload,
) -> Result<Response, Failure> {
    let request: RerankRequest = payload.parse()?;
    let (inputs, options) =
        request.inputs(&call.app.settings.limits, call.served.model.max_tokens)?;
    let raw = request.options.raw();
    let scores = call.score(inputs, options).await?;
    let shown = call.shown(&scores);
    let values: Vec<f32> = scores
        .scores
        .iter()
        .map(|score| shown.own_label(&shown.activated(score, raw)))
        .collect();
    let with_documents = request.return_documents.unwrap_or(true);
    let ranked = |index: usize| {
        let document = request.documents.get(index)?;
        Some(Ranked {
            index,
            document: with_documents.then(|| RankedDocument {
                text: document.text().to_owned(),
            }),
            relevance_score: *values.get(index)?,
        })
    };
    let each = scores.scores.iter().enumerate();
    let cut: Vec<usize> = each
        .filter(|(_, score)| score.truncated)
        .map(|(index, _)| index)
        .collect();
    let best = ranking(&values).into_iter().take(request.wanted());
    let answer = RerankResponse {
        id: format!("rerank-{}", call.id),
        model: shown.version(),
        usage: vllm::usage(&scores.scores),
        results: best.filter_map(ranked).collect(),
        meta: Meta::of(&cut),
    };
    Ok(shown.answer(answer))
}
