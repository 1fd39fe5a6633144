//! A command to the operator: what is written, and what it has answered.
//!
//! Owns the words of the annotation `betterai.dev/command` as the plugin writes them. It must not know how an
//! object is read or written. Invariant: an answer to another click, or to somebody else's, is no answer.

use crds::labels;
use crds::v1alpha1::reward_model::status::LastCommand;
use operator_core::rollout::commands::Verb;
use serde_json::{Value, json};

use crate::explain::Subject;
use crate::failure::Failure;

/// One click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) subject: Subject,
    verb: Verb,
    revision: Option<String>,
    nonce: String,
}

impl Order {
    /// # Errors
    /// Where nobody obeys it: an experiment knows four verbs, and a revision's name has no slash.
    pub(crate) fn new(
        verb: Verb,
        subject: Subject,
        revision: Option<String>,
        nonce: String,
    ) -> Result<Self, Failure> {
        let is_known = match verb {
            Verb::Approve | Verb::Abort | Verb::Pause | Verb::Resume => true,
            Verb::Promote | Verb::Rollback | Verb::Retry | Verb::SkipStep => {
                matches!(subject, Subject::Model(_))
            }
        };
        if !is_known {
            return Err(Failure::Usage(format!(
                "{} is for RewardModels: an experiment knows approve, abort, pause and resume",
                verb.word()
            )));
        }
        if let Some(revision) = revision
            .as_deref()
            .filter(|r| r.is_empty() || r.contains('/'))
        {
            return Err(Failure::Usage(format!(
                "{revision:?} is no revision: status.rollout.revision has the name of the one in flight"
            )));
        }
        Ok(Self {
            subject,
            verb,
            revision,
            nonce,
        })
    }

    /// What is merged into the object.
    pub(crate) fn patch(&self) -> Value {
        let (verb, nonce) = (self.verb.word(), &self.nonce);
        let text = match &self.revision {
            Some(revision) => format!("{verb}/{revision}/{nonce}"),
            None => format!("{verb}/{nonce}"),
        };
        json!({"metadata": {"annotations": {labels::COMMAND: text}}})
    }

    /// What the operator has answered, where it has.
    pub(crate) fn answer(&self, last: Option<&LastCommand>) -> Option<Result<String, Failure>> {
        let last = last.filter(|last| {
            last.verb == self.verb.word()
                && last.nonce == self.nonce
                && last.revision == self.revision
        })?;
        let message = &last.message;
        Some(if last.result == "Refused" {
            let word = self.verb.word();
            Err(Failure::Failed(format!("{word} is refused: {message}")))
        } else {
            Ok(format!("{}: {message}\n", self.verb.word()))
        })
    }

    /// Nobody has answered in `seconds`.
    pub(crate) fn unanswered(&self, seconds: u64) -> Failure {
        Failure::Failed(format!(
            "the operator has not answered {} in {seconds} s: is it running? The command stands on the object, and is carried out once it is; status.lastCommand has the answer then",
            self.verb.word()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator_core::rollout::commands::{Command, read};

    fn order(verb: Verb, revision: Option<&str>) -> Order {
        let subject = Subject::Model("m".to_owned());
        Order::new(verb, subject, revision.map(str::to_owned), "n".to_owned()).unwrap()
    }

    fn written(order: &Order) -> String {
        let patch = order.patch();
        let text = &patch["metadata"]["annotations"][labels::COMMAND];
        text.as_str().unwrap().to_owned()
    }

    #[test]
    fn the_operator_reads_what_is_written() {
        for verb in Verb::ALL {
            for revision in [None, Some("0123456789")] {
                let text = written(&order(verb, revision));
                let Command::Given(read, given) = read(Some(&text), None) else {
                    panic!("{text} is not read")
                };
                assert_eq!((read, given.revision()), (verb, revision));
            }
        }
    }

    #[test]
    fn only_the_answer_to_this_click_is_one() {
        let order = order(Verb::Promote, None);
        let last = |verb: &str, nonce: &str, result: &str| LastCommand {
            verb: verb.to_owned(),
            nonce: nonce.to_owned(),
            result: result.to_owned(),
            message: "why".to_owned(),
            ..LastCommand::default()
        };
        assert_eq!(order.answer(None), None);
        assert_eq!(order.answer(Some(&last("promote", "1", "Done"))), None);
        assert_eq!(order.answer(Some(&last("abort", "n", "Done"))), None);
        assert_eq!(
            order.answer(Some(&last("promote", "n", "Done"))),
            Some(Ok("promote: why\n".to_owned()))
        );
        let refused = order
            .answer(Some(&last("promote", "n", "Refused")))
            .unwrap();
        assert_eq!(refused.unwrap_err().to_string(), "promote is refused: why");
    }

    #[test]
    fn what_nobody_would_obey_is_not_sent() {
        let experiment = Subject::Experiment("e".to_owned());
        for (verb, revision) in [
            (Verb::Promote, None),
            (Verb::Pause, Some("a/b")),
            (Verb::Pause, Some("")),
        ] {
            let revision = revision.map(str::to_owned);
            let order = Order::new(verb, experiment.clone(), revision, "n".to_owned());
            assert_eq!(order.unwrap_err().code(), 2, "{verb:?}");
        }
    }
}
