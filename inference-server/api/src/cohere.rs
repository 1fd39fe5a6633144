//! Cohere and vLLM: `POST /rerank`, `/v1/rerank` and `/v2/rerank` with `documents`.
//!
//! The answer holds what both need: Cohere's `id`, `results` and `meta`, and vLLM's `model`,
//! `usage` and documents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::{Input, InputOptions};
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
    /// Cohere's limit of a document's tokens; the query is not cut by it.
    #[serde(default)]
    pub max_tokens_per_doc: Option<usize>,
    /// The same of the query.
    #[serde(default)]
    pub max_tokens_per_query: Option<usize>,
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
    pub fn inputs(
        &self,
        limits: &Limits,
        most: usize,
    ) -> Result<(Vec<Input>, InputOptions), Problem> {
        limits.check_batch("documents", self.documents.len())?;
        let options = InputOptions {
            max_first: limit("max_tokens_per_query", self.max_tokens_per_query)?,
            max_second: limit("max_tokens_per_doc", self.max_tokens_per_doc)?,
            ..self.options.input_options(most)?
        };
        if options.max_first.is_some() || options.max_second.is_some() || self.options.cuts() {
            let query = (self.query.as_str(), self.documents.len());
            let documents = self.documents.iter().map(|document| (document.text(), 1));
            limits.check_together(documents.chain([query]))?;
        }
        let limits_of = |cut: Option<usize>| match cut {
            Some(_) => limits.of_cut_texts(),
            None => self.options.limits(limits),
        };
        limits_of(options.max_first).check_text("query", &self.query)?;
        let of_documents = limits_of(options.max_second);
        for (index, document) in self.documents.iter().enumerate() {
            let checked = of_documents.check_text("documents", document.text());
            checked.map_err(|problem| problem.at(index))?;
        }
        let inputs = self
            .documents
            .iter()
            .map(|document| Input::answer(Some(self.query.clone()), document.text().to_owned()))
            .collect();
        Ok((inputs, options))
    }

    /// How many results are answered.
    pub fn wanted(&self) -> usize {
        self.top_n.filter(|n| *n > 0).unwrap_or(usize::MAX)
    }
}

fn limit(name: &str, most: Option<usize>) -> Result<Option<usize>, Problem> {
    match most {
        Some(0) => Err(Problem::unprocessable(format!(
            "{name} keeps no token: send a positive number"
        ))),
        Some(_) | None => Ok(most),
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
    /// What was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnings: Option<Vec<String>>,
}

impl Meta {
    /// Of an answer of which the documents at these places, or the query beside them, were cut.
    pub fn of(cut: &[usize]) -> Self {
        let places: Vec<String> = cut.iter().map(ToString::to_string).collect();
        let warning = format!(
            "cut to their limits of tokens: documents {}",
            places.join(", ")
        );
        Self {
            warnings: (!cut.is_empty()).then(|| vec![warning]),
            ..Self::default()
        }
    }
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
        let (inputs, _) = request.inputs(&LIMITS, 9).unwrap();
        assert_eq!(inputs[1], Input::answer(Some("q".into()), "b".into()));
        assert_eq!(request.wanted(), 1);
    }

    #[test]
    fn zero_results_are_all_of_them_as_in_vllm() {
        let request = request(r#"{"query":"q","documents":["a"],"top_n":0}"#);
        assert_eq!(request.wanted(), usize::MAX);
    }

    #[test]
    fn a_document_is_cut_by_itself() {
        let both =
            r#"{"query":"q","documents":["a"],"max_tokens_per_doc":7,"truncate_prompt_tokens":9}"#;
        let (_, options) = request(both).inputs(&LIMITS, 9).unwrap();
        assert_eq!((options.max_tokens, options.max_second), (Some(9), Some(7)));
        assert_eq!(options.max_first, None);
        let query = r#"{"query":"12345678901","documents":["a"],"max_tokens_per_query":3}"#;
        let (_, options) = request(query).inputs(&LIMITS, 9).unwrap();
        assert_eq!(options.max_first, Some(3));
        let long = r#"{"query":"q","documents":["12345678901"],"max_tokens_per_doc":3}"#;
        assert!(request(long).inputs(&LIMITS, 9).is_ok());
        let none = r#"{"query":"q","documents":["a"],"max_tokens_per_doc":0}"#;
        assert_eq!(request(none).inputs(&LIMITS, 9).unwrap_err().status, 422);
    }

    #[test]
    fn a_bad_list_is_refused_and_a_bad_document_named() {
        for (body, index) in [
            (r#"{"query":"q","documents":[]}"#, None),
            (r#"{"query":"q","documents":["a","a","a"]}"#, None),
            (r#"{"query":"12345678901","documents":["a"]}"#, None),
            (r#"{"query":"q","documents":["a","12345678901"]}"#, Some(1)),
        ] {
            let problem = request(body).inputs(&LIMITS, 9).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
        }
        let wrong = r#"{"query":"q","documents":[{"body":"a"}]}"#;
        let error = serde_json::from_str::<RerankRequest>(wrong).unwrap_err();
        assert!(error.to_string().contains("{\"text\"}"), "{error}");
    }
}
