//! Commands: the annotation that a human's click leaves on a resource.
//!
//! Owns its reading. Invariant: a command is acknowledged once, also when it is refused or cannot
//! be read, and one that names a revision that is no longer current does nothing.

use crds::v1alpha1::reward_model::status::LastCommand;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::identity::RevisionHash;

/// What a command may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the contract")]
pub enum Verb {
    Promote,
    Abort,
    Rollback,
    Retry,
    Pause,
    Resume,
    Approve,
    SkipStep,
}

impl Verb {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Promote,
        Self::Abort,
        Self::Rollback,
        Self::Retry,
        Self::Pause,
        Self::Resume,
        Self::Approve,
        Self::SkipStep,
    ];

    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::SkipStep => "skip-step",
        }
    }
}

/// What there is to do about the annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing: there is none, or it is acknowledged already.
    None,
    /// Something is asked for.
    Given(Verb, Acknowledgement),
    /// It cannot be read.
    Refused(Acknowledgement),
}

/// The words of a command, to be answered in `status.lastCommand`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    verb: String,
    revision: Option<String>,
    nonce: String,
    refusal: Option<String>,
}

/// Reads the annotation, unless `last` acknowledges it.
pub fn read(annotation: Option<&str>, last: Option<&LastCommand>) -> Command {
    let Some(text) = annotation else {
        return Command::None;
    };
    let mut acknowledgement = split(text);
    if last.is_some_and(|last| {
        last.nonce == acknowledgement.nonce
            && last.verb == acknowledgement.verb
            && last.revision == acknowledgement.revision
    }) {
        return Command::None;
    }
    let verb = Verb::ALL
        .into_iter()
        .find(|verb| verb.word() == acknowledgement.verb);
    if let Some(verb) = verb {
        if acknowledgement.nonce.is_empty() {
            acknowledgement.refusal = Some(format!(
                "it has no nonce, by which one click is told from the next: write {}={}/$(date +%s), a word or number of your own in the last place",
                crds::labels::COMMAND,
                acknowledgement.verb
            ));
            return Command::Refused(acknowledgement);
        }
        return Command::Given(verb, acknowledgement);
    }
    acknowledgement.refusal = Some(format!(
        "write {} as <verb>[/<revision>]/<nonce>, such as retry/1; the verbs are {}",
        crds::labels::COMMAND,
        Verb::ALL.map(Verb::word).join(", ")
    ));
    Command::Refused(acknowledgement)
}

/// How `command` is given to an object of the short kind `kind`, as a line for a shell.
pub fn line(kind: &str, namespace: &str, name: &str, command: &str) -> String {
    format!(
        "`kubectl annotate {kind} {name} -n {namespace} {}={command}/$(date +%s) --overwrite`",
        crds::labels::COMMAND
    )
}

fn split(text: &str) -> Acknowledgement {
    let mut parts = text.splitn(3, '/');
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let (revision, nonce) = match (second, third) {
        (Some(revision), Some(nonce)) => (Some(revision.to_owned()), nonce),
        (Some(nonce), None) => (None, nonce),
        (None, _) => (None, ""),
    };
    Acknowledgement {
        verb: first.unwrap_or_default().to_owned(),
        revision,
        nonce: nonce.to_owned(),
        refusal: None,
    }
}

impl Acknowledgement {
    /// The revision that it names.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// Whether it names another revision than the one in question: then it is a stale click.
    pub fn means_another(&self, revision: Option<&RevisionHash>) -> bool {
        let named = self.revision();
        named.is_some_and(|named| revision.map(RevisionHash::as_str) != Some(named))
    }

    /// The entry of the status: done with `message`, or refused where it was.
    pub fn answer(&self, message: &str, now: Timestamp) -> LastCommand {
        let (result, message) = match &self.refusal {
            Some(refusal) => ("Refused", refusal.as_str()),
            None => ("Done", message),
        };
        LastCommand {
            verb: self.verb.clone(),
            revision: self.revision.clone(),
            nonce: self.nonce.clone(),
            result: result.to_owned(),
            message: message.to_owned(),
            time: Some(Time(now)),
        }
    }

    /// The same, refused.
    #[must_use]
    pub fn refuse(mut self, why: &str) -> Self {
        self.refusal = Some(why.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_acknowledged_once() {
        let Command::Given(Verb::Retry, acknowledgement) = read(Some("retry/7"), None) else {
            panic!()
        };
        let last = acknowledgement.answer("done", Timestamp::UNIX_EPOCH);
        assert_eq!((last.verb.as_str(), last.nonce.as_str()), ("retry", "7"));
        assert_eq!(read(Some("retry/7"), Some(&last)), Command::None);
        assert!(matches!(
            read(Some("retry/8"), Some(&last)),
            Command::Given(Verb::Retry, _)
        ));
    }

    #[test]
    fn a_command_that_cannot_be_carried_out_is_refused_with_a_reason() {
        for text in ["", "/", "Promote/1", "dance/abc/1", "retry\u{0}/1"] {
            let Command::Refused(acknowledgement) = read(Some(text), None) else {
                panic!("{text}")
            };
            let answer = acknowledgement.answer("", Timestamp::UNIX_EPOCH);
            assert_eq!(answer.result, "Refused");
            assert!(!answer.message.is_empty());
        }
    }

    #[test]
    fn a_command_without_a_nonce_is_refused_and_told_how_to_write_it() {
        for text in ["resume", "resume/", "approve/0123456789/"] {
            let Command::Refused(acknowledgement) = read(Some(text), None) else {
                panic!("{text} is obeyed")
            };
            let answer = acknowledgement.answer("", Timestamp::UNIX_EPOCH);
            assert_eq!(answer.result, "Refused");
            let written = format!("{}/$(date +%s)", answer.verb);
            assert!(answer.message.contains(&written), "{}", answer.message);
        }
    }

    #[test]
    fn a_command_may_name_a_revision() {
        let Command::Given(Verb::Retry, acknowledgement) = read(Some("retry/0123456789/n"), None)
        else {
            panic!()
        };
        assert_eq!(acknowledgement.revision(), Some("0123456789"));
    }
}
