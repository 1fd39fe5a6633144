//! What the server says at its end: the document that `verify` and `serve` write as the
//! container's termination message.
//!
//! Invariant: whatever a container wrote, or did not, becomes either facts or a failure with a
//! sentence in it.

use crds::conditions::StalledReason;
use crds::value::Digest;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::identity::names;

/// What is known of a model that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFacts {
    /// Digest of its files.
    pub digest: Digest,
    /// Bytes of its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<i64>,
    /// Its architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Seconds that loading it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
}

/// What a container that has ended said.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The model is sound.
    Sound(ModelFacts),
    /// It is not, or the container said nothing that can be read.
    Failed {
        /// The reason, in the words of the condition `Stalled`.
        reason: StalledReason,
        /// What happened and what to do.
        message: String,
    },
}

#[derive(Deserialize)]
struct FailureDocument {
    reason: String,
    message: String,
}

/// The exit code of a program that the loader could not start.
const NOT_STARTED: i32 = 127;
/// The driver's library: it comes from the node, never from an image.
const DRIVER: &str = "libcuda.so.1: cannot open shared object file";

/// Reads a termination message.
pub fn parse(message: &str, exit_code: i32) -> Report {
    if let Some(facts) = facts(message)
        && exit_code == 0
    {
        return Report::Sound(facts);
    }
    if let Ok(document) = serde_json::from_str::<FailureDocument>(message) {
        let reason = StalledReason::parse(&document.reason).unwrap_or(StalledReason::LoadFailed);
        return Report::Failed {
            reason,
            message: document.message,
        };
    }
    let said = last_words(message);
    if exit_code == NOT_STARTED && message.contains(DRIVER) {
        return Report::Failed {
            reason: StalledReason::DriverMissing,
            message: format!(
                "the server's image computes on GPUs, and no driver was found beside it: give its pods a node with NVIDIA's driver (580 or later) and container toolkit and let them ask for nvidia.com/gpu, or take the image without CUDA ({said})"
            ),
        };
    }
    Report::Failed {
        reason: StalledReason::LoadFailed,
        message: format!("the container ended with exit code {exit_code}: {said}"),
    }
}

/// What a container said that ended without a document.
pub(super) fn last_words(message: &str) -> &str {
    let said = message.trim();
    if said.is_empty() {
        "it left no message"
    } else {
        last_characters(said, 1_000)
    }
}

fn facts(message: &str) -> Option<ModelFacts> {
    let facts: ModelFacts = serde_json::from_str(message).ok()?;
    let digits = facts.digest.as_str().strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then_some(facts)
}

fn last_characters(text: &str, count: usize) -> &str {
    let skip = text.chars().count().saturating_sub(count);
    text.char_indices()
        .nth(skip)
        .map_or(text, |(at, _)| text.get(at..).unwrap_or(text))
}

/// What is said of the container that is ours: a mesh or a webhook may have put others before it. While
/// a pod fetches its model, that is the one that does so.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let before = status.init_container_statuses.iter().flatten();
    let fetching = before
        .filter(|container| container.name == names::FETCH)
        .find(|container| !ended_well(container));
    let mut all = status.container_statuses.iter().flatten();
    fetching.or_else(|| all.find(|container| names::CONTAINERS.contains(&container.name.as_str())))
}

fn ended_well(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let end = state.and_then(|state| state.terminated.as_ref());
    end.is_some_and(|end| end.exit_code == 0)
}

/// The last end of a pod's container, and how often it was started again.
pub fn last_end(pod: &Pod) -> Option<(&ContainerStateTerminated, i32)> {
    let container = container(pod)?;
    let now = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let before = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    Some((now.or(before)?, container.restart_count))
}

/// The failure that a pod's last end tells of; `None` while it has not ended, or ended well.
pub fn failure_of(pod: &Pod) -> Option<Failure> {
    let (end, _) = last_end(pod)?;
    match parse(end.message.as_deref().unwrap_or_default(), end.exit_code) {
        Report::Sound(_) => None,
        Report::Failed { .. } if end.exit_code == 0 => None,
        Report::Failed { reason, message } => Some(Failure {
            reason,
            message: explain(end, message),
            pod: pod.metadata.name.clone(),
            exit_code: Some(end.exit_code),
            cut_off: None,
        }),
    }
}

