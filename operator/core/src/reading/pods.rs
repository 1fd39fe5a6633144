//! What single pods say.
//!
//! Invariant: a pod that is over, or on its way out, speaks for nobody but itself: it is never a
//! reason to give a revision up.

use crds::conditions::StalledReason;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

use crate::Failure;
use crate::records::{self, container};

/// Restarts after which a container that dies without a word is given up.
const RESTARTS_GIVEN_UP: i32 = 3;

/// Whether the pod has ended and holds nothing any more: an eviction or an admission error leaves
/// such pods behind.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether the pod is there to stay.
pub fn is_active(pod: &Pod) -> bool {
    !is_over(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Whether the pod is there to stay, and ready.
pub fn serves(pod: &Pod) -> bool {
    is_active(pod) && is_ready(pod)
}

/// Whether a container of the pod was started again.
pub fn has_restarted(pod: &Pod) -> bool {
    container(pod).is_some_and(|container| container.restart_count > 0)
}

/// When the pod last came further: made, placed, or ready.
pub fn progressed_at(pod: &Pod) -> Option<Timestamp> {
    let placed = condition(pod, "PodScheduled").filter(|placed| placed.status == "True");
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True");
    [placed, ready]
        .into_iter()
        .flatten()
        .filter_map(|condition| condition.last_transition_time.as_ref())
        .chain(pod.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
        .max()
}

/// The failure of a pod that starting it again does not mend. A container that runs has not failed,
/// whatever the one before it said.
pub fn fatal(pod: &Pod) -> Option<Failure> {
    if runs(pod) || is_ready(pod) || !is_active(pod) || is_disrupted(pod) {
        return None;
    }
    let (end, restarts) = records::last_end(pod)?;
    let failure = records::failure_of(pod)?;
    // Exit code 2 is a wrong flag. A load that failed for another reason than the model's own, such
    // as a volume or a hub that did not answer, may go well the next time; a driver may still be installed.
    let passes = matches!(
        failure.reason,
        StalledReason::LoadFailed | StalledReason::DriverMissing | StalledReason::SourceUnreachable
    );
    let final_word = end.exit_code == 2 || !passes;
    (final_word || restarts >= RESTARTS_GIVEN_UP).then_some(failure)
}

/// Whether the cluster, not the model, ends the pod.
fn is_disrupted(pod: &Pod) -> bool {
    condition(pod, "DisruptionTarget").is_some_and(|condition| condition.status == "True")
}

/// Whether the pod stands in the scheduler's line, or has a place already.
pub fn is_in_line(pod: &Pod) -> bool {
    let gated = condition(pod, "PodScheduled")
        .is_some_and(|placed| placed.reason.as_deref() == Some("SchedulingGated"));
    is_active(pod) && !gated
}

/// Why a pod has no node, and since when: none has room, or a queue's gate holds it back.
pub fn unplaced(pod: &Pod) -> Option<(String, Option<Timestamp>)> {
    let found = condition(pod, "PodScheduled").filter(|c| c.status == "False")?;
    let gated = found.reason.as_deref() == Some("SchedulingGated");
    let unknown = if gated {
        "a scheduling gate holds its pods back"
    } else {
        "no node has room"
    };
    let message = found.message.clone().filter(|words| !words.is_empty());
    // A gate is somebody's own word, and no want of room, however long it holds.
    let since = found.last_transition_time.as_ref().map(|time| time.0);
    let since = since.filter(|_| !gated);
    Some((message.unwrap_or_else(|| unknown.to_owned()), since))
}

/// What a pod's container cannot be made without, such as a Secret that is not there. It is made once
/// that is.
pub fn lacks(pod: &Pod) -> Option<String> {
    let waiting = container(pod)?.state.as_ref()?.waiting.as_ref()?;
    let lacks = waiting.reason.as_deref() == Some("CreateContainerConfigError");
    lacks.then(|| waiting.message.clone().unwrap_or_default())
}

/// Whether a pod's container runs.
pub fn runs(pod: &Pod) -> bool {
    let state = container(pod).and_then(|container| container.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

/// What a pod's container waits for, such as its image. Of one that ends again and again what it said last is
/// told, and not how long it is left alone.
pub fn waiting(pod: &Pod) -> Option<String> {
    let waiting = container(pod)?.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let name = pod.metadata.name.as_deref().unwrap_or("a pod");
    let last = records::failure_of(pod).filter(|_| reason == "CrashLoopBackOff");
    let message = last.map(|failure| failure.message);
    Some(match message.as_deref().or(waiting.message.as_deref()) {
        Some(message) => format!("{name}: {reason}: {message}"),
        None => format!("{name}: {reason}"),
    })
}

/// Whether a pod is placed and none of its containers could be made yet: its volumes are not there, or not yet.
pub fn waits_for_volumes(pod: &Pod) -> bool {
    let waiting = container(pod).and_then(|container| container.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    matches!(reason, Some("ContainerCreating" | "PodInitializing"))
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}
