//! The Job that reads a model once, without a GPU, before anything is made for it; one that is elsewhere
//! it fetches first.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::value::Digest;
use crds::{RewardModel, labels};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::fetch::{self, Kept};
use super::{child_labels, metadata, pod};
use crate::identity::{Verification, canonical, names};
use crate::observed::Settings;
use crate::spec::{Remote, Source};

/// How often a fetch is begun anew while its source does not answer: for more than an hour.
const TRIES_OF_FETCH: i32 = 14;
/// How often a reading is.
const TRIES: i32 = 3;

/// The Job that does `verification` of the model of `source`. Its name is made of all that it does:
/// a mended image, resource or placement is another Job, and so is another attempt. It is ended
/// `ends_after` its start where others need what it holds. What a cache keeps changes with every
/// revision of anybody, and is no part of the name.
pub fn build(
    model: &RewardModel,
    source: &Source,
    verification: &Verification,
    ends_after: Option<Duration>,
    kept: &Kept<'_>,
    settings: &Settings,
) -> Job {
    let marks = BTreeMap::from([(labels::VERIFIED.to_owned(), verification.to_string())]);
    let mut template = PodTemplateSpec {
        metadata: Some(pod_metadata(model, labels::component::VERIFY, &marks)),
        spec: Some(pod_spec(model, source, settings)),
    };
    let work = canonical::short_hash(&canonical::to_value(&template));
    if let Source::Remote(remote) = source {
        let pods = template.spec.iter_mut();
        for container in pods.flat_map(|pod| &mut pod.containers) {
            let args = container.args.get_or_insert_default();
            args.extend(fetch::sweep_args(remote, kept));
        }
    }
    let name = names::verify_job(&model.name_any(), &work, verification.attempt);
    let mut metadata = metadata(model, name, labels::component::VERIFY, None);
    metadata.annotations = Some(marks);
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(match source {
                Source::Volume(_) => TRIES,
                Source::Remote(_) => TRIES_OF_FETCH,
            }),
            active_deadline_seconds: ends_after
                .map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
            pod_failure_policy: Some(failure_policy(names::VERIFY)),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// What the user wants on pods (the labels of a queue or of costs), and the word to meshes that a pod which
/// ends by itself wants no proxy that does not.
pub(super) fn pod_metadata(
    model: &RewardModel,
    component: &str,
    marks: &BTreeMap<String, String>,
) -> ObjectMeta {
    let server = model.spec.server.as_ref();
    let own = server.and_then(|server| server.pod_template.as_ref()?.metadata.clone());
    let own = own.unwrap_or_default();
    let (mut all, mut annotations) = (
        own.labels.unwrap_or_default(),
        own.annotations.unwrap_or_default(),
    );
    all.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    all.extend(child_labels(model, component, None));
    for (key, value) in [
        ("sidecar.istio.io/inject", "false"),
        ("linkerd.io/inject", "disabled"),
        ("kuma.io/sidecar-injection", "disabled"),
        ("consul.hashicorp.com/connect-inject", "false"),
    ] {
        annotations.insert(key.to_owned(), value.to_owned());
    }
    annotations.extend(marks.clone());
    ObjectMeta {
        labels: Some(all),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

/// A model that is bad stays bad: exit codes 1 and 2 end the Job. A source that does not answer is
/// tried again, and a pod that the cluster took away does not count.
pub(super) fn failure_policy(container: &str) -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some(container.to_owned()),
                    operator: "In".to_owned(),
                    values: vec![1, 2],
                }),
                on_pod_conditions: None,
            },
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
            },
        ],
    }
}

fn pod_spec(model: &RewardModel, source: &Source, settings: &Settings) -> PodSpec {
    let server = model.spec.server.clone().unwrap_or_default();
    let pinned = model.spec.model.digest.as_ref();
    let image = pod::image_on_cpu(&server, settings);
    let (mut container, volume) = match source {
        Source::Volume(mount) => {
            let args = verify_args(pod::model_folder(mount), pinned);
            let container = pod::reader(names::VERIFY, image, args);
            (container, pod::model_volume(mount))
        }
        Source::Remote(remote) => {
            let args = fetch::args(remote, pinned);
            let container = fetch::container(names::VERIFY, image, args, remote, &server);
            (container, fetch::volume(remote))
        }
    };
    container.resources = pod::requirements_on_cpu(&server);
    let mut spec = PodSpec {
        restart_policy: Some("Never".to_owned()),
        containers: vec![container],
        volumes: Some(vec![volume]),
        ..pod::base(&server.pod_template.unwrap_or_default())
    };
    if let (Source::Remote(Remote { cache: Some(_), .. }), Some(security)) =
        (source, &mut spec.security_context)
    {
        // A new volume belongs to root.
        security.fs_group = Some(pod::USER);
        security.fs_group_change_policy = Some("OnRootMismatch".to_owned());
    }
    spec
}

fn verify_args(folder: String, pinned: Option<&Digest>) -> Vec<String> {
    let mut args: Vec<String> = [
        "verify",
        "--json",
        "--output",
        pod::TERMINATION_LOG,
        "--model",
    ]
    .map(str::to_owned)
    .into();
    args.push(folder);
    if let Some(digest) = pinned {
        args.extend(["--digest".to_owned(), digest.to_string()]);
    }
    args
}
