//! The router that stands before the revisions of a RewardModel: its pods, what they may read, who
//! may reach them, and the traffic table that they follow.
//!
//! Invariants: a router may read nothing but its own table and the endpoints of its namespace; the port
//! that tells of traffic is open to the operator alone.

mod access;
mod args;
mod network;
pub mod table;

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, PodAffinityTerm,
    PodAntiAffinity, PodSpec, PodTemplateSpec, SecretVolumeSource, Volume, VolumeMount,
    WeightedPodAffinityTerm,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{HTTP_PORT, HTTP_PORT_NAME, child_labels, disruption_budget, metadata, pod};
use crate::identity::names;
use crate::observed::Settings;

pub use access::{account, binding, role};
pub(crate) use args::secret;
pub use network::{policy, servers_policy};

/// The port that tells of traffic.
pub const ADMIN_PORT: i32 = 8001;
/// Its name.
pub const ADMIN_PORT_NAME: &str = "admin";

/// Where the secret of tokens is mounted.
const SECRETS: &str = "/secrets";
const SECRET_VOLUME: &str = "jwt";

/// Labels that select the router's pods.
pub fn selector(model: &RewardModel) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MODEL.to_owned(), model.name_any()),
        (
            labels::COMPONENT.to_owned(),
            labels::component::ROUTER.to_owned(),
        ),
    ])
}

fn own(model: &RewardModel, name: String) -> ObjectMeta {
    metadata(model, name, labels::component::ROUTER, None)
}

/// The router's pods: one more than there are starts before an old one leaves.
pub fn deployment(model: &RewardModel, settings: &Settings) -> Deployment {
    let router = model.spec.traffic.as_ref().and_then(|t| t.router.as_ref());
    Deployment {
        metadata: own(model, names::router(&model.name_any())),
        spec: Some(DeploymentSpec {
            replicas: Some(router.map_or(2, |router| router.replicas)),
            selector: LabelSelector {
                match_labels: Some(selector(model)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(child_labels(model, labels::component::ROUTER, None)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(model, settings)),
            },
            revision_history_limit: Some(1),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// One router may be evicted at a time.
pub fn budget(model: &RewardModel) -> PodDisruptionBudget {
    let metadata = own(model, names::router(&model.name_any()));
    disruption_budget::of(metadata, selector(model))
}

fn pod_spec(model: &RewardModel, settings: &Settings) -> PodSpec {
    let server = model.spec.server.clone().unwrap_or_default();
    let placement = server.pod_template.unwrap_or_default();
    let secret = secret(model);
    PodSpec {
        containers: vec![container(model, settings)],
        volumes: secret.map(|secret| {
            vec![Volume {
                name: SECRET_VOLUME.to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret.name.clone()),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            }]
        }),
        affinity: Some(apart(model)),
        service_account_name: Some(names::router(&model.name_any())),
        automount_service_account_token: Some(true),
        // What places scoring pods on nodes with GPUs does not hold for a pod without one.
        ..pod::base(&crds::v1alpha1::reward_model::server::PodTemplate {
            termination_grace_period_seconds: Some(args::farewell(model)),
            image_pull_secrets: placement.image_pull_secrets,
            priority_class_name: placement.priority_class_name,
            ..Default::default()
        })
    }
}

/// Two routers on one node would go with it.
fn apart(model: &RewardModel) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(model)),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    pod_affinity_term: term,
                    weight: 100,
                },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn container(model: &RewardModel, settings: &Settings) -> Container {
    let router = model.spec.traffic.as_ref().and_then(|t| t.router.as_ref());
    let image = router
        .and_then(|router| router.image.clone())
        .unwrap_or_else(|| settings.server_image.clone());
    let resources = router.and_then(|router| router.resources.as_ref());
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mut container = pod::reader(names::ROUTER, image, args::of(model));
    container.volume_mounts = secret(model).map(|_| {
        vec![VolumeMount {
            name: SECRET_VOLUME.to_owned(),
            mount_path: SECRETS.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]
    });
    Container {
        ports: Some(vec![
            port(HTTP_PORT_NAME, HTTP_PORT),
            port(ADMIN_PORT_NAME, ADMIN_PORT),
        ]),
        env: Some(vec![EnvVar {
            name: "REWARD_POD".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.name".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        }]),
        resources: resources.map(pod::requirements),
        startup_probe: Some(pod::probe("/health/live", 1, 60)),
        readiness_probe: Some(pod::probe("/health/ready", 1, 2)),
        liveness_probe: Some(pod::probe("/health/live", 10, 3)),
        ..container
    }
}
