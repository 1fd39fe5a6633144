//! The Job that reads a model once, without a GPU, before anything is made for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::v1alpha1::reward_model::server::Resources;
use crds::{RewardModel, labels};
use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{child_labels, metadata, pod};
use crate::identity::{Verification, canonical, names};
use crate::observed::Settings;
use crate::spec::Mount;

const CONTAINER: &str = "verify";

/// The Job that does `verification` of the model at `mount`. Its name is made of all that it does:
/// a mended image, resource or placement is another Job, and so is another attempt. It is ended
/// `ends_after` its start where others need what it holds.
pub fn build(
    model: &RewardModel,
    mount: &Mount,
    verification: &Verification,
    ends_after: Option<Duration>,
    settings: &Settings,
) -> Job {
    let marks = BTreeMap::from([(labels::VERIFIED.to_owned(), verification.to_string())]);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(child_labels(model, labels::component::VERIFY, None)),
            annotations: Some(marks.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(model, mount, settings)),
    };
    let work = canonical::short_hash(&canonical::to_value(&template));
    let name = names::verify_job(&model.name_any(), &work, verification.attempt);
    let mut metadata = metadata(model, name, labels::component::VERIFY, None);
    metadata.annotations = Some(marks);
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(3),
            active_deadline_seconds: ends_after
                .map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
            pod_failure_policy: Some(failure_policy()),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// A model that is bad stays bad: exit codes 1 and 2 end the Job. A pod that the cluster took away
/// does not count.
fn failure_policy() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some(CONTAINER.to_owned()),
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

fn pod_spec(model: &RewardModel, mount: &Mount, settings: &Settings) -> PodSpec {
    let server = model.spec.server.clone().unwrap_or_default();
    let mut args: Vec<String> = [
        "verify",
        "--json",
        "--output",
        pod::TERMINATION_LOG,
        "--model",
    ]
    .map(str::to_owned)
    .into();
    args.push(pod::model_folder(mount));
    if let Some(digest) = &model.spec.model.digest {
        args.extend(["--digest".to_owned(), digest.to_string()]);
    }
    // The CPU image: this pod never sees a GPU.
    let image = server
        .image
        .clone()
        .unwrap_or_else(|| settings.server_image.clone());
    let mut container = pod::reader(CONTAINER, image, args);
    container.resources = server
        .resources
        .map(|all| pod::requirements(&without_gpus(all)));
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        containers: vec![container],
        volumes: Some(vec![pod::model_volume(mount)]),
        ..pod::base(&server.pod_template.unwrap_or_default())
    }
}

fn without_gpus(mut resources: Resources) -> Resources {
    for list in [&mut resources.limits, &mut resources.requests]
        .into_iter()
        .flatten()
    {
        list.retain(|name, _| !name.contains('/'));
    }
    resources
}
