//! Builders of the objects that a `RewardModel` owns: pure, one kind a file.
//!
//! Invariant: a builder sets what the operator owns and leaves the rest to the API server's
//! defaults. Pod templates are built for a new revision only; afterwards its record has them.

pub mod deployment;
pub mod disruption_budget;
pub mod pod;
pub mod record;
mod serve_args;
pub mod service;
pub mod verify_job;

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::identity::RevisionHash;
use crate::observed::{Kind, ObjectKey};

/// Port of the scoring API, on pods and Services.
pub const HTTP_PORT: i32 = 8000;
/// Its name.
pub const HTTP_PORT_NAME: &str = "http";

/// An object that is wanted.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are Kubernetes kinds")]
pub enum Desired {
    ControllerRevision(Box<ControllerRevision>),
    Deployment(Box<Deployment>),
    Service(Box<Service>),
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    Job(Box<Job>),
}

impl Desired {
    /// Its kind and name.
    pub fn key(&self) -> ObjectKey {
        let (kind, metadata) = match self {
            Self::ControllerRevision(object) => (Kind::ControllerRevision, &object.metadata),
            Self::Deployment(object) => (Kind::Deployment, &object.metadata),
            Self::Service(object) => (Kind::Service, &object.metadata),
            Self::PodDisruptionBudget(object) => (Kind::PodDisruptionBudget, &object.metadata),
            Self::Job(object) => (Kind::Job, &object.metadata),
        };
        ObjectKey {
            kind,
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Metadata of a child: name, labels, and the owner that takes it along when it goes.
pub fn metadata(
    model: &RewardModel,
    name: String,
    component: &str,
    revision: Option<&RevisionHash>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: model.namespace(),
        labels: Some(child_labels(model, component, revision)),
        owner_references: owner(model).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Labels of a child.
pub fn child_labels(
    model: &RewardModel,
    component: &str,
    revision: Option<&RevisionHash>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (labels::MODEL.to_owned(), model.name_any()),
        (labels::COMPONENT.to_owned(), component.to_owned()),
        (labels::MANAGED_BY.to_owned(), labels::OPERATOR.to_owned()),
        (
            "app.kubernetes.io/name".to_owned(),
            "reward-model".to_owned(),
        ),
        ("app.kubernetes.io/instance".to_owned(), model.name_any()),
        (
            "app.kubernetes.io/component".to_owned(),
            component.to_owned(),
        ),
    ]);
    if let Some(revision) = revision {
        all.insert(labels::REVISION.to_owned(), revision.to_string());
    }
    all
}

/// Labels that select the scoring pods of all revisions.
pub fn selector(model: &RewardModel) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MODEL.to_owned(), model.name_any()),
        (
            labels::COMPONENT.to_owned(),
            labels::component::SERVER.to_owned(),
        ),
    ])
}

/// Labels that select the scoring pods of one revision.
pub fn selector_of(model: &RewardModel, revision: &RevisionHash) -> BTreeMap<String, String> {
    let mut all = selector(model);
    all.insert(labels::REVISION.to_owned(), revision.to_string());
    all
}

fn owner(model: &RewardModel) -> Option<OwnerReference> {
    model.controller_owner_ref(&())
}
