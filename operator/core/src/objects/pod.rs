//! Pods that hold a model: the scoring pod of a revision, and what it shares with the verify Job.
//!
//! Invariant: every pod here passes the `restricted` Pod Security level.

use std::collections::BTreeMap;

use crds::v1alpha1::reward_model::model::SecretKey;
use crds::v1alpha1::reward_model::server::{PodTemplate, Resources, Server};
use crds::value::{Digest, Opaque};
use crds::{RewardModel, RewardModelSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{HTTP_PORT, HTTP_PORT_NAME, fetch, selector_of, serve_args};
use crate::identity::{RevisionHash, names};
use crate::observed::Settings;
use crate::spec::{Mount, Source};

/// Where the claim is mounted.
pub const MODELS: &str = "/models";
/// Where a container leaves its last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// The resource that is a GPU.
pub const GPU: &str = "nvidia.com/gpu";

pub(super) const USER: i64 = 1000;
/// The volume that the model is in.
pub(super) const MODEL_VOLUME: &str = "model";

/// What is decided once for a revision, so that its scores are the same in every pod and on every day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// What its files must be.
    pub digest: Digest,
    /// How many bytes they have, where that is known.
    pub bytes: Option<i64>,
    /// The date that chat templates see, as YYYY-MM-DD.
    pub date: String,
    /// Who it is: a router notices by it an address that another revision's pod has by now.
    pub revision: RevisionHash,
}

/// The pod template of a revision.
///
/// # Errors
/// A sentence when a part that is passed through as written is not what Kubernetes knows.
pub fn template(
    model: &RewardModel,
    source: &Source,
    revision: &RevisionHash,
    frozen: &Frozen,
    settings: &Settings,
) -> Result<PodTemplateSpec, String> {
    let server = model.spec.server.clone().unwrap_or_default();
    let more = server.pod_template.clone().unwrap_or_default();
    let before = image_on_cpu(&server, settings);
    let place = fetch::place(source, &frozen.digest, frozen.bytes, &server, before);
    let mut volumes = vec![place.volume];
    volumes.extend(passed::<Volume>("volumes", more.volumes.as_deref())?);
    let mut container = container(&model.spec, &server, place.folder, frozen, settings)?;
    let mounts = passed::<VolumeMount>("volumeMounts", more.volume_mounts.as_deref())?;
    container
        .volume_mounts
        .get_or_insert_default()
        .extend(mounts);
    let own = more.metadata.clone().unwrap_or_default();
    let mut labels = own.labels.unwrap_or_default();
    labels.extend(super::child_labels(
        model,
        crds::labels::component::SERVER,
        Some(revision),
    ));
    labels.extend(selector_of(model, revision));
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: own
                .annotations
                .filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            init_containers: place.before.map(|fetch| vec![fetch]),
            volumes: Some(volumes),
            affinity: more
                .affinity
                .as_ref()
                .map(|affinity| read("server.podTemplate.affinity", affinity))
                .transpose()?,
            topology_spread_constraints: some(passed(
                "topologySpreadConstraints",
                more.topology_spread_constraints.as_deref(),
            )?),
            ..base(&more)
        }),
    })
}

/// A pod specification with what every pod here has: placement and security.
pub fn base(more: &PodTemplate) -> PodSpec {
    PodSpec {
        node_selector: more.node_selector.clone(),
        tolerations: more.tolerations.clone(),
        priority_class_name: more.priority_class_name.clone(),
        runtime_class_name: more.runtime_class_name.clone(),
        scheduler_name: more.scheduler_name.clone(),
        service_account_name: more.service_account_name.clone(),
        image_pull_secrets: more.image_pull_secrets.clone(),
        termination_grace_period_seconds: Some(more.termination_grace_period_seconds.unwrap_or(30)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// An argument as it is written. The kubelet puts variables in the place of `$(NAME)`, and one `$` in that of two:
/// what a user wrote into a template or a path is none of its business.
pub(super) fn literal(argument: &str) -> String {
    argument.replace('$', "$$")
}

/// A container that reads the mounted model and leaves its last words where the operator finds
/// them.
pub fn reader(name: &str, image: String, args: Vec<String>) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image),
        args: Some(args.iter().map(|argument| literal(argument)).collect()),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: MODEL_VOLUME.to_owned(),
            mount_path: MODELS.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// The volume of the model's claim.
pub fn model_volume(mount: &Mount) -> Volume {
    Volume {
        name: MODEL_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: mount.claim.clone(),
            read_only: Some(true),
        }),
        ..Volume::default()
    }
}

/// The model's folder inside the container.
pub fn model_folder(mount: &Mount) -> String {
    if mount.folder.is_empty() {
        MODELS.to_owned()
    } else {
        format!("{MODELS}/{}", mount.folder)
    }
}

