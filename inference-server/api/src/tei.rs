//! text-embeddings-inference: `POST /predict` with `inputs`, `POST /rerank` with `texts`,
//! `POST /tokenize`, `GET /info`.
//!
//! Its defaults are kept: scores go through a sigmoid (a softmax where there are several labels)
//! unless `raw_scores` is set, and two strings in one list are one pair.

mod info;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::input::{Input, InputOptions, Side, Texts, check_all};
use crate::{Limits, Problem, options};

pub use info::{Info, Labels};

/// Body of `POST /predict` with `inputs`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TeiPredictRequest)]
pub struct PredictRequest {
    /// What is scored.
    pub inputs: Inputs,
    /// Whether the logits are answered as they are.
    #[serde(default)]
    pub raw_scores: bool,
    /// Whether a long input is cut; false refuses it.
    #[serde(default)]
    pub truncate: Option<bool>,
    /// Which side is cut.
    #[serde(default)]
    pub truncation_direction: Option<Direction>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: BTreeMap<String, Value>,
}

/// Names of options that change a score.
const KNOWN: [&str; 5] = [
    "raw_scores",
    "truncate",
    "truncation_direction",
    "return_text",
    "inputs",
];

/// How much a text may hold: one that is cut because the request asks for it may be of any length.
const fn limits_of(truncate: Option<bool>, limits: &Limits) -> Limits {
    match truncate {
        Some(true) => limits.of_cut_texts(),
        Some(false) | None => *limits,
    }
}

/// One text, one pair (two strings), or a batch of either.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "send inputs as a string, a list of one or two strings, or a list of such lists"
)]
#[schema(as = TeiInputs)]
pub enum Inputs {
    /// One text.
    Text(String),
    /// One text, or the two of a pair.
    Sequence(Vec<String>),
    /// A batch of texts and pairs.
    Batch(Vec<Vec<String>>),
}

/// Which side is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = TeiDirection)]
pub enum Direction {
    /// The beginning.
    #[serde(alias = "left")]
    Left,
    /// The end.
    #[serde(alias = "right")]
    Right,
}

/// What `inputs` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is scored.
    pub inputs: Vec<Input>,
    /// How.
    pub options: InputOptions,
    /// Whether the answer is a list of lists.
    pub batch: bool,
    /// Whether the logits are answered as they are.
    pub raw: bool,
}

impl PredictRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when a sequence is neither a text nor a pair, or a limit is exceeded.
    pub fn into_asked(self, limits: &Limits) -> Result<Asked, Problem> {
        options::check(&self.rest, &KNOWN)?;
        if let (Inputs::Batch(batch), Some(true)) = (&self.inputs, self.truncate) {
            limits.check_together(batch.iter().flatten().map(|text| (text.as_str(), 1)))?;
        }
        let limits = &limits_of(self.truncate, limits);
        let options = options(self.truncate, self.truncation_direction);
        let (inputs, batch) = match self.inputs {
            Inputs::Text(text) => (vec![Input::Text(text)], false),
            Inputs::Sequence(texts) => (vec![sequence(texts)?], false),
            Inputs::Batch(batch) => {
                limits.check_batch("inputs", batch.len())?;
                let item = |(index, texts)| sequence(texts).map_err(|problem| problem.at(index));
                let inputs: Result<_, _> = batch.into_iter().enumerate().map(item).collect();
                (inputs?, true)
            }
        };
        let inputs = if batch {
            check_all(inputs, limits, "inputs", "inputs")?
        } else {
            for input in &inputs {
                input.check(limits, "inputs", "inputs")?;
            }
            inputs
        };
        Ok(Asked {
            inputs,
            options,
            batch,
            raw: self.raw_scores,
        })
    }
}

fn sequence(texts: Vec<String>) -> Result<Input, Problem> {
    let count = texts.len();
    let mut texts = texts.into_iter();
    match (texts.next(), texts.next(), texts.next()) {
        (Some(text), None, _) => Ok(Input::Text(text)),
        (Some(text), Some(pair), None) => Ok(Input::Pair(text, pair)),
        (None, ..) | (Some(_), Some(_), Some(_)) => Err(Problem::unprocessable(format!(
            "a sequence of inputs has {count} strings: send one text or one pair, and a batch as a list of lists"
        ))),
    }
}

fn options(truncate: Option<bool>, direction: Option<Direction>) -> InputOptions {
    let side = direction.map(|direction| match direction {
        Direction::Left => Side::Left,
        Direction::Right => Side::Right,
    });
    InputOptions {
        truncation: match truncate {
            Some(false) => Some(Side::Reject),
            Some(true) => Some(side.unwrap_or(Side::Right)),
            None => side,
        },
        ..InputOptions::default()
    }
}

/// One label of an answer of `POST /predict` with `inputs`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = TeiPrediction)]
pub struct Prediction {
    /// Its score.
    pub score: f32,
    /// Its name.
    pub label: String,
}

/// Answer of `POST /predict` with `inputs`: labels in falling order of their scores.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TeiPredictResponse)]
pub enum PredictResponse {
    /// Of one sequence.
    Single(Vec<Prediction>),
    /// Of a batch.
    Batch(Vec<Vec<Prediction>>),
}

