//! The disruption budget of a revision.

use crds::{RewardModel, labels};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{metadata, selector_of};
use crate::identity::{RevisionHash, names};

/// One pod may be evicted at a time; a pod that is not ready never holds a drain up.
pub fn of_revision(model: &RewardModel, revision: &RevisionHash) -> PodDisruptionBudget {
    let name = names::revision(&model.name_any(), revision);
    PodDisruptionBudget {
        metadata: metadata(model, name, labels::component::SERVER, Some(revision)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(LabelSelector {
                match_labels: Some(selector_of(model, revision)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
