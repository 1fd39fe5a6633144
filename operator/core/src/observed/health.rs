//! How a revision's Deployment and pods are doing.
//!
//! Invariant: only what the model or the server did counts as a failure; an eviction, a full
//! cluster or a lost node never does.

use crds::conditions::StalledReason;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;

use super::report;
use crate::Failure;

/// Restarts after which a container that dies without a word is given up.
const RESTARTS_GIVEN_UP: i32 = 3;

/// How a revision is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has no Deployment yet.
    Absent,
    /// Its pods start.
    Starting {
        /// What they wait for.
        message: String,
    },
    /// No node has room.
    Unschedulable {
        /// The scheduler's words.
        message: String,
    },
    /// A quota or a policy refuses its pods.
    Refused {
        /// The API server's words.
        message: String,
    },
    /// All its pods are ready.
    Ready,
    /// It cannot run.
    Failed(Failure),
}

/// How a revision of `wanted` pods is doing.
pub fn of<'a>(
    deployment: Option<&Deployment>,
    pods: impl Iterator<Item = &'a Pod>,
    wanted: i32,
) -> Health {
    let Some(deployment) = deployment else {
        return Health::Absent;
    };
    if is_complete(deployment, wanted) {
        return Health::Ready;
    }
    let pods: Vec<&Pod> = pods.collect();
    if let Some(failure) = pods.iter().find_map(|pod| fatal(pod)) {
        return Health::Failed(failure);
    }
    if let Some(message) = condition_message(deployment, "Progressing", "False") {
        let waits = pods.iter().find_map(|pod| waiting(pod)).unwrap_or(message);
        return Health::Failed(Failure::new(
            StalledReason::DeadlineExceeded,
            format!("no progress within rollout.progressDeadline: {waits}"),
        ));
    }
    if let Some(message) = condition_message(deployment, "ReplicaFailure", "True") {
        return Health::Refused { message };
    }
    if let Some(message) = pods.iter().find_map(|pod| unschedulable(pod)) {
        return Health::Unschedulable { message };
    }
    let message = pods
        .iter()
        .find_map(|pod| waiting(pod))
        .unwrap_or_else(|| format!("{} of {wanted} pods are ready", ready_replicas(deployment)));
    Health::Starting { message }
}

/// Pods of the Deployment that are ready.
pub fn ready_replicas(deployment: &Deployment) -> i32 {
    deployment
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0)
}

/// Pods of the Deployment that are there.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment
        .status
        .as_ref()
        .and_then(|status| status.replicas)
        .unwrap_or(0)
}

/// Whether the Deployment controller has seen the newest spec and all wanted pods are ready.
fn is_complete(deployment: &Deployment, wanted: i32) -> bool {
    let Some(status) = deployment.status.as_ref() else {
        return false;
    };
    let seen = status.observed_generation >= deployment.metadata.generation;
    let specified = deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(wanted);
    let count = |field: Option<i32>| field.unwrap_or(0) == wanted;
    seen && specified
        && count(status.replicas)
        && count(status.updated_replicas)
        && count(status.ready_replicas)
}

fn condition_message(deployment: &Deployment, kind: &str, status: &str) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == status)?;
    Some(found.message.clone().unwrap_or_default())
}

/// The failure of a pod that starting it again does not mend.
fn fatal(pod: &Pod) -> Option<Failure> {
    if disrupted(pod) {
        return None;
    }
    let (end, restarts) = report::last_end(pod)?;
    let failure = report::failure_of(pod)?;
    // Exit code 2 is a wrong flag. A load that failed for another reason than the model's own, such
    // as a volume that did not answer, may go well the next time.
    let final_word = end.exit_code == 2 || failure.reason != StalledReason::LoadFailed;
    (final_word || restarts >= RESTARTS_GIVEN_UP).then_some(failure)
}

/// Whether the cluster, not the model, ended the pod.
fn disrupted(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_some()
        || conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|c| c.type_ == "DisruptionTarget" && c.status == "True")
        })
}

/// What the scheduler says of a pod that it cannot place.
pub fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| {
        c.type_ == "PodScheduled"
            && c.status == "False"
            && c.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(
        found
            .message
            .clone()
            .unwrap_or_else(|| "no node has room".to_owned()),
    )
}

/// What a pod's container waits for, such as its image.
pub fn waiting(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let name = pod.metadata.name.as_deref().unwrap_or("a pod");
    Some(match waiting.message.as_deref() {
        Some(message) => format!("{name}: {reason}: {message}"),
        None => format!("{name}: {reason}"),
    })
}
