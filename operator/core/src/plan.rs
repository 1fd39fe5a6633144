//! What is to be done: the one function that the shell calls.
//!
//! Owns the order of the stages. Invariants: a plan never fails for a user's mistake (it becomes a
//! condition); the status of a plan holds every decision that its objects act upon; a plan for a
//! resource that is being deleted, or that has a question, does nothing.

mod notices;

use std::collections::BTreeSet;
use std::time::Duration;

use crds::RewardModelStatus;
use k8s_openapi::jiff::Timestamp;

use crate::children;
use crate::objects::Desired;
use crate::observed::{Claim, ObjectKey, Observed, Question};
use crate::reading::Reading;
use crate::reading::health::Health;
use crate::reading::resolution::{Resolution, Witness};
use crate::rollout::{self, Decision};
use crate::status;
pub use notices::{Notice, Severity};

/// How often a resource is looked at although nothing was seen to change.
pub const RESYNC: Duration = Duration::from_mins(5);
/// The same while it waits for something that is not watched, such as a claim.
const RETRY: Duration = Duration::from_secs(10);

/// What is to be done for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What has to be looked up before there is a plan. Where something is asked, the rest is empty.
    pub questions: BTreeSet<Question>,
    /// The status; written first, and only if it differs.
    pub status: RewardModelStatus,
    /// `spec.replicas`, to be written once where the spec has none: an autoscaler cannot start from
    /// nothing.
    pub set_replicas: Option<i32>,
    /// Objects that are to be as said.
    pub apply: Vec<Desired>,
    /// Objects that are to go.
    pub delete: Vec<ObjectKey>,
    /// Whether pods that serve are stopped, for a while, on purpose.
    pub stops_pods: bool,
    /// Whether the routers are to be listened to: a rollout is in flight, or one of them does not follow.
    pub listens: bool,
    /// Events.
    pub notices: Vec<Notice>,
    /// When to look again although nothing changes.
    pub requeue: Duration,
}

impl Plan {
    fn nothing(observed: &Observed, questions: BTreeSet<Question>) -> Self {
        Self {
            questions,
            status: observed.model.status.clone().unwrap_or_default(),
            set_replicas: None,
            apply: Vec::new(),
            delete: Vec::new(),
            stops_pods: false,
            listens: false,
            notices: Vec::new(),
            requeue: RESYNC,
        }
    }

    /// Whether the plan takes something away or moves clients, given the status `before`: then what
    /// it was made of has to be read from the API server itself, not from a cache.
    pub fn is_decisive(&self, before: Option<&RewardModelStatus>) -> bool {
        let stable = |status: Option<&RewardModelStatus>| {
            status
                .and_then(|status| status.stable.as_ref())
                .map(|stable| stable.revision.clone())
        };
        let shares = |status: Option<&RewardModelStatus>| -> Vec<(String, Option<i32>)> {
            let shares = status.and_then(|status| status.traffic.as_deref());
            let shares = shares.unwrap_or_default().iter();
            shares
                .map(|share| (share.revision.clone(), share.spec_weight))
                .collect()
        };
        !self.delete.is_empty()
            || self.stops_pods
            || stable(before) != stable(Some(&self.status))
            || shares(before) != shares(Some(&self.status))
    }
}

/// Plans for `observed` at the time `now`.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    if observed.model.metadata.deletion_timestamp.is_some() {
        return Plan::nothing(observed, BTreeSet::new());
    }
    let reading = Reading::of(observed, now);
    let decision = rollout::decide(&reading, now);
    if let Some(word) = &decision.unknown {
        return Plan {
            status: status::hold(&reading, &decision, word, now),
            listens: true,
            ..Plan::nothing(observed, BTreeSet::new())
        };
    }
    let questions = questions(&reading, &decision);
    if !questions.is_empty() {
        return Plan::nothing(observed, questions);
    }
    let signals = rollout::signals(&reading, &decision.state);
    let objects = children::of(&reading, &decision, &signals, now);
    let status = status::render(&reading, &decision, &signals, objects.failure.as_ref(), now);
    Plan {
        questions,
        notices: notices::of(&reading.before, &status, decision.ending.as_ref()),
        requeue: requeue(&reading, &decision, now),
        status,
        // The last size is what is meant already; an autoscaler finds it here.
        set_replicas: observed
            .model
            .spec
            .replicas
            .is_none()
            .then_some(reading.scale.replicas),
        apply: objects.apply,
        delete: objects.delete,
        stops_pods: objects.stops_pods,
        listens: decision.state.rollout.is_some() || reading.reports.is_behind(),
    }
}

/// What a decision cannot do without: the contents of the records in use; and the claim, where pods
/// are going to need it.
fn questions(reading: &Reading<'_>, decision: &Decision) -> BTreeSet<Question> {
    let mut questions = BTreeSet::new();
    let state = &decision.state;
    let witness = match &reading.resolution {
        Resolution::Known {
            by: Witness::Record(hash),
            ..
        } => Some(hash),
        Resolution::Known { .. }
        | Resolution::Running { .. }
        | Resolution::Late(_)
        | Resolution::Failed(_) => None,
    };
    let used = [state.stable(), state.canary(), witness];
    for hash in used.into_iter().flatten() {
        let unread = !reading.observed.contents.contains_key(hash);
        if unread && reading.record(hash).is_some() {
            questions.insert(Question::Content(hash.clone()));
        }
    }
    let at_rest = state.rollout.is_none()
        && state.stable().is_some()
        && state.stable() == reading.target.revision()
        && reading.health(state.stable()) == Health::Ready;
    if reading.observed.claim == Claim::NotAsked && !at_rest {
        questions.insert(Question::Claim);
    }
    questions
}

fn requeue(reading: &Reading<'_>, decision: &Decision, now: Timestamp) -> Duration {
    if decision.moved {
        // The next stage may follow at once.
        return decision.wake_after.unwrap_or(Duration::ZERO);
    }
    let late = match &reading.resolution {
        Resolution::Running {
            deadline: Some(deadline),
            ..
        } => Some(deadline.duration_since(now).unsigned_abs()),
        Resolution::Known { .. }
        | Resolution::Running { .. }
        | Resolution::Late(_)
        | Resolution::Failed(_) => None,
    };
    let waits_unwatched = reading.source.is_err()
        || !reading.observed.conflicts.is_empty()
        || reading.observed.refusal.is_some();
    let usual = if waits_unwatched { RETRY } else { RESYNC };
    [decision.wake_after, late]
        .into_iter()
        .flatten()
        .fold(usual, Duration::min)
}

#[cfg(test)]
mod claims;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
