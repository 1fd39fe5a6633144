//! What the spec's source holds: which digest, found out by the verify Job.
//!
//! Owns the reading of that Job and of the records that spare it. Invariants: a revision is only
//! known with its digest; a source that was read is not read again, whether its digest is pinned
//! later or not; whatever a user can mend is tried again once it is mended.

use std::sync::Arc;
use std::time::Duration;

use crds::conditions::StalledReason;
use crds::value::Digest;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::pods;
use crate::Failure;
use crate::identity::{RevisionHash, Verification};
use crate::observed::{Children, annotation};
use crate::records::{self, ModelFacts, Record, Report};

/// Seconds after which a fetch is taken to have got through to its source.
const GOES_WELL_AFTER: i64 = 60;

/// What is known of the spec's source.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The model is sound.
    Known {
        /// Its digest.
        digest: Digest,
        /// Who says so.
        by: Witness,
    },
    /// It is being found out.
    Running {
        /// What it waits for.
        message: String,
        /// Whether it waits for a node.
        unschedulable: bool,
        /// When it takes too long, if it may not wait for ever.
        deadline: Option<Timestamp>,
    },
    /// It takes longer than it may; should it end well all the same, it counts.
    Late(Failure),
    /// The model is not sound.
    Failed(Failure),
}

/// Who says what a source holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Witness {
    /// The Job that has read it.
    Job(ModelFacts),
    /// A revision that was made of it before.
    Record(RevisionHash),
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// The reading that counts.
    pub wanted: &'a Verification,
    /// The digest that the spec pins.
    pub pinned: Option<&'a Digest>,
    /// How long that may make no progress.
    pub patience: Duration,
    /// Why the Job has no pod, where that was looked up.
    pub events: Option<&'a [String]>,
    /// Whether the Job fetches the model first.
    pub fetches: bool,
}

impl Inquiry<'_> {
    fn accepts(&self, digest: &Digest) -> bool {
        self.pinned.is_none_or(|pinned| pinned == digest)
    }

    /// What is known already, by the records or a Job. Among several records those in `preferred`
    /// come first, so that what runs goes on.
    pub fn known(
        &self,
        records: &[Record],
        preferred: &[&RevisionHash],
        children: &Children,
    ) -> Option<Resolution> {
        self.recorded(records, preferred)
            .or_else(|| self.reported(children))
    }

    /// How far the Job of the name `job` is, which finds out what is not known.
    pub fn progress(&self, job: &str, children: &Children, now: Timestamp) -> Resolution {
        let job = children
            .jobs
            .iter()
            .find(|found| found.metadata.name.as_deref() == Some(job))
            .filter(|job| job.metadata.deletion_timestamp.is_none());
        let Some(job) = job else {
            return waiting("the model is going to be read");
        };
        let pods: Vec<&Pod> = pods_of(job, &children.pods).collect();
        if let Some(message) = condition(job, "Failed") {
            let failure = pods.iter().find_map(|pod| records::failure_of(pod));
            return Resolution::Failed(failure.unwrap_or_else(|| {
                Failure::new(
                    StalledReason::LoadFailed,
                    format!("the verify Job failed: {message}"),
                )
            }));
        }
        if is_spent(job, &children.pods) {
            return waiting("the answer of the verify Job is lost; it runs again");
        }
        if condition(job, "Complete").is_some() && pods.iter().all(|pod| pods::is_over(pod)) {
            return Resolution::Failed(Failure::new(
                StalledReason::LoadFailed,
                "the verify pod ended well, but without a report: is server.image an inference-server?",
            ));
        }
        self.running(job, &pods, now)
    }

    fn recorded(&self, records: &[Record], preferred: &[&RevisionHash]) -> Option<Resolution> {
        let rank = |record: &Record| {
            let preferred = preferred.contains(&&record.hash);
            let attempt = record.verified.as_ref().map(|verified| verified.attempt);
            (preferred, attempt, record.number)
        };
        let fits = |record: &&Record| {
            let verified = record.verified.as_ref();
            verified.is_some_and(|verified| verified.answers(self.wanted))
                && record
                    .digest
                    .as_ref()
                    .is_some_and(|digest| self.accepts(digest))
        };
        let record = records
            .iter()
            .filter(fits)
            .max_by_key(|record| rank(record))?;
        Some(Resolution::Known {
            digest: record.digest.clone()?,
            by: Witness::Record(record.hash.clone()),
        })
    }

    /// Any Job that has read this source will do, also one that did so before a digest was pinned.
    fn reported(&self, children: &Children) -> Option<Resolution> {
        let read_it = |job: &&Arc<Job>| {
            verification(job).is_some_and(|verified| verified.answers(self.wanted))
        };
        let pods = |job| pods_of(job, &children.pods);
        let facts = children
            .jobs
            .iter()
            .filter(read_it)
            .flat_map(|job| pods(job))
            .filter_map(sound)
            .find(|facts| self.accepts(&facts.digest))?;
        Some(Resolution::Known {
            digest: facts.digest.clone(),
            by: Witness::Job(facts),
        })
    }

    fn running(&self, job: &Job, all: &[&Pod], now: Timestamp) -> Resolution {
        if let Some((message, _)) = all.iter().find_map(|pod| pods::unplaced(pod)) {
            return Resolution::Running {
                message: format!("the verify pod cannot be placed: {message}"),
                unschedulable: true,
                deadline: None,
            };
        }
        let refusal = self.events.and_then(|events| events.last());
        if let (Some(words), []) = (refusal, all) {
            let message = format!("the verify Job gets no pod: {words}");
            return Resolution::Late(Failure::new(StalledReason::QuotaExceeded, message));
        }
        if let Some(trouble) = trouble(all, now) {
            return Resolution::Late(trouble);
        }
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let message = match (all.iter().find_map(|pod| pods::waiting(pod)), all) {
            (Some(words), _) => words,
            (None, []) => format!(
                "the verify pod is not there yet; if it stays away, `kubectl describe job {name}` names the quota, policy or permission"
            ),
            (None, _) if self.fetches => "the model is being fetched".to_owned(),
            (None, _) => "the model is being read".to_owned(),
        };
        let made = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let since = all
            .iter()
            .filter_map(|pod| pods::progressed_at(pod))
            .chain(made)
            .max();
        let deadline = since.and_then(|since| since.checked_add(self.patience).ok());
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Resolution::Late(Failure::new(
                StalledReason::DeadlineExceeded,
                format!(
                    "the model could not be read within rollout.progressDeadline: {message}; should it end well all the same, it counts"
                ),
            ));
        }
        Resolution::Running {
            message,
            unschedulable: false,
            deadline,
        }
    }
}

