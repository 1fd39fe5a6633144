//! Whose clients are spoken to: what an error needs beside the problem for them to show it.

use serde_json::{Map, Value, json};

use crate::Problem;

/// Whose shapes a request and its answer have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Ours, the production guide's and `OpenRLHF`'s: errors are problems.
    #[default]
    Native,
    /// Hugging Face text-embeddings-inference.
    Tei,
    /// vLLM, `SGLang` and whoever else follows `OpenAI`.
    OpenAi,
    /// Cohere.
    Cohere,
}

impl Dialect {
    /// The problem with the status that this dialect's peer gives it: an input that is too long is
    /// 413 of TEI, and 400 of vLLM, `SGLang` and Cohere.
    #[must_use]
    pub fn own(self, problem: Problem) -> Problem {
        let status = match self {
            Self::Tei => Problem::too_large(""),
            Self::OpenAi | Self::Cohere => Problem::bad_request(""),
            Self::Native => return problem,
        };
        if !problem.too_long {
            return problem;
        }
        Problem {
            status: status.status,
            title: status.title,
            ..problem
        }
    }

    /// A problem as this dialect's clients read it: the problem's members, and their own.
    pub fn render(self, problem: &Problem) -> Value {
        let mut members = match serde_json::to_value(problem) {
            Ok(Value::Object(members)) => members,
            // A struct of strings and numbers is always an object.
            Ok(_) | Err(_) => Map::new(),
        };
        let detail = Value::from(problem.detail.clone());
        match self {
            Self::Native => {}
            Self::Tei => {
                members.insert("error".to_owned(), detail);
                let kind = Value::from(tei_kind(problem.status));
                members.insert("error_type".to_owned(), kind);
            }
            Self::OpenAi => {
                let error = json!({
                    "message": problem.detail,
                    "type": problem.title,
                    "param": null,
                    "code": problem.status,
                });
                members.insert("error".to_owned(), error);
            }
            Self::Cohere => {
                members.insert("error".to_owned(), detail.clone());
                members.insert("message".to_owned(), detail);
            }
        }
        Value::Object(members)
    }
}

const fn tei_kind(status: u16) -> &'static str {
    match status {
        400 | 413 | 415 | 422 => "Validation",
        429 => "Overloaded",
        503 => "Unhealthy",
        _ => "Backend",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_an_input_has_the_status_of_the_peer() {
        let long = Problem::unprocessable("long").of_length();
        for (dialect, status) in [
            (Dialect::Native, 422),
            (Dialect::Tei, 413),
            (Dialect::OpenAi, 400),
            (Dialect::Cohere, 400),
        ] {
            assert_eq!(dialect.own(long.clone()).status, status);
            assert_eq!(dialect.own(Problem::unprocessable("")).status, 422);
        }
    }

    #[test]
    fn an_error_is_a_problem_in_every_dialect_and_has_the_members_of_its_peer() {
        let problem = Problem::too_many_requests("no room").retry_after(1);
        for dialect in [
            Dialect::Native,
            Dialect::Tei,
            Dialect::OpenAi,
            Dialect::Cohere,
        ] {
            let rendered = dialect.render(&problem);
            assert_eq!(rendered["status"], 429);
            assert_eq!(rendered["detail"], "no room");
        }
        assert!(Dialect::Native.render(&problem).get("error").is_none());
        let tei = Dialect::Tei.render(&problem);
        assert_eq!(tei["error"], "no room");
        assert_eq!(tei["error_type"], "Overloaded");
        assert_eq!(Dialect::OpenAi.render(&problem)["error"]["code"], 429);
        assert_eq!(Dialect::Cohere.render(&problem)["message"], "no room");
    }
}
