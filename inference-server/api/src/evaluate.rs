//! `POST /evaluate`: how often the model prefers what people prefer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::Input;
use crate::{Limits, Problem};

/// Body of `POST /evaluate`: `pairs`, or the lists `texts`, `contexts` and `rejected`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRequest {
    /// Answers that were preferred, each with one that was not.
    #[serde(default)]
    #[schema(min_items = 1)]
    pub pairs: Option<Vec<Pair>>,
    /// The preferred answers.
    #[serde(default)]
    pub texts: Option<Vec<String>>,
    /// Their prompts; null for those that have none.
    #[serde(default)]
    pub contexts: Option<Vec<Option<String>>>,
    /// The answers that were not preferred.
    #[serde(default)]
    pub rejected: Option<Vec<String>>,
    /// Whether the scores of all answers are in the answer.
    #[serde(default)]
    pub include_scores: bool,
}

/// A preferred answer and one that was not.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The preferred answer.
    pub chosen: String,
    /// The other.
    pub rejected: String,
    /// What it is reported under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How much it counts; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

impl Pair {
    /// Names of its members: a line of a file may have others.
    pub const MEMBERS: [&str; 5] = ["prompt", "chosen", "rejected", "category", "weight"];

    /// The two inputs, the preferred one first.
    pub fn inputs(&self) -> [Input; 2] {
        [&self.chosen, &self.rejected].map(|text| Input::answer(self.prompt.clone(), text.clone()))
    }