/// What keeps a Job from its source although it is tried again, or its container from being made.
fn trouble(all: &[&Pod], now: Timestamp) -> Option<Failure> {
    if let Some(lack) = all.iter().find_map(|pod| pods::lacks(pod)) {
        let message = format!(
            "the verify pod cannot start: {lack}: create what it names (model.source names its Secret), and it goes on by itself"
        );
        return Some(Failure::new(StalledReason::SourceUnreachable, message));
    }
    // One that has been at it for a while does better than the one before.
    let goes_well = all.iter().any(|pod| {
        let since = pods::progressed_at(pod).filter(|_| pods::runs(pod));
        since.is_some_and(|since| now.duration_since(since).as_secs() >= GOES_WELL_AFTER)
    });
    let made = |pod: &&&Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let ended = all.iter().filter(|pod| pods::is_over(pod));
    let last = ended.max_by_key(made).filter(|_| !goes_well)?;
    let failure = records::failure_of(last)?;
    (failure.reason == StalledReason::SourceUnreachable).then(|| Failure {
        message: format!("{}; it is tried again", failure.message),
        ..failure
    })
}

fn waiting(message: &str) -> Resolution {
    Resolution::Running {
        message: message.to_owned(),
        unschedulable: false,
        deadline: None,
    }
}

/// Whether a Job that has not ended has no pod.
pub fn has_no_pod(job: &Job, pods: &[Arc<Pod>]) -> bool {
    let ended = condition(job, "Complete").or_else(|| condition(job, "Failed"));
    ended.is_none() && pods_of(job, pods).next().is_none()
}

/// Whether a Job has had the time to get a pod.
pub fn has_waited(job: &Job, now: Timestamp) -> bool {
    let made = job.metadata.creation_timestamp.as_ref();
    made.is_some_and(|made| now.duration_since(made.0).as_secs() >= 2)
}

/// Which reading a Job does.
pub fn verification(job: &Job) -> Option<Verification> {
    annotation(&job.metadata, crds::labels::VERIFIED).and_then(Verification::parse)
}

/// Whether a Job has ended well, and its pods, with the answer, are gone.
pub fn is_spent(job: &Job, pods: &[Arc<Pod>]) -> bool {
    condition(job, "Complete").is_some() && pods_of(job, pods).next().is_none()
}

/// The pods of this very Job: those of an earlier one of its name may still be there.
pub(crate) fn pods_of<'a>(job: &'a Job, pods: &'a [Arc<Pod>]) -> impl Iterator<Item = &'a Pod> {
    pods.iter().map(Arc::as_ref).filter(move |pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        job.metadata
            .uid
            .as_ref()
            .is_some_and(|uid| owners.iter().any(|owner| &owner.uid == uid))
    })
}

/// What a pod found that has read a model, and found it sound.
pub(super) fn sound(pod: &Pod) -> Option<ModelFacts> {
    let (end, _) = records::last_end(pod)?;
    match records::parse(end.message.as_deref().unwrap_or_default(), end.exit_code) {
        Report::Sound(facts) => Some(facts),
        Report::Failed { .. } => None,
    }
}

/// What a condition of a Job says that is true.
pub(crate) fn condition(job: &Job, kind: &str) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == "True")?;
    Some(found.message.clone().unwrap_or_default())
}
