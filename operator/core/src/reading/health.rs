//! How a revision's Deployment and pods are doing.
//!
//! Invariant: only what the model or the server did counts as a failure; an eviction, a full
//! cluster, a quota or a lost node never does, however long it takes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::pods;
use crate::Failure;

/// How a revision is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has no Deployment yet, or one that is to have no pods yet.
    Absent,
    /// Its pods start.
    Starting {
        /// What they wait for.
        message: String,
        /// When one of them last came further.
        progressed_at: Option<Timestamp>,
        /// Whether all that is missing are pods that never ran: no pod is in trouble.
        fresh: bool,
    },
    /// No node has room.
    Unschedulable {
        /// The scheduler's words.
        message: String,
        /// Since when the first of its pods waits.
        since: Option<Timestamp>,
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
    all: impl Iterator<Item = &'a Arc<Pod>>,
    wanted: i32,
) -> Health {
    // One that is to have no pods yet is as good as none.
    let Some(deployment) = deployment.filter(|object| wanted == 0 || size(object) != Some(0))
    else {
        return Health::Absent;
    };
    if is_complete(deployment, wanted) {
        return Health::Ready;
    }
    let active: Vec<&Pod> = all
        .map(Arc::as_ref)
        .filter(|pod| pods::is_active(pod))
        .collect();
    if let Some(failure) = active.iter().find_map(|pod| pods::fatal(pod)) {
        return Health::Failed(failure);
    }
    if let Some(message) = replica_failure(deployment) {
        return Health::Refused { message };
    }
    let unplaced = active.iter().filter_map(|pod| pods::unplaced(pod));
    if let Some((message, since)) = unplaced.min_by_key(|(_, since)| *since) {
        return Health::Unschedulable { message, since };
    }
    let ready = ready_replicas(deployment);
    let message = active
        .iter()
        .find_map(|pod| pods::waiting(pod))
        .unwrap_or_else(|| format!("{ready} of {wanted} pods are ready"));
    Health::Starting {
        message,
        progressed_at: active
            .iter()
            .filter_map(|pod| pods::progressed_at(pod))
            .max(),
        fresh: active
            .iter()
            .all(|pod| pods::is_ready(pod) || !pods::has_restarted(pod)),
    }
}

/// Pods of the Deployment that are ready.
pub fn ready_replicas(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// Pods that the Deployment is to have.
pub fn size(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.replicas
}

/// Whether all wanted pods are there and ready. The generation that the Deployment controller has seen
/// says nothing here: an annotation raises it too, and what we change of a Deployment shows in the
/// counts.
fn is_complete(deployment: &Deployment, wanted: i32) -> bool {
    let Some(status) = deployment.status.as_ref() else {
        return false;
    };
    let count = |field: Option<i32>| field.unwrap_or(0) == wanted;
    size(deployment) == Some(wanted)
        && count(status.replicas)
        && count(status.updated_replicas)
        && count(status.ready_replicas)
}

fn replica_failure(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(found.message.clone().unwrap_or_default())
}