/// Body of `POST /rerank` with `texts`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TeiRerankRequest)]
pub struct RerankRequest {
    /// The prompt.
    pub query: String,
    /// The answers to it.
    #[schema(min_items = 1)]
    pub texts: Vec<String>,
    /// Whether the logits are answered as they are.
    #[serde(default)]
    pub raw_scores: bool,
    /// Whether the texts are in the answer.
    #[serde(default)]
    pub return_text: bool,
    /// Whether a long input is cut; false refuses it.
    #[serde(default)]
    pub truncate: Option<bool>,
    /// Which side is cut.
    #[serde(default)]
    pub truncation_direction: Option<Direction>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: BTreeMap<String, Value>,
}

impl RerankRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when a limit is exceeded.
    pub fn inputs(&self, limits: &Limits) -> Result<(Vec<Input>, InputOptions), Problem> {
        options::check(&self.rest, &KNOWN)?;
        if self.truncate == Some(true) {
            let query = (self.query.as_str(), self.texts.len());
            let texts = self.texts.iter().map(|text| (text.as_str(), 1));
            limits.check_together(texts.chain([query]))?;
        }
        let limits = &limits_of(self.truncate, limits);
        limits.check_batch("texts", self.texts.len())?;
        limits.check_text("query", &self.query)?;
        let options = options(self.truncate, self.truncation_direction);
        let inputs = self
            .texts
            .iter()
            .map(|text| Input::answer(Some(self.query.clone()), text.clone()))
            .collect();
        Ok((check_all(inputs, limits, "texts", "query")?, options))
    }
}

/// One text of an answer of `POST /rerank` with `texts`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = TeiRank)]
pub struct Rank {
    /// Its place in the request.
    pub index: usize,
    /// The text, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its score.
    pub score: f32,
}

/// Body of `POST /tokenize`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = TeiTokenizeRequest)]
pub struct TokenizeRequest {
    /// One text or several.
    pub inputs: Texts,
    /// Whether the tokenizer adds its special tokens.
    #[serde(default = "yes")]
    pub add_special_tokens: bool,
}

const fn yes() -> bool {
    true
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TeiToken)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// What it stands for; null where the tokenizer does not say.
    pub text: Option<String>,
    /// Whether it was added by the tokenizer.
    pub special: bool,
    /// Where it begins in the text, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// Where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_characters: 10,
        max_batch: 3,
    };

    fn asked(body: &str) -> Result<Asked, Problem> {
        serde_json::from_str::<PredictRequest>(body)
            .unwrap()
            .into_asked(&LIMITS)
    }

    #[test]
    fn two_strings_are_one_pair_and_not_two_texts() {
        let text = |text: &str| Input::Text(text.into());
        let pair = Input::Pair("a".into(), "b".into());
        assert_eq!(asked(r#"{"inputs":"a"}"#).unwrap().inputs, [text("a")]);
        assert_eq!(asked(r#"{"inputs":["a"]}"#).unwrap().inputs, [text("a")]);
        let one = asked(r#"{"inputs":["a","b"]}"#).unwrap();
        assert_eq!((one.inputs, one.batch), (vec![pair.clone()], false));
        let batch = asked(r#"{"inputs":[["c"],["a","b"]]}"#).unwrap();
        assert_eq!((batch.inputs, batch.batch), (vec![text("c"), pair], true));
    }

    #[test]
    fn truncation_is_the_servers_unless_the_request_says_otherwise() {
        let side = |more: &str| {
            let body = format!(r#"{{"inputs":"a"{more}}}"#);
            asked(&body).unwrap().options.truncation
        };
        assert_eq!(side(""), None);
        assert_eq!(side(r#","truncate":true"#), Some(Side::Right));
        assert_eq!(side(r#","truncate":false"#), Some(Side::Reject));
        assert_eq!(
            side(r#","truncate":true,"truncation_direction":"Left""#),
            Some(Side::Left)
        );
        assert_eq!(side(r#","truncation_direction":"left""#), Some(Side::Left));
    }

    #[test]
    fn what_is_neither_a_text_nor_a_pair_is_refused() {
        for (body, index) in [
            (r#"{"inputs":[]}"#, None),
            (r#"{"inputs":["a","b","c"]}"#, None),
            (r#"{"inputs":[["a"],[]]}"#, Some(1)),
            (r#"{"inputs":[["a"],["a","b","c"]]}"#, Some(1)),
            (r#"{"inputs":[["a"],["a"],["a"],["a"]]}"#, None),
            (r#"{"inputs":[["12345678901"]]}"#, Some(0)),
            (r#"{"inputs":"12345678901"}"#, None),
            (r#"{"inputs":"12345678901","truncate":false}"#, None),
            (r#"{"inputs":"a","truncat":true}"#, None),
        ] {
            let problem = asked(body).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
        }
        let cut = asked(r#"{"inputs":"12345678901","truncate":true}"#);
        assert!(cut.is_ok(), "a text that is cut may be of any length");
        let wrong = r#"{"inputs":[1]}"#;
        let error = serde_json::from_str::<PredictRequest>(wrong).unwrap_err();
        assert!(error.to_string().contains("one or two strings"), "{error}");
    }

    #[test]
    fn a_rerank_scores_each_text_as_an_answer_to_the_query() {
        let body = r#"{"query":"q","texts":["a","b"]}"#;
        let request: RerankRequest = serde_json::from_str(body).unwrap();
        let (inputs, _) = request.inputs(&LIMITS).unwrap();
        assert_eq!(inputs[1], Input::answer(Some("q".into()), "b".into()));
        let empty: RerankRequest = serde_json::from_str(r#"{"query":"q","texts":[]}"#).unwrap();
        assert_eq!(empty.inputs(&LIMITS).unwrap_err().status, 422);
    }
}
