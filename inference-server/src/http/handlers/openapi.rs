//! The API as an `OpenAPI` 3.1 document.
//!
//! Owns which route takes and answers which type, and every status that it may answer with.
//! Invariant: the document and the router know the same routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use inference_api::{
    Problem, cohere, evaluate, feedback, native, openrlhf, sglang, tei, update, vllm,
};
use inference_scoring::Scorer;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::http::base::routes::{self, Access};
use crate::http::request::App;

/// What a scoring route answers when it gives no score.
const SCORING: &[u16] = &[400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504];
const READING: &[u16] = &[401, 403, 503];
const NOTHING: &[u16] = &[];

pub(crate) async fn document<S: Scorer>(State(app): State<Arc<App<S>>>) -> Json<Value> {
    Json(build(app.feedback.is_some()))
}

/// Prints the document of a router, which has all that a server has.
///
/// # Errors
/// When the output is closed.
pub(crate) fn print() -> anyhow::Result<()> {
    use std::io::Write;
    let text = serde_json::to_string_pretty(&build(true))?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// The document, with or without what only a router takes.
pub(crate) fn build(feedback: bool) -> Value {
    let mut document = Document::default();
    document.native();
    document.dialects();
    document.probes();
    document.administration();
    if feedback {
        document.feedback();
    }
    let schemas: Map<String, Value> = document.schemas.into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "BetterAI scoring API",
            "description": "Scores of reward models. Answers carry x-request-id, x-model-version and server-timing; errors are problem+json.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": document.paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

#[derive(Default)]
struct Document {
    paths: Map<String, Value>,
    schemas: BTreeMap<String, Value>,
}

/// One operation.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    tag: &'a str,
    summary: &'a str,
    body: Option<Value>,
    /// Status and schema of the good answer.
    answer: (u16, Value),
    problems: &'a [u16],
}

impl Document {
    /// A reference to a type, whose schema and those it refers to are in the document from now on.
    fn of<T: ToSchema>(&mut self) -> Value {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            // A schema is made of strings, numbers, lists and maps.
            let schema = serde_json::to_value(schema).unwrap_or_default();
            self.schemas.insert(name, schema);
        }
        json!({"$ref": format!("#/components/schemas/{}", T::name())})
    }

    fn either<A: ToSchema, B: ToSchema>(&mut self) -> Value {
        json!({"anyOf": [self.of::<A>(), self.of::<B>()]})
    }

    fn add(&mut self, operation: Operation<'_>) {
        let problem = self.of::<Problem>();
        let (status, schema) = operation.answer;
        let kind = match operation.path {
            "/metrics" => "application/openmetrics-text",
            "/docs" => "text/html",
            _ => "application/json",
        };
        let mut responses = Map::new();
        let good = json!({"description": "The answer.", "content": {kind: {"schema": schema}}});
        responses.insert(status.to_string(), good);
        for status in operation.problems {
            let bad = json!({
                "description": reason(*status),
                "content": {"application/problem+json": {"schema": problem}},
            });
            responses.insert(status.to_string(), bad);
        }
        let access = routes::find(Some(operation.path)).map_or(Access::Open, |route| route.access);
        let mut value = Map::from_iter([
            ("tags".to_owned(), json!([operation.tag])),
            ("summary".to_owned(), json!(operation.summary)),
            (
                "operationId".to_owned(),
                json!(identifier(operation.method, operation.path)),
            ),
            ("security".to_owned(), security(access)),
            ("responses".to_owned(), responses.into()),
        ]);
        if let Some(schema) = operation.body {
            let body =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
            value.insert("requestBody".to_owned(), body);
        }
        if let Some(parameters) = parameters(operation.path) {
            value.insert("parameters".to_owned(), parameters);
        }
        let methods = self.paths.entry(operation.path);
        if let Value::Object(methods) = methods.or_insert_with(|| json!({})) {
            methods.insert(operation.method.to_owned(), value.into());
        }
    }

    fn post(&mut self, tag: &str, path: &str, summary: &str, body: Value, answer: Value) {
        self.add(Operation {
            path,
            method: "post",
            tag,
            summary,
            body: Some(body),
            answer: (200, answer),
            problems: SCORING,
        });
    }

    fn get(&mut self, tag: &str, path: &str, summary: &str, answer: Value, problems: &[u16]) {
        self.add(Operation {
            path,
            method: "get",
            tag,
            summary,
            body: None,
            answer: (200, answer),
            problems,
        });
    }

    fn native(&mut self) {
        let body = self.either::<native::PredictRequest, tei::PredictRequest>();
        let answer = self.either::<native::PredictResponse, tei::PredictResponse>();
        let summary = "Scores one text, pair or conversation; with `inputs` as TEI does";
        self.post("native", "/predict", summary, body, answer);
        let (body, answer) = (
            self.of::<native::BatchRequest>(),
            self.of::<native::BatchResponse>(),
        );
        self.post("native", "/predict/batch", "Scores a batch", body, answer);
        let body = self.of::<evaluate::EvaluateRequest>();
        let answer = self.of::<evaluate::EvaluateResponse>();
        let summary = "How often the model prefers what people prefer";
        self.post("native", "/evaluate", summary, body, answer);
    }

    fn dialects(&mut self) {
        let body = self.of::<openrlhf::RewardRequest>();
        let answer = self.of::<openrlhf::RewardResponse>();
        self.post(
            "OpenRLHF",
            "/get_reward",
            "Rewards of rendered conversations",
            body,
            answer,
        );
        let body = self.either::<vllm::ClassifyRequest, sglang::ClassifyRequest>();
        let answer = self.either::<vllm::ClassifyResponse, sglang::ClassifyResponse>();
        let summary = "Classes of texts; with `text` as SGLang does";
        self.post("vLLM, SGLang", "/classify", summary, body, answer);
        for path in ["/score", "/v1/score"] {
            let (body, answer) = (
                self.of::<vllm::ScoreRequest>(),
                self.of::<vllm::ScoreResponse>(),
            );
            self.post(
                "vLLM, SGLang",
                path,
                "Scores answers to prompts",
                body,
                answer,
            );
        }
        let body = self.either::<cohere::RerankRequest, tei::RerankRequest>();
        let ranks = self.of::<tei::Rank>();
        let answer = self.of::<cohere::RerankResponse>();
        let answer = json!({"anyOf": [answer, {"type": "array", "items": ranks}]});
        let summary = "Orders answers to a query; with `texts` as TEI does";
        self.post("Cohere, vLLM, TEI", "/rerank", summary, body, answer);
        for path in ["/v1/rerank", "/v2/rerank"] {
            let body = self.of::<cohere::RerankRequest>();
            let answer = self.of::<cohere::RerankResponse>();
            self.post(
                "Cohere, vLLM, TEI",
                path,
                "Orders answers to a query",
                body,
                answer,
            );
        }
        let body = self.of::<sglang::EmbeddingsRequest>();
        let answer = self.of::<sglang::EmbeddingsResponse>();
        let summary = "Logits as embeddings, which verl reads";
        self.post("vLLM, SGLang", "/v1/embeddings", summary, body, answer);
        let (body, token) = (self.of::<tei::TokenizeRequest>(), self.of::<tei::Token>());
        let answer = json!({"type": "array", "items": {"type": "array", "items": token}});
        let problems = &[400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 503, 504];
        self.add(Operation {
            path: "/tokenize",
            method: "post",
            tag: "TEI",
            summary: "Tokens of texts",
            body: Some(body),
            answer: (200, answer),
            problems,
        });
    }

    fn probes(&mut self) {
        let answer = self.of::<tei::Info>();
        self.get(
            "TEI",
            "/info",
            "What is served, as TEI says it",
            answer,
            READING,
        );
        let answer = self.of::<vllm::ModelList>();
        self.get(
            "vLLM, SGLang",
            "/v1/models",
            "What is served",
            answer,
            READING,
        );
        let answer = self.of::<update::ModelDescription>();
        self.get("native", "/model/info", "What is served", answer, READING);
        let answer = self.of::<update::Health>();
        self.get("health", "/health", "Whether all is well", answer, &[503]);
        let answer = self.of::<update::Probe>();
        self.get(
            "health",
            "/health/live",
            "Whether the process runs",
            answer,
            NOTHING,
        );
        let answer = self.of::<update::Probe>();
        self.get(
            "health",
            "/health/ready",
            "Whether requests are taken",
            answer,
            &[503],
        );
        let text = || json!({"type": "string"});
        self.get("health", "/metrics", "OpenMetrics", text(), NOTHING);
        self.get(
            "health",
            "/docs",
            "This document for people",
            text(),
            NOTHING,
        );
        self.get(
            "health",
            "/openapi.json",
            "This document",
            json!({"type": "object"}),
            NOTHING,
        );
    }

    fn feedback(&mut self) {
        let body = self.of::<feedback::FeedbackRequest>();
        let answer = self.of::<feedback::FeedbackResponse>();
        self.add(Operation {
            path: "/feedback",
            method: "post",
            tag: "native",
            summary: "Labelled pairs, which both revisions of a rollout will score; a router's only",
            body: Some(body),
            answer: (202, answer),
            problems: &[400, 401, 403, 408, 413, 415, 422, 429, 503],
        });
    }

    fn administration(&mut self) {
        let (body, answer) = (
            self.of::<update::UpdateRequest>(),
            self.of::<update::Update>(),
        );
        self.add(Operation {
            path: "/model/update",
            method: "post",
            tag: "administration",
            summary: "Loads a model beside the one that serves, and swaps them",
            body: Some(body),
            answer: (202, answer.clone()),
            problems: &[400, 401, 403, 408, 409, 413, 415, 422, 429, 503],
        });
        let problems = &[401, 403, 404, 409, 503];
        let summary = "How far an update is";
        self.get(
            "administration",
            "/model/update/{id}",
            summary,
            answer,
            problems,
        );
        let answer = self.of::<update::CacheCleared>();
        self.add(Operation {
            path: "/cache",
            method: "delete",
            tag: "administration",
            summary: "Forgets the scores of one version of the model",
            body: None,
            answer: (200, answer),
            problems: &[401, 403, 404, 409, 422, 500, 503],
        });
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Open => json!([]),
        Access::Any | Access::Scope(_) => json!([{}, {"bearer": []}, {"apiKey": []}]),
    }
}

fn parameters(path: &str) -> Option<Value> {
    match path {
        "/model/update/{id}" => Some(json!([
            {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
        ])),
        "/cache" => Some(json!([
            {"name": "model_version", "in": "query", "required": true, "schema": {"type": "string", "minLength": 1}},
        ])),
        _ => None,
    }
}

fn identifier(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!("{method}_{}", words.join("_"))
}

const fn reason(status: u16) -> &'static str {
    match status {
        400 => "The body is not JSON.",
        401 => "There are no valid credentials.",
        403 => "The credentials do not allow this.",
        404 => "There is no such thing.",
        408 => "The body came too slowly.",
        409 => "The server's state or settings do not allow this.",
        413 => "The body is too large.",
        415 => "The body is of another type than JSON, or compressed in another way.",
        422 => "The body is JSON, and cannot be scored.",
        429 => "There is no room, or the rate limit is reached; see Retry-After.",
        503 => "The server is leaving, or credentials cannot be checked.",
        504 => "The answer would come too late.",
        _ => "The server failed.",
    }
}
