//! What every controller needs, whatever its kind: caches by owner, one way to write, events.
//!
//! It must not decide, nor know of a kind of ours.

pub(crate) mod access;
pub(crate) mod asking;
pub(crate) mod cache;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod gone;
pub(crate) mod prometheus;
pub(crate) mod scope;
pub(crate) mod writer;

use crds::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

/// The resource that children belong to.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// Its kind.
    pub(crate) kind: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its uid, which an earlier resource of its name had another of.
    pub(crate) uid: String,
    /// What its children name it with.
    reference: Option<OwnerReference>,
}

impl Owner {
    /// `resource` as an owner.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(resource: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            reference: resource.controller_owner_ref(&()),
        }
    }

    /// Whether `object` belongs to this very resource, not to an earlier one of its name.
    pub(crate) fn has<K: ResourceExt>(&self, object: &K) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == self.uid)
    }

    /// Whether `object` was made for a resource of this name and belongs to nobody now, as after a restore
    /// from a backup, or a deletion that left its children.
    pub(crate) fn may_adopt<K: ResourceExt>(&self, object: &K) -> bool {
        let label = |key: &str| object.labels().get(key).map(String::as_str);
        let revision = label(labels::REVISION);
        object.owner_references().is_empty()
            && label(labels::MODEL) == Some(self.name.as_str())
            && label(labels::MANAGED_BY) == Some(labels::OPERATOR)
            && revision.is_none_or(|hash| object.name_any().ends_with(&format!("-{hash}")))
    }

    /// Whether `object` belonged to an earlier resource of this name.
    pub(crate) fn had<K: ResourceExt>(&self, object: &K) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| {
            owner.kind == self.kind && owner.name == self.name && owner.uid != self.uid
        })
    }
}