    /// Checks texts and weight.
    ///
    /// # Errors
    /// 422 when a text is too long or the weight no positive number.
    pub fn check(&self, limits: &Limits) -> Result<(), Problem> {
        limits.check_text("chosen", &self.chosen)?;
        limits.check_text("rejected", &self.rejected)?;
        if let Some(prompt) = &self.prompt {
            limits.check_text("prompt", prompt)?;
        }
        if let Some(category) = &self.category {
            limits.check_text("category", category)?;
        }
        match self.weight {
            // Squares of weights are summed, and must stay numbers too.
            Some(weight) if !(1e-9..=1e9).contains(&weight) => Err(Problem::unprocessable(
                "weight must lie between 1e-9 and 1e9: leave the pair out to ignore it",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl EvaluateRequest {
    /// The pairs, at most `max_pairs`.
    ///
    /// # Errors
    /// 422 when there are none or too many, lengths differ, or a pair is wrong; it is named.
    pub fn into_pairs(self, limits: &Limits, max_pairs: usize) -> Result<Vec<Pair>, Problem> {
        let pairs = match (self.pairs, self.texts, self.rejected) {
            (Some(pairs), None, None) if self.contexts.is_none() => pairs,
            (None, Some(texts), Some(rejected)) => zip(texts, self.contexts, rejected)?,
            (Some(_) | None, ..) => {
                return Err(Problem::unprocessable(
                    "send either pairs, or both texts and rejected (with contexts where there are prompts)",
                ));
            }
        };
        if pairs.is_empty() || pairs.len() > max_pairs {
            return Err(Problem::unprocessable(format!(
                "there are {} pairs, 1 to {max_pairs} are allowed: send several requests, or raise --max-pairs",
                pairs.len()
            )));
        }
        for (index, pair) in pairs.iter().enumerate() {
            pair.check(limits).map_err(|problem| problem.at(index))?;
        }
        Ok(pairs)
    }
}

fn zip(
    texts: Vec<String>,
    contexts: Option<Vec<Option<String>>>,
    rejected: Vec<String>,
) -> Result<Vec<Pair>, Problem> {
    let contexts = contexts.unwrap_or_else(|| vec![None; texts.len()]);
    if texts.len() != rejected.len() || texts.len() != contexts.len() {
        return Err(Problem::unprocessable(format!(
            "texts has {} items, rejected {}, contexts {}: send lists of one length, null where there is no context",
            texts.len(),
            rejected.len(),
            contexts.len()
        )));
    }
    let pair = |((chosen, rejected), prompt)| Pair {
        prompt,
        chosen,
        rejected,
        category: None,
        weight: None,
    };
    Ok(texts
        .into_iter()
        .zip(rejected)
        .zip(contexts)
        .map(pair)
        .collect())
}

/// Answer of `POST /evaluate`. What is undefined is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluateResponse {
    /// Pairs.
    pub pairs: usize,
    /// Pairs whose preferred answer scored higher.
    pub wins: usize,
    /// Pairs whose answers scored the same.
    pub ties: usize,
    /// Pairs whose preferred answer scored lower.
    pub losses: usize,
    /// Share of wins, where a tie is half of one.
    pub accuracy: Option<f64>,
    /// The 95 % interval of the accuracy (Wilson).
    pub interval: Option<[f64; 2]>,
    /// Wins among wins and losses.
    pub precision: Option<f64>,
    /// Wins among all pairs.
    pub recall: Option<f64>,
    /// Harmonic mean of precision and recall.
    pub f1_score: Option<f64>,
    /// Mean squared error of the calibrated preference; null where nothing was calibrated.
    pub brier: Option<f64>,
    /// Expected calibration error over 15 bins; null where nothing was calibrated.
    pub calibration_error: Option<f64>,
    /// The same by category.
    pub by_category: BTreeMap<String, CategoryResult>,
    /// Scores of the preferred answers, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_scores: Option<Vec<f32>>,
    /// Scores of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_scores: Option<Vec<f32>>,
    /// Seconds from the request's arrival to this answer.
    pub processing_time: f64,
    /// Which model it was.
    pub model_version: String,
}

/// One category of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CategoryResult {
    /// Pairs.
    pub pairs: usize,
    /// Share of wins, where a tie is half of one.
    pub accuracy: Option<f64>,
    /// Its 95 % interval (Wilson).
    pub interval: Option<[f64; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_characters: 5,
        max_batch: 1,
    };

    fn pairs(body: &str) -> Result<Vec<Pair>, Problem> {
        serde_json::from_str::<EvaluateRequest>(body)
            .unwrap()
            .into_pairs(&LIMITS, 2)
    }

    #[test]
    fn both_forms_ask_for_the_same() {
        let ours = pairs(r#"{"pairs":[{"prompt":"q","chosen":"a","rejected":"b"}]}"#).unwrap();
        let guide = pairs(r#"{"texts":["a"],"contexts":["q"],"rejected":["b"]}"#).unwrap();
        assert_eq!(ours, guide);
        assert_eq!(
            ours[0].inputs()[1],
            Input::answer(Some("q".into()), "b".into())
        );
        let bare = pairs(r#"{"texts":["a"],"rejected":["b"]}"#).unwrap();
        assert_eq!(bare[0].inputs()[0], Input::Text("a".into()));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_and_a_bad_pair_named() {
        let pair = r#"{"chosen":"a","rejected":"b"}"#;
        for (body, index) in [
            ("{}".to_owned(), None),
            (r#"{"pairs":[]}"#.to_owned(), None),
            (format!(r#"{{"pairs":[{pair},{pair},{pair}]}}"#), None),
            (format!(r#"{{"pairs":[{pair}],"texts":["a"]}}"#), None),
            (format!(r#"{{"pairs":[{pair}],"contexts":["a"]}}"#), None),
            (r#"{"texts":["a"]}"#.to_owned(), None),
            (r#"{"texts":["a"],"rejected":["b","c"]}"#.to_owned(), None),
            (
                r#"{"texts":["a"],"rejected":["b"],"contexts":[]}"#.to_owned(),
                None,
            ),
            (
                format!(r#"{{"pairs":[{pair},{{"chosen":"123456","rejected":"b"}}]}}"#),
                Some(1),
            ),
            (
                r#"{"pairs":[{"chosen":"a","rejected":"b","weight":0}]}"#.to_owned(),
                Some(0),
            ),
            (
                r#"{"pairs":[{"chosen":"a","rejected":"b","weight":-1}]}"#.to_owned(),
                Some(0),
            ),
            (
                r#"{"pairs":[{"chosen":"a","rejected":"b","weight":1e300}]}"#.to_owned(),
                Some(0),
            ),
        ] {
            let problem = pairs(&body).unwrap_err();
            assert_eq!((problem.status, problem.index), (422, index), "{body}");
        }
    }
}
