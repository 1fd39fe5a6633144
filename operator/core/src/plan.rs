//! What is to be done: the one function that the shell calls.
//!
//! Owns the order of the stages. Invariants: a plan never fails for a user's mistake (it becomes a
//! condition); the status of a plan holds every decision that its objects act upon; a plan for a
//! resource that is being deleted, or that has a question, does nothing.

mod notices;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crds::RewardModelStatus;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use traffic::evidence::Subject;

use crate::Failure;
use crate::capacity::Percent;
use crate::children;
use crate::evidence;
use crate::gates::{self, Gate, Kind};
use crate::golden::Scoring;
use crate::objects::Desired;
use crate::observed::{Claim, GatewayApi, ObjectKey, Observed, Question};
use crate::promotion::{self, Promotion};
use crate::reading::health::Health;
use crate::reading::resolution::{self, Resolution, Witness};
use crate::reading::{Reading, Route};
use crate::rollout::{self, Decision, Signals};
use crate::state::{Stage, State, Step};
use crate::status;
pub use notices::{Notice, Severity, of_experiment as notices_of_experiment};

/// How often a resource is looked at although nothing was seen to change.
pub const RESYNC: Duration = Duration::from_mins(5);
/// The same while it waits for something that is not watched, such as a claim.
const RETRY: Duration = Duration::from_secs(10);
/// How soon what is said only in Events is looked up again.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// What the routers are to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collects {
    /// Of which rollout.
    pub subject: Subject,
    /// The share that the new revision is to have, where it has anybody to serve it.
    pub share: Percent,
    /// Whether the rollout waits for what they tell, and not for the time of the next look at a gate.
    pub waits: bool,
}

/// What is needed of the routers' evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// It may be forgotten.
    Nothing,
    /// What is known of it.
    Kept,
    /// The routers are to tell more.
    Collected(Collects),
}

/// What is to become of the override annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// It is to be this.
    Ahead(String),
    /// It says nothing any more, and goes: a spec that returns to an older text must not find it.
    Ended,
}

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
    /// What is to become of the annotation that puts an experiment's winner ahead of the spec, after all objects
    /// are written.
    pub set_override: Option<Override>,
    /// Objects that are to be as said.
    pub apply: Vec<Desired>,
    /// Objects that are to go.
    pub delete: Vec<ObjectKey>,
    /// Whether pods that serve are stopped, for a while, on purpose.
    pub stops_pods: bool,
    /// Whether the routers are to be listened to: a rollout is in flight, or one of them does not follow.
    pub listens: bool,
    /// Whether it loads a model or exchanges its routers: not everybody may at once.
    pub loads: bool,
    /// What is needed of the routers' evidence, for [`Observed::ledger`].
    pub evidence: Needed,
    /// Gates that are to be measured now, for [`Observed::gathered`].
    pub due: Vec<Gate>,
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
            set_override: None,
            apply: Vec::new(),
            delete: Vec::new(),
            stops_pods: false,
            listens: false,
            loads: false,
            evidence: Needed::Kept,
            due: Vec::new(),
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
    let own = Reading::of(observed, now);
    match promotion::ahead(&own) {
        Some(observed) => {
            let mut reading = Reading::of(&observed, now);
            reading.is_ahead = true;
            planned(&reading, promotion::of(&own, now), now)
        }
        None => planned(&own, promotion::of(&own, now), now),
    }
}

/// The plan for what the spec, or an experiment ahead of it, asks for.
fn planned(
    reading: &Reading<'_>,
    promotion: Result<Option<Promotion>, Failure>,
    now: Timestamp,
) -> Plan {
    let observed = reading.observed;
    let decision = rollout::decide(reading, now);
    if let Some(word) = &decision.unknown {
        return Plan {
            status: status::hold(reading, &decision, word, now),
            listens: true,
            ..Plan::nothing(observed, BTreeSet::new())
        };
    }
    let questions = questions(reading, &decision, now);
    if !questions.is_empty() {
        return Plan::nothing(observed, questions);
    }
    let signals = rollout::signals(reading, &decision.state, now);
    let mut objects = children::of(reading, &decision, &signals, now);
    let set_override = children::promotion(reading, promotion, &mut objects)
        .map(Override::Ahead)
        .or_else(|| promotion::has_ended(reading).then_some(Override::Ended));
    let status = status::render(reading, &decision, &signals, objects.failure.as_ref(), now);
    Plan {
        questions,
        notices: notices::of(
            &reading.before,
            &status,
            decision.ending.as_ref(),
            decision
                .state
                .rollout
                .as_ref()
                .is_some_and(|flight| rollout::is_rescue(flight, &signals, now)),
        ),
        requeue: requeue(reading, &decision, now),
        status,
        // The last size is what is meant already; an autoscaler finds it here.
        set_replicas: observed
            .model
            .spec
            .replicas
            .is_none()
            .then_some(reading.scale.replicas),
        set_override,
        apply: objects.apply,
        delete: objects.delete,
        stops_pods: objects.stops_pods,
        listens: decision.state.rollout.is_some() || reading.reports.is_behind(),
        loads: loads(reading, &decision.state),
        evidence: needed(reading, &decision.state, &signals, now),
        due: due(reading, &decision.state, now),
    }
}

