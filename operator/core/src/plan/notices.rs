//! Events: what a human reads in `kubectl describe`, made of the difference of two statuses.
//!
//! Invariant: the same two statuses give the same events, and two equal ones give none.

use crds::RewardModelStatus;
use crds::conditions::ConditionType;
use crds::v1alpha1::reward_model::status::Phase;

use crate::rollout::Ending;
use crate::status::condition;

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How grave it is.
    pub severity: Severity,
    /// One word.
    pub reason: String,
    /// What the operator did or saw.
    pub message: String,
}

impl Notice {
    fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Normal,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// The events between two statuses.
pub(super) fn of(
    before: &RewardModelStatus,
    after: &RewardModelStatus,
    ending: Option<&Ending>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    if before.phase != after.phase {
        notices.extend(entered(after));
    }
    match ending {
        None => {}
        Some(Ending::Promoted(revision)) => {
            notices.push(Notice::normal(
                "Promoted",
                format!("revision {revision} takes the traffic"),
            ));
        }
        Some(Ending::Superseded(revision)) => notices.push(Notice::normal(
            "Superseded",
            format!("revision {revision} is given up: the spec asks for another one"),
        )),
        Some(Ending::Failed(revision, failure)) => notices.push(Notice::warning(
            "RolledBack",
            format!(
                "revision {revision} failed ({}): {}",
                failure.reason, failure.message
            ),
        )),
    }
    notices.extend(stalled(before, after));
    notices.extend(commanded(before, after));
    notices
}

fn entered(after: &RewardModelStatus) -> Option<Notice> {
    let message = after.message.clone().unwrap_or_default();
    let reason = match after.phase? {
        Phase::Resolving => "Resolving",
        Phase::Preparing => "RevisionStarted",
        Phase::Ready => "Ready",
        Phase::Pending
        | Phase::Progressing
        | Phase::Paused
        | Phase::Promoting
        | Phase::RollingBack
        | Phase::Degraded => return None,
    };
    Some(Notice::normal(reason, message))
}

fn stalled(before: &RewardModelStatus, after: &RewardModelStatus) -> Option<Notice> {
    let now = condition(&after.conditions, ConditionType::Stalled)?;
    let then = condition(&before.conditions, ConditionType::Stalled);
    let news = then.is_none_or(|then| (&then.reason, &then.message) != (&now.reason, &now.message));
    news.then(|| Notice::warning(&now.reason, now.message.clone()))
}

fn commanded(before: &RewardModelStatus, after: &RewardModelStatus) -> Option<Notice> {
    let command = after.last_command.as_ref()?;
    let news = before.last_command.as_ref() != Some(command);
    news.then(|| {
        let text = format!("{} {}: {}", command.verb, command.result, command.message);
        match command.result.as_str() {
            "Done" => Notice::normal("CommandDone", text),
            _ => Notice::warning("CommandRefused", text),
        }
    })
}