fn explain(end: &ContainerStateTerminated, message: String) -> String {
    if end.reason.as_deref() == Some("OOMKilled") {
        return format!(
            "the container needed more memory than its limit; raise server.resources.limits.memory ({message})"
        );
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_model_is_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(
            r#"{{"ok":true,"digest":"{digest}","bytes":3,"parameters":2,"architecture":"X","loadSeconds":0.5,"new":1}}"#
        );
        let Report::Sound(facts) = parse(&text, 0) else {
            panic!("not sound")
        };
        assert_eq!(facts.digest.as_str(), digest);
        assert_eq!((facts.bytes, facts.parameters), (Some(3), Some(2)));
    }

    #[test]
    fn a_named_reason_is_kept() {
        let report = parse(r#"{"ok":false,"reason":"DigestMismatch","message":"m"}"#, 1);
        assert_eq!(
            report,
            Report::Failed {
                reason: StalledReason::DigestMismatch,
                message: "m".into()
            }
        );
    }

    #[test]
    fn anything_else_is_a_failed_load_with_its_words() {
        for (text, expected) in [
            ("", "it left no message"),
            ("error: unexpected argument", "unexpected argument"),
            ("{\"ok\":tr", "{\"ok\":tr"),
            (r#"{"ok":true,"digest":"sha256:short"}"#, "short"),
            (r#"{"reason":"Unheard","message":"words"}"#, "words"),
        ] {
            let Report::Failed { reason, message } = parse(text, 2) else {
                panic!("{text}")
            };
            assert_eq!(reason, StalledReason::LoadFailed);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_node_without_a_driver_is_told_from_a_broken_image_and_from_a_bad_load() {
        let loader = |library: &str| {
            format!(
                "/usr/local/bin/inference-server: error while loading shared libraries: {library}: cannot open shared object file: No such file or directory\n"
            )
        };
        let reason = |text: &str, code| match parse(text, code) {
            Report::Failed { reason, message } => (reason, message),
            Report::Sound(_) => panic!("{text}"),
        };
        let (missing, message) = reason(&loader("libcuda.so.1"), 127);
        assert_eq!(missing, StalledReason::DriverMissing);
        assert!(message.contains("nvidia.com/gpu"), "{message}");
        assert!(message.contains("libcuda.so.1: cannot open"), "{message}");
        for (text, code) in [
            (loader("libcublas.so.13"), 127),
            (loader("libcuda.so.1"), 1),
            (String::new(), 127),
        ] {
            assert_eq!(reason(&text, code).0, StalledReason::LoadFailed, "{text}");
        }
    }

    #[test]
    fn a_sound_document_with_a_bad_exit_is_not_sound() {
        let text = format!(r#"{{"digest":"sha256:{}"}}"#, "a".repeat(64));
        assert!(matches!(parse(&text, 137), Report::Failed { .. }));
    }

    #[test]
    fn who_fetches_speaks_for_its_pod_until_it_is_done() {
        let end = |code: i32| {
            let message = r#"{"reason":"SourceUnreachable","message":"no"}"#;
            let state = serde_json::json!({"terminated": {"exitCode": code, "message": message}});
            let container = |name: &str, state: serde_json::Value| serde_json::json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
            let waiting = serde_json::json!({"waiting": {"reason": "PodInitializing"}});
            let status = serde_json::json!({
                "initContainerStatuses": [container("istio-init", serde_json::json!({})), container("fetch", state)],
                "containerStatuses": [container("server", waiting)],
            });
            serde_json::from_value::<Pod>(serde_json::json!({"metadata": {}, "status": status}))
                .unwrap()
        };
        let failure = failure_of(&end(1)).unwrap();
        assert_eq!(failure.reason, StalledReason::SourceUnreachable);
        assert_eq!(container(&end(0)).unwrap().name, "server");
    }

    #[test]
    fn long_output_is_cut_at_a_character() {
        let Report::Failed { message, .. } = parse(&"é".repeat(5_000), 1) else {
            panic!()
        };
        assert!(message.ends_with(&"é".repeat(1_000)));
    }
}
