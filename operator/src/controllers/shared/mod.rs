//! What every controller needs, whatever its kind: caches by owner, one way to write, events.
//!
//! It must not decide, nor know of a kind of ours.

pub(crate) mod cache;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod writer;

use kube::{Resource, ResourceExt};

/// The resource that children belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its kind.
    pub(crate) kind: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its uid, which an earlier resource of its name had another of.
    pub(crate) uid: String,
}

impl Owner {
    /// `resource` as an owner.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(resource: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
        }
    }

    /// Whether `object` belongs to this very resource, not to an earlier one of its name.
    pub(crate) fn has<K: ResourceExt>(&self, object: &K) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == self.uid)
    }

    /// Whether `object` belonged to an earlier resource of this name.
    pub(crate) fn had<K: ResourceExt>(&self, object: &K) -> bool {
        let mut owners = object.owner_references().iter();
        owners.any(|owner| {
            owner.kind == self.kind && owner.name == self.name && owner.uid != self.uid
        })
    }
}
