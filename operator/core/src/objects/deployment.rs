//! The Deployment of a revision. Its pod template comes from the revision's record, never from a
//! builder.

use crds::{RewardModel, labels};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{metadata, selector_of};
use crate::identity::{RevisionHash, names};

/// `replicas` pods of `template`.
pub fn of_revision(
    model: &RewardModel,
    revision: &RevisionHash,
    template: &PodTemplateSpec,
    replicas: i32,
    progress_deadline_seconds: i32,
) -> Deployment {
    let name = names::revision(&model.name_any(), revision);
    Deployment {
        metadata: metadata(model, name, labels::component::SERVER, Some(revision)),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector {
                match_labels: Some(selector_of(model, revision)),
                ..LabelSelector::default()
            },
            template: template.clone(),
            progress_deadline_seconds: Some(progress_deadline_seconds),
            revision_history_limit: Some(1),
            // Its template never changes; should it all the same, no GPU is asked for beyond its own.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
            }),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
