//! Events: what a human reads in `kubectl describe`, made of the difference of two statuses.
//!
//! Invariant: the same two statuses give the same events, and two equal ones give none.

use crds::conditions::ConditionType;
use crds::v1alpha1::reward_model::status::{LastCommand, Phase, Verdict};
use crds::{ABExperimentStatus, RewardModelStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::experiment::machine;
use crate::identity::RevisionHash;
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
    /// The revision that it is about.
    pub revision: Option<String>,
}

impl Notice {
    fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Normal,
            reason: reason.to_owned(),
            message: message.into(),
            revision: None,
        }
    }

    fn about(self, revision: &RevisionHash) -> Self {
        Self {
            revision: Some(revision.to_string()),
            ..self
        }
    }

    fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            reason: reason.to_owned(),
            message: message.into(),
            revision: None,
        }
    }
}

/// The events between two statuses.
pub(super) fn of(
    before: &RewardModelStatus,
    after: &RewardModelStatus,
    ending: Option<&Ending>,
    is_rescue: bool,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    notices.extend(rescued(before, after).filter(|_| is_rescue));
    if before.phase != after.phase {
        notices.extend(entered(after));
    }
    notices.extend(shifted(before, after));
    notices.extend(paused(before, after));
    notices.extend(judged(before, after));
    match ending {
        None => {}
        Some(Ending::Promoted { revision, .. }) => {
            let text = format!("revision {revision} takes the traffic");
            notices.push(Notice::normal("Promoted", text).about(revision));
        }
        Some(Ending::Returned { revision, from }) => {
            let text = format!("revision {revision} has the traffic again, in the place of {from}");
            notices.push(Notice::normal("Returned", text).about(revision));
        }
        Some(Ending::Superseded(revision)) => {
            let text = format!("revision {revision} is given up: the spec asks for another one");
            notices.push(Notice::normal("Superseded", text).about(revision));
        }
        Some(Ending::Aborted(revision)) => {
            let text = format!("revision {revision} is given up on command");
            notices.push(Notice::normal("Aborted", text).about(revision));
        }
        Some(Ending::Failed(revision, failure)) => {
            let (reason, message) = (failure.reason, &failure.message);
            let text = format!("revision {revision} failed ({reason}): {message}");
            notices.push(Notice::warning("RolledBack", text).about(revision));
        }
    }
    notices.extend(stalled(&before.conditions, &after.conditions));
    notices.extend(commanded(
        before.last_command.as_ref(),
        after.last_command.as_ref(),
    ));
    notices
}

/// A revision that goes past what was left of its steps, because the stable one is broken.
fn rescued(before: &RewardModelStatus, after: &RewardModelStatus) -> Option<Notice> {
    let kind = |status: &RewardModelStatus| {
        let rollout = status.rollout.as_ref()?;
        Some(rollout.step.as_ref()?.kind.clone())
    };
    let promotes = |status: &RewardModelStatus| kind(status).as_deref() == Some("Promote");
    let revision = after
        .canary
        .as_ref()
        .filter(|_| promotes(after) && !promotes(before));
    let revision = &revision?.revision;
    let text = format!(
        "no pod of the stable revision serves, and it does not recover: revision {revision} takes its place, past the steps, gates and approval that were left"
    );
    Some(Notice {
        revision: Some(revision.clone()),
        ..Notice::warning("StableBroken", text)
    })
}

fn entered(after: &RewardModelStatus) -> Option<Notice> {
    let message = after.message.clone().unwrap_or_default();
    let reason = match after.phase.as_ref()?.known()? {
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

/// Traffic that moves to or from the revision on its way.
fn shifted(before: &RewardModelStatus, after: &RewardModelStatus) -> Option<Notice> {
    let canary = after.canary.as_ref()?;
    let share = |status: &RewardModelStatus| {
        let mut shares = status.traffic.iter().flatten();
        shares
            .find(|share| share.revision == canary.revision)?
            .spec_weight
    };
    let (then, now) = (share(before).unwrap_or(0), share(after)?);
    let step = after
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.step.as_ref());
    let step = step.map_or("", |step| step.progress.as_str());
    (then != now).then(|| Notice {
        revision: Some(canary.revision.clone()),
        ..Notice::normal(
            "TrafficShifted",
            format!(
                "revision {} gets {now} % of the traffic, after {then} % ({step})",
                canary.revision
            ),
        )
    })
}

/// Gates whose verdict is another one: those that let a rollout go on, and those that a human should see.
fn judged(before: &RewardModelStatus, after: &RewardModelStatus) -> Vec<Notice> {
    let then = |name: &str| {
        let mut gates = before.gates.iter().flatten();
        gates.find(|gate| gate.name == name)?.verdict.clone()
    };
    let news = after.gates.iter().flatten().filter_map(|gate| {
        let verdict = gate.verdict.as_ref()?.known()?;
        if then(&gate.name)?.known() == Some(verdict) {
            return None;
        }
        let message = gate.message.clone().unwrap_or_default();
        let text = format!("gate {}: {message}", gate.name);
        match verdict {
            Verdict::Pass => Some(Notice::normal("GatePassed", text)),
            Verdict::Fail => Some(Notice::warning("GateFailed", text)),
            Verdict::Error => Some(Notice::warning("GateError", text)),
            Verdict::Inconclusive | Verdict::NoData => None,
        }
    });
    news.collect()
}

/// A pause that begins, or another reason for it.
fn paused(before: &RewardModelStatus, after: &RewardModelStatus) -> Option<Notice> {
    let now = condition(&after.conditions, ConditionType::Paused)?;
    let then = condition(&before.conditions, ConditionType::Paused);
    let news = then.is_none_or(|then| then.reason != now.reason);
    news.then(|| Notice::normal(&now.reason, now.message.clone()))
}

/// What an experiment tells: what its step did, the answer to a command, and that a human is needed.
pub fn of_experiment(
    before: Option<&ABExperimentStatus>,
    after: &ABExperimentStatus,
    did: &[machine::Notice],
) -> Vec<Notice> {
    let did = did.iter();
    let did = did.map(|notice| Notice::normal(notice.reason, notice.message.clone()));
    let conditions = before.map(|before| before.conditions.as_slice());
    let last = before.and_then(|before| before.last_command.as_ref());
    did.chain(commanded(last, after.last_command.as_ref()))
        .chain(stalled(conditions.unwrap_or_default(), &after.conditions))
        .collect()
}

fn stalled(before: &[Condition], after: &[Condition]) -> Option<Notice> {
    let now = condition(after, ConditionType::Stalled)?;
    let then = condition(before, ConditionType::Stalled);
    let news = then.is_none_or(|then| (&then.reason, &then.message) != (&now.reason, &now.message));
    news.then(|| Notice::warning(&now.reason, now.message.clone()))
}

fn commanded(before: Option<&LastCommand>, after: Option<&LastCommand>) -> Option<Notice> {
    let command = after?;
    let news = before != Some(command);
    news.then(|| {
        let text = format!("{} {}: {}", command.verb, command.result, command.message);
        match command.result.as_str() {
            "Done" => Notice::normal("CommandDone", text),
            _ => Notice::warning("CommandRefused", text),
        }
    })
}
