//! `OpenRLHF`: `POST /get_reward`, what its remote reward model answers.
//!
//! `query` holds whole conversations as text, rendered by the trainer; `prompts` and `labels` come
//! along and are not read. Scores are raw. A long list is not refused: it is scored in parts.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::input::{Input, Texts, check_all};
use crate::{Limits, Problem};

/// Body of `POST /get_reward`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RewardRequest {
    /// One text or several.
    pub query: Texts,
    /// Not read.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub prompts: Option<Box<RawValue>>,
    /// Not read.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub labels: Option<Box<RawValue>>,
}

impl RewardRequest {
    /// What is to be scored.
    ///
    /// # Errors
    /// 422 when there is nothing, or a text is too long.
    pub fn into_inputs(self, limits: &Limits) -> Result<Vec<Input>, Problem> {
        let texts = self.query.into_vec();
        let any_number = Limits {
            max_batch: usize::MAX,
            ..*limits
        };
        any_number.check_batch("query", texts.len())?;
        let inputs = texts.into_iter().map(Input::Text).collect();
        check_all(inputs, limits, "query", "query")
    }
}

/// Answer of `POST /get_reward`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RewardResponse {
    /// One for each text.
    pub rewards: Vec<f32>,
    /// The same, which the trainer filters by.
    pub scores: Vec<f32>,
    /// Nothing.
    pub extra_logs: ExtraLogs,
}

/// Nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExtraLogs {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_length_is_taken_but_an_empty_one() {
        let limits = Limits {
            max_characters: 3,
            max_batch: 2,
        };
        let inputs = |body: &str| {
            serde_json::from_str::<RewardRequest>(body)
                .unwrap()
                .into_inputs(&limits)
        };
        let body = r#"{"query":["a","b","c"],"prompts":["x"],"labels":[null,1,{}]}"#;
        assert_eq!(inputs(body).unwrap().len(), 3);
        assert_eq!(inputs(r#"{"query":[]}"#).unwrap_err().status, 422);
        let problem = inputs(r#"{"query":["a","long"]}"#).unwrap_err();
        assert_eq!(problem.index, Some(1));
    }
}
