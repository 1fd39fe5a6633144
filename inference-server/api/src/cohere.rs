//! Cohere and vLLM: `POST /rerank`, `/v1/rerank` and `/v2/rerank` with `documents`.
//!
//! The answer holds what both need: Cohere's `id`, `results` and `meta`, and vLLM's `model`,
//! `usage` and documents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::{Input, InputOptions, Side, check_all};
use crate::vllm::{Options, Usage};
use crate::{Limits, Problem};

/// Body of `POST /rerank` with `documents`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CohereRerankRequest)]
pub struct RerankRequest {
    /// The prompt.
    pub query: String,
    /// The answers to it.
    #[schema(min_items = 1)]
    pub documents: Vec<Document>,
    /// How many are answered; all by default, and for 0 (vLLM's default).
    #[serde(default)]
    pub top_n: Option<usize>,
    /// Whether documents are in the answer; they are by default.
    #[serde(default)]
    pub return_documents: Option<bool>,
    /// Cohere's limit of a document's tokens; here of query and document together.
    #[serde(default)]
    pub max_tokens_per_doc: Option<usize>,
    /// How.
    #[serde(flatten)]
    pub options: Options,
}

/// A document: a string, or an object with a text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "send documents as strings or {\"text\"} objects"
)]
#[schema(as = CohereDocument)]
pub enum Document {
    /// A string.
    Text(String),
    /// An object.
    Object {
        /// Its text.
        text: String,
    },
}

impl Document {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

impl RerankRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when a limit is exceeded.
    pub fn inputs(&self, limits: &Limits) -> Result<(Vec<Input>, InputOptions), Problem> {
        limits.check_batch("documents", self.documents.len())?;
        limits.check_text("query", &self.query)?;
        let mut options = self.options.input_options()?;
        if let Some(most) = self.max_tokens_per_doc {
            if most == 0 {
                return Err(Problem::unprocessable(
                    "max_tokens_per_doc keeps no token: send a positive number",
                ));
            }
            options.max_tokens = Some(options.max_tokens.map_or(most, |other| other.min(most)));
            options.truncation = options.truncation.or(Some(Side::Right));
        }
        let inputs = self
            .documents
            .iter()
            .map(|document| Input::answer(Some(self.query.clone()), document.text().to_owned()))
            .collect();
        Ok((check_all(inputs, limits, "documents", "query")?, options))
    }

    /// How many results are answered.
    pub fn wanted(&self) -> usize {
        self.top_n.filter(|n| *n > 0).unwrap_or(usize::MAX)
    }
}

/// Answer of `POST /rerank` with `documents`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CohereRerankResponse)]
pub struct RerankResponse {
    /// Of this request.
    pub id: String,
    /// The version that answered.
    pub model: String,
    /// Tokens.
    pub usage: Usage,
    /// The best first.
    pub results: Vec<Ranked>,
    /// Cohere's version.
    pub meta: Meta,
}

/// One document of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CohereRanked)]
pub struct Ranked {
    /// Its place in the request.
    pub index: usize,
    /// The document, unless it was not wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<RankedDocument>,
    /// Its score.
    pub relevance_score: f32,
}

/// A document as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CohereRankedDocument)]
pub struct RankedDocument {
    /// Its text.
    pub text: String,
}

/// What Cohere's clients are told of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CohereMeta)]
pub struct Meta {
    /// The API that answered.
    pub api_version: ApiVersion,
}

/// The API that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CohereApiVersion)]
pub struct ApiVersion {
    /// Its number.
    pub version: &'static str,
}

impl Default for ApiVersion {
    fn default() -> Self {
        Self { version: "2" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_characters: 10,
        max_batch: 2,
    };

    fn request(body: &str) -> RerankRequest {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn documents_are_strings_or_objects() {
        let request = request(r#"{"query":"q","documents":["a",{"text":"b","id":1}],"top_n":1}"#);
        let (inputs, _) = request.inputs(&LIMITS).unwrap();
        assert_eq!(inputs[1], Input::answer(Some("q".into()), "b".into()));
        assert_eq!(request.wanted(), 1);
    }

    #[test]
    fn zero_results_are_all_of_them_as_in_vllm() {
        let request = request(r#"{"query":"q","documents":["a"],"top_n":0}"#);
        assert_eq!(request.wanted(), usize::MAX);
    }

    #[test]
    fn the_smaller_of_two_token_limits_holds() {
        let both =
            r#"{"query":"q","documents":["a"],"max_tokens_per_doc":7,"truncate_prompt_tokens":9}"#;
        let (_, options) = request(both).inputs(&LIMITS).unwrap();
        assert_eq!(options.max_tokens, Some(7));
        let none = r#"{"query":"q","documents":["a"],"max_tokens_per_doc":0}"#;
        assert_eq!(request(none).inputs(&LIMITS).unwrap_err().status, 422);
    }

    #[test]
    fn a_bad_list_is_refused_and_a_bad_document_named() {
        for (body, index) in [
            (r#"{"query":"q","documents":[]}"#, None),
            (r#"{"query":"q","documents":["a","a","a"]}"#, None),
            (r#"{"query":"12345678901","documents":["a"]}"#, None),
            (r#"{"query":"q","documents":["a","12345678901"]}"#, Some(1)),
        ] {
            let problem = request(body).inputs(&LIMITS).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
        }
        let wrong = r#"{"query":"q","documents":[{"body":"a"}]}"#;
        let error = serde_json::from_str::<RerankRequest>(wrong).unwrap_err();
        assert!(error.to_string().contains("{\"text\"}"), "{error}");
    }
}
