//! Builders of the objects that an owner has: pure, one kind a file.
//!
//! It must not know when an object is wanted ([`crate::children`]). Invariants: a builder sets what the operator owns and leaves the rest to the API server's
//! defaults; pod templates are built for a new revision only, afterwards its record has them.

pub mod deployment;
pub mod disruption_budget;
pub mod fetch;
pub mod golden_job;
pub mod http_route;
pub mod pod;
pub mod record;
pub mod router;
pub(crate) mod serve_args;
pub mod service;
pub mod verify_job;

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::compare;
use crate::identity::RevisionHash;
use crate::observed::{Kind, ObjectKey};

/// Port of the scoring API, on pods and Services.
pub const HTTP_PORT: i32 = 8000;
/// Its name.
pub const HTTP_PORT_NAME: &str = "http";

/// How an object is written where it differs from what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// As a whole, at the version that was seen: what somebody added goes too.
    Replace,
    /// Labels, annotations and owners alone: the rest is written once.
    Marks,
}

/// An object that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its kind and name.
    pub key: ObjectKey,
    /// The object.
    pub body: Value,
    /// How it is written.
    pub write: Write,
}

impl Desired {
    /// The object `object` of the kind `kind`.
    ///
    /// # Errors
    /// Only when it cannot be written as JSON.
    pub fn new<K>(kind: Kind, object: &K, write: Write) -> Result<Self, serde_json::Error>
    where
        K: Resource + Serialize,
    {
        Ok(Self {
            key: ObjectKey {
                kind,
                name: object.meta().name.clone().unwrap_or_default(),
            },
            body: serde_json::to_value(object)?,
            write,
        })
    }

    /// Whether the object that is there is as wanted already.
    pub fn is_met_by(&self, live: &Value) -> bool {
        match self.write {
            Write::Replace => compare::holds(&self.body, live),
            Write::Marks => match (self.body.get("metadata"), live.get("metadata")) {
                (Some(wanted), Some(live)) => compare::holds(wanted, live),
                (_, _) => false,
            },
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

/// A model that is deleted in the foreground stays until its children are gone.
fn owner(model: &RewardModel) -> Option<OwnerReference> {
    let owner = model.controller_owner_ref(&())?;
    Some(OwnerReference {
        block_owner_deletion: Some(true),
        ..owner
    })
}
