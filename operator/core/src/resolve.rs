//! What the spec means: which model its source holds, found out by the verify Job.
//!
//! Owns the reading of that Job and of the records that spare it. Invariant: a revision is only
//! known with its digest, and a source that was verified is not verified again.

use crds::conditions::StalledReason;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use crate::Failure;
use crate::identity::VerifyKey;
use crate::observed::record::Record;
use crate::observed::report::{self, ModelFacts, Report};
use crate::observed::{Children, annotation, health};

/// What is known of the spec's source.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The Job is needed, or runs.
    Running {
        /// What it waits for.
        message: String,
        /// Whether it waits for a node.
        unschedulable: bool,
    },
    /// The model is sound.
    Known(ModelFacts),
    /// It is not.
    Failed(Failure),
}

/// What is known of the source that `key` stands for.
pub fn resolve(key: &VerifyKey, records: &[Record], children: &Children) -> Resolution {
    if let Some(record) = records
        .iter()
        .find(|record| record.verified == key.as_str())
    {
        return Resolution::Known(record.content.model.clone());
    }
    let Some(job) = job(key, &children.jobs) else {
        return Resolution::Running {
            message: "the model is going to be verified".to_owned(),
            unschedulable: false,
        };
    };
    let pods: Vec<&Pod> = pods_of(job, &children.pods).collect();
    if let Some(facts) = pods.iter().find_map(|pod| sound(pod)) {
        return Resolution::Known(facts);
    }
    if let Some(message) = condition(job, "Failed") {
        let failure = pods.iter().find_map(|pod| report::failure_of(pod));
        return Resolution::Failed(failure.unwrap_or_else(|| {
            Failure::new(
                StalledReason::LoadFailed,
                format!("the verify Job failed: {message}"),
            )
        }));
    }
    running(job, &pods)
}

/// The Job of a verification.
pub fn job<'a>(key: &VerifyKey, jobs: &'a [Job]) -> Option<&'a Job> {
    jobs.iter().find(|job| {
        annotation(&job.metadata, crds::labels::VERIFIED) == Some(key.as_str())
            && job.metadata.deletion_timestamp.is_none()
    })
}

/// The pods of this very Job: those of an earlier one of its name may still be there.
fn pods_of<'a>(job: &'a Job, pods: &'a [Pod]) -> impl Iterator<Item = &'a Pod> {
    pods.iter().filter(move |pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        job.metadata
            .uid
            .as_ref()
            .is_some_and(|uid| owners.iter().any(|owner| &owner.uid == uid))
    })
}

fn sound(pod: &Pod) -> Option<ModelFacts> {
    let (end, _) = report::last_end(pod)?;
    match report::parse(end.message.as_deref().unwrap_or_default(), end.exit_code) {
        Report::Sound(facts) => Some(facts),
        Report::Failed { .. } => None,
    }
}

fn condition(job: &Job, kind: &str) -> Option<String> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == "True")?;
    Some(found.message.clone().unwrap_or_default())
}

fn running(job: &Job, pods: &[&Pod]) -> Resolution {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if condition(job, "Complete").is_some() {
        let failure = pods.iter().find_map(|pod| report::failure_of(pod));
        return Resolution::Failed(failure.unwrap_or_else(|| {
            Failure::new(
                StalledReason::LoadFailed,
                format!(
                    "the verify Job ended without an answer; delete Job {name} to run it again"
                ),
            )
        }));
    }
    if let Some(message) = pods.iter().find_map(|pod| health::unschedulable(pod)) {
        return Resolution::Running {
            message: format!("the verify pod cannot be placed: {message}"),
            unschedulable: true,
        };
    }
    let waits = pods.iter().find_map(|pod| health::waiting(pod));
    let message = match (waits, pods.is_empty()) {
        (Some(waits), _) => waits,
        (None, false) => "the model is being verified".to_owned(),
        (None, true) => format!(
            "the verify pod is not there yet; if it stays away, `kubectl describe job {name}` names the quota or policy"
        ),
    };
    Resolution::Running {
        message,
        unschedulable: false,
    }
}
