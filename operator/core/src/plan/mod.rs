//! What is to be done: the one function that the shell calls.
//!
//! Owns the order of the stages. Invariants: a plan never fails for a user's mistake (it becomes a
//! condition); the status of a plan holds every decision that its objects act upon; a plan for a
//! resource that is being deleted is empty.

mod children;
mod notices;
mod reading;

use std::time::Duration;

use crds::RewardModelStatus;
use k8s_openapi::jiff::Timestamp;

use crate::commands::Command;
use crate::observed::{ObjectKey, Observed};
use crate::resources::Desired;
use crate::rollout::{self, Ending};
use crate::status;
pub use notices::{Notice, Severity};
pub(crate) use reading::Reading;

/// How often a resource is looked at although nothing was seen to change.
const RESYNC: Duration = Duration::from_mins(5);
/// The same while it waits for something that is not watched, such as a claim.
const RETRY: Duration = Duration::from_secs(10);

/// What is to be done for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status; written first, and only if it differs.
    pub status: RewardModelStatus,
    /// `spec.replicas`, to be written once where the spec has none: an autoscaler cannot start from
    /// nothing.
    pub set_replicas: Option<i32>,
    /// Objects that are to be as said.
    pub apply: Vec<Desired>,
    /// Objects that are to go.
    pub delete: Vec<ObjectKey>,
    /// Events.
    pub notices: Vec<Notice>,
    /// When to look again although nothing changes.
    pub requeue: Duration,
}

impl Plan {
    /// Whether the plan takes something away or moves clients, given the status `before`: then what
    /// it was made of has to be read from the API server itself, not from a cache.
    pub fn is_decisive(&self, before: Option<&RewardModelStatus>) -> bool {
        let stable = |status: Option<&RewardModelStatus>| {
            status
                .and_then(|status| status.stable.as_ref())
                .map(|stable| stable.revision.clone())
        };
        !self.delete.is_empty() || stable(before) != stable(Some(&self.status))
    }
}

/// Plans for `observed` at the time `now`.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let before = observed.model.status.clone().unwrap_or_default();
    if observed.model.metadata.deletion_timestamp.is_some() {
        return Plan {
            status: before,
            set_replicas: None,
            apply: Vec::new(),
            delete: Vec::new(),
            notices: Vec::new(),
            requeue: RESYNC,
        };
    }
    let mut reading = Reading::of(observed);
    let acknowledged = obey(&mut reading, now);
    let transition = rollout::advance(&reading.state, &reading.signals(), now);
    let moved = transition.next != reading.state;
    if let Some(Ending::Failed(revision, failure)) = &transition.ending {
        reading.remember_failed(revision, failure);
    }
    if let Some(Ending::Promoted(revision)) = &transition.ending {
        reading.forget_failed(revision);
    }
    reading.state = transition.next.clone();
    let mut objects = children::of(&reading);
    objects.delete.extend(reading.retried_job.clone());
    let problem = reading.problem(objects.failure.as_ref());
    let mut status = status::render(&reading, problem.as_ref(), transition.ending.as_ref(), now);
    if acknowledged.is_some() {
        status.last_command = acknowledged;
    }
    Plan {
        notices: notices::of(&before, &status, transition.ending.as_ref()),
        requeue: requeue(&reading, moved || reading.retried, transition.wake_after),
        status,
        set_replicas: reading.replicas_to_set(),
        apply: objects.apply,
        delete: objects.delete,
    }
}

/// Carries a command out, and answers it.
fn obey(
    reading: &mut Reading<'_>,
    now: Timestamp,
) -> Option<crds::v1alpha1::reward_model::status::LastCommand> {
    match reading.command() {
        Command::None => None,
        Command::Refused(acknowledgement) => Some(acknowledgement.answer("", now)),
        Command::Retry(acknowledgement) => match reading.retry(acknowledgement.revision()) {
            Ok(message) => Some(acknowledgement.answer(&message, now)),
            Err(refusal) => Some(acknowledgement.refuse(&refusal).answer("", now)),
        },
    }
}

fn requeue(reading: &Reading<'_>, moved: bool, wake_after: Option<Duration>) -> Duration {
    if moved {
        // The next stage may follow at once.
        return wake_after.unwrap_or(Duration::ZERO);
    }
    let waits_unwatched = reading.source.is_err()
        || !reading.observed.conflicts.is_empty()
        || reading.observed.refusal.is_some();
    wake_after.unwrap_or(if waits_unwatched { RETRY } else { RESYNC })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
