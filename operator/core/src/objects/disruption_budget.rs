//! The disruption budgets: of a revision's pods, and of the router's.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{metadata, selector_of};
use crate::identity::{RevisionHash, names};

/// The budget of a revision's pods.
pub fn of_revision(model: &RewardModel, revision: &RevisionHash) -> PodDisruptionBudget {
    let name = names::revision(&model.name_any(), revision);
    let metadata = metadata(model, name, labels::component::SERVER, Some(revision));
    of(metadata, selector_of(model, revision))
}

/// One pod may be evicted at a time; a pod that is not ready never holds a drain up.
pub(super) fn of(metadata: ObjectMeta, selector: BTreeMap<String, String>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(LabelSelector {
                match_labels: Some(selector),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