/// The server's image: the spec's, else the operator's for the device.
pub fn image(server: &Server, settings: &Settings) -> String {
    let default = match &settings.server_image_cuda {
        Some(cuda) if gpus(server.resources.as_ref()) > 0 => cuda,
        Some(_) | None => &settings.server_image,
    };
    server.image.clone().unwrap_or_else(|| default.clone())
}

/// The image of a container that sees no device: the spec's, unless that is for a server on a GPU. A program for
/// GPUs does not even start where no driver was put beside it.
pub(super) fn image_on_cpu(server: &Server, settings: &Settings) -> String {
    let on_gpu = gpus(server.resources.as_ref()) > 0 && !serve_args::asks_for_cpu(server);
    let own = server.image.clone().filter(|_| !on_gpu);
    own.unwrap_or_else(|| settings.server_image.clone())
}

/// GPUs that one pod asks for.
pub fn gpus(resources: Option<&Resources>) -> i64 {
    let of = |list: &Option<BTreeMap<String, IntOrString>>| {
        list.as_ref()
            .and_then(|list| list.get(GPU))
            .map(|count| match count {
                IntOrString::Int(count) => i64::from(*count),
                IntOrString::String(count) => count.parse().unwrap_or(0),
            })
    };
    resources
        .and_then(|all| of(&all.limits).or_else(|| of(&all.requests)))
        .unwrap_or(0)
}

/// Resources in the words of the container.
pub fn requirements(resources: &Resources) -> ResourceRequirements {
    let quantities = |list: &Option<BTreeMap<String, IntOrString>>| {
        list.as_ref().map(|list| {
            let text = |value: &IntOrString| match value {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(text) => text.clone(),
            };
            list.iter()
                .map(|(name, value)| (name.clone(), Quantity(text(value))))
                .collect()
        })
    };
    ResourceRequirements {
        limits: quantities(&resources.limits),
        requests: quantities(&resources.requests),
        ..ResourceRequirements::default()
    }
}

/// What a container of the server's pods asks for that needs no device.
pub(super) fn requirements_on_cpu(server: &Server) -> Option<ResourceRequirements> {
    let mut all = server.resources.clone()?;
    for list in [&mut all.limits, &mut all.requests].into_iter().flatten() {
        list.retain(|name, _| !name.contains('/'));
    }
    Some(requirements(&all))
}

/// A question to the HTTP port each `period` seconds; so many `failures` in a row count.
pub fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn container(
    spec: &RewardModelSpec,
    server: &Server,
    folder: String,
    frozen: &Frozen,
    settings: &Settings,
) -> Result<Container, String> {
    let mut env = vec![EnvVar {
        name: "REWARD_TERMINATION_LOG".to_owned(),
        value: Some(TERMINATION_LOG.to_owned()),
        ..EnvVar::default()
    }];
    env.extend(redis_url(server));
    env.extend(passed::<EnvVar>("env", server.env.as_deref())?);
    Ok(Container {
        ports: Some(vec![ContainerPort {
            name: Some(HTTP_PORT_NAME.to_owned()),
            container_port: HTTP_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        env: Some(env),
        resources: server.resources.as_ref().map(requirements),
        // A large model may load for an hour; the rollout's progress deadline is what ends it.
        startup_probe: Some(probe("/health/ready", 1, 3600)),
        readiness_probe: Some(probe("/health/ready", 2, 2)),
        liveness_probe: Some(probe("/health/live", 10, 3)),
        ..reader(
            names::SERVER,
            image(server, settings),
            serve_args::of(
                spec,
                server,
                folder,
                frozen,
                gpus(server.resources.as_ref()) > 0,
            ),
        )
    })
}

/// The address of a Redis has its password in it: it stays in its Secret.
fn redis_url(server: &Server) -> Option<EnvVar> {
    let secret = &server.cache.as_ref()?.redis.as_ref()?.url_secret_ref;
    Some(secret_variable("REWARD_REDIS_URL", secret))
}

/// A variable whose value stays in its Secret.
pub(super) fn secret_variable(name: &str, secret: &SecretKey) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

pub(super) fn passed<T: DeserializeOwned>(
    field: &str,
    parts: Option<&[Opaque]>,
) -> Result<Vec<T>, String> {
    let parts = parts.unwrap_or_default().iter().enumerate();
    parts
        .map(|(i, part)| read(&format!("server {field}[{i}]"), part))
        .collect()
}

fn read<T: DeserializeOwned>(field: &str, part: &Opaque) -> Result<T, String> {
    serde_json::from_value(Value::Object(part.0.clone()))
        .map_err(|error| format!("{field} is not what Kubernetes knows under that name: {error}"))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
