//! `SGLang`: `POST /classify` with `text`, and `POST /v1/embeddings`, which verl asks for rewards.
//!
//! Its defaults are kept: an "embedding" is the logits as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::input::{Input, InputOptions, Side, Texts, check_all};
use crate::{Limits, Problem};

/// Body of `POST /classify` with `text`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SglangClassifyRequest)]
pub struct ClassifyRequest {
    /// One text or several.
    pub text: Texts,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: BTreeMap<String, Value>,
}

/// Answer of `POST /classify` with `text`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SglangClassifyResponse)]
pub enum ClassifyResponse {
    /// Of one string.
    One(Embedding),
    /// Of a list.
    Many(Vec<Embedding>),
}

/// The logits of one text.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SglangEmbedding)]
pub struct Embedding {
    /// One for each label.
    pub embedding: Vec<f32>,
    /// More about it.
    pub meta_info: MetaInfo,
}

/// More about one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SglangMetaInfo)]
pub struct MetaInfo {
    /// Of this request.
    pub id: String,
    /// Tokens that were scored.
    pub prompt_tokens: usize,
}

/// Body of `POST /v1/embeddings`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct EmbeddingsRequest {
    /// One text or several.
    pub input: Texts,
    /// How the numbers are written.
    #[serde(default)]
    pub encoding_format: Option<Encoding>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: BTreeMap<String, Value>,
}

/// How all texts are encoded: too long a one is refused, as there.
///
/// # Errors
/// 422 when `rest` holds an option that is not served.
pub fn options(rest: &BTreeMap<String, Value>) -> Result<InputOptions, Problem> {
    crate::options::check(rest, &["encoding_format"])?;
    Ok(InputOptions {
        truncation: Some(Side::Reject),
        ..InputOptions::default()
    })
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As a list.
    Float,
    /// As little-endian f32 in base64, which `OpenAI`'s client asks for.
    Base64,
}

/// Texts, checked.
///
/// # Errors
/// 422 when a limit is exceeded.
pub fn inputs(texts: Texts, name: &str, limits: &Limits) -> Result<Vec<Input>, Problem> {
    let texts = texts.into_vec();
    limits.check_batch(name, texts.len())?;
    let inputs = texts.into_iter().map(Input::Text).collect();
    check_all(inputs, limits, name, name)
}

/// Answer of `POST /v1/embeddings`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingsResponse {
    /// Always `list`.
    pub object: &'static str,
    /// One for each text.
    pub data: Vec<EmbeddingItem>,
    /// The version that answered.
    pub model: String,
    /// Tokens.
    pub usage: crate::vllm::Usage,
}

/// The logits of one text.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingItem {
    /// Always `embedding`.
    pub object: &'static str,
    /// One for each label.
    pub embedding: Numbers,
    /// Its place in the request.
    pub index: usize,
}

/// Numbers in the wanted form.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Numbers {
    /// As a list.
    Float(Vec<f32>),
    /// Little-endian f32 in base64.
    Base64(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_or_several_and_limited() {
        let limits = Limits {
            max_characters: 3,
            max_batch: 2,
        };
        let texts = |body: &str| serde_json::from_str::<ClassifyRequest>(body).unwrap().text;
        let one = inputs(texts(r#"{"text":"a"}"#), "text", &limits).unwrap();
        assert_eq!(one, [Input::Text("a".into())]);
        for (body, index) in [
            (r#"{"text":[]}"#, None),
            (r#"{"text":["a","b","c"]}"#, None),
            (r#"{"text":["a","long"]}"#, Some(1)),
        ] {
            let problem = inputs(texts(body), "text", &limits).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
        }
    }
}