/// What the routers are to tell of; nothing where nobody would ask.
fn collects(reading: &Reading<'_>, state: &State, signals: &Signals) -> Option<Collects> {
    let rollout = state.rollout.as_ref()?;
    let shadows = rollout.steps.iter().any(Step::is_shadow);
    if reading.gates().is_empty() && !shadows {
        return None;
    }
    // While it has nobody, all are served by the stable one, at hours that the new one never saw.
    let serves = signals.canary.pods.ready > 0;
    Some(Collects {
        subject: evidence::subject(state)?,
        share: if serves {
            rollout.weight
        } else {
            Percent::NONE
        },
        waits: rollout.step().is_some_and(Step::is_shadow),
    })
}

/// It is needed as long as any gate may be looked at again.
fn needed(reading: &Reading<'_>, state: &State, signals: &Signals, now: Timestamp) -> Needed {
    if let Some(collects) = collects(reading, state, signals) {
        return Needed::Collected(collects);
    }
    let gates = reading.gates();
    let (due, next) = gates::due(&gates, state, now);
    if state.rollout.is_some() || !due.is_empty() || next.is_some() {
        Needed::Kept
    } else {
        Needed::Nothing
    }
}

/// The gates that are to be measured before the next plan.
fn due(reading: &Reading<'_>, state: &State, now: Timestamp) -> Vec<Gate> {
    let gates = reading.gates();
    let (due, _) = gates::due(&gates, state, now);
    // What a golden set shows is read off its Job and the records.
    let measured = |gate: &&Gate| !matches!(gate.kind, Kind::Golden(_));
    due.into_iter().filter(measured).cloned().collect()
}

/// Whether a model is loaded or routers are exchanged. One that waits, for room or a human, is not counted.
fn loads(reading: &Reading<'_>, state: &State) -> bool {
    let Some(rollout) = &state.rollout else {
        return reading.exchanges_routers();
    };
    let waits = match reading.side(Some(&rollout.revision), false).health {
        // One that is loaded waits for its golden set, which may be long in coming.
        Health::Unschedulable { .. } | Health::Refused { .. } | Health::Ready => true,
        Health::Absent | Health::Starting { .. } | Health::Failed(_) => false,
    };
    rollout.stage == Stage::Load && !waits && !rollout.paused && !reading.held()
}

/// What a decision cannot do without: the contents of the records in use; and the claim, where pods
/// are going to need it.
fn questions(reading: &Reading<'_>, decision: &Decision, now: Timestamp) -> BTreeSet<Question> {
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
    let traffic = reading.observed.model.spec.traffic.as_ref();
    let routed = traffic.is_some_and(|traffic| traffic.gateway.is_some());
    // A status that tells of a route is how one is known that nobody wants any more.
    if (routed || reading.before.gateway.is_some())
        && reading.observed.gateway_api == GatewayApi::NotAsked
    {
        questions.insert(Question::Route);
    }
    if reading.observed.claim == Claim::NotAsked && !at_rest {
        questions.insert(Question::Claim);
    }
    let podless = job_without_pod(reading).filter(|job| resolution::has_waited(job, now));
    if let (Some(job), None) = (podless, &reading.observed.job_events) {
        questions.insert(Question::JobEvents(job.name_any()));
    }
    if Scoring::of(reading.observed, state).is_some_and(|scoring| scoring.asks()) {
        questions.insert(Question::GoldenSet);
    }
    let waits = matches!(reading.health(state.canary()), Health::Unschedulable { .. });
    if waits && reading.gpus() > 0 && reading.observed.holders.is_none() {
        questions.insert(Question::Holders);
    }
    questions
}

/// The verify Job that is at work and has no pod.
fn job_without_pod<'a>(reading: &'a Reading<'_>) -> Option<&'a Job> {
    let children = &reading.observed.children;
    let name = reading.job.as_ref().map(ResourceExt::name_any)?;
    let mut jobs = children.jobs.iter().map(Arc::as_ref);
    let job = jobs.find(|job| job.name_any() == name)?;
    resolution::has_no_pod(job, &children.pods).then_some(job)
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
    let routed = match reading.route() {
        Route::Accepted(_) | Route::Unwanted { is_there: false } => true,
        Route::Unwanted { is_there: true } | Route::NoApi | Route::Waits(_) | Route::Refused(_) => {
            false
        }
    };
    let waits_unwatched = !routed
        || reading.source.is_err()
        || reading.waits_its_turn(&decision.state)
        || !reading.observed.conflicts.is_empty()
        || reading.observed.refusal.is_some();
    let usual = if waits_unwatched { RETRY } else { RESYNC };
    // Why its pod cannot be made is said in Events, which nobody watches.
    let podless = job_without_pod(reading).map(|_| LOOK_AGAIN);
    [decision.wake_after, late, podless]
        .into_iter()
        .flatten()
        .fold(usual, Duration::min)
}

#[cfg(test)]
mod claims;
#[cfg(test)]
mod confidences;
#[cfg(test)]
mod emergencies;
#[cfg(test)]
mod experiments;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod golden_set;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod rollouts;
#[cfg(test)]
mod routers;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
