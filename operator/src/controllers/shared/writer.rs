//! The one way in which children are written: made, replaced at the version that was seen, deleted.
//!
//! Owns the fence and the no-ops. Invariants: an object that is not ours is neither changed nor
//! removed; one that is already as wanted is not written; a write carries the version that it was
//! decided on, so that nobody's change is overwritten unseen.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use crds::labels;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, ResourceExt};
use operator_core::objects::{Desired, Write, http_route};
use operator_core::observed::{Kind, ObjectKey};
use serde_json::{Map, Value, json};

use super::Owner;
use super::error::Error;
use crate::metrics::Metrics;

/// What became of a wanted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was there as wanted.
    Unchanged,
    /// It was written.
    Written,
    /// Somebody else has an object of that name.
    Taken,
}

/// Writes children.
pub(crate) struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
    /// By uid: what was wanted, and what the API server made of it. Where both are as they were, the
    /// difference is the server's own (a default, a webhook), and writing again would change nothing.
    accepted: Mutex<HashMap<String, (u64, u64)>>,
}

impl Writer {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            accepted: Mutex::default(),
        }
    }

    fn api(&self, owner: &Owner, kind: Kind) -> Api<DynamicObject> {
        let resource = match kind {
            Kind::ControllerRevision => ApiResource::erase::<ControllerRevision>(&()),
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Kind::Job => ApiResource::erase::<Job>(&()),
            Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Kind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Kind::Role => ApiResource::erase::<Role>(&()),
            Kind::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Kind::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Kind::HttpRoute => http_route(),
        };
        Api::namespaced_with(self.client.clone(), &owner.namespace, &resource)
    }

    /// Makes the object, or what is there of it, as wanted.
    pub(crate) async fn write(
        &self,
        owner: &Owner,
        wanted: &Desired,
        live: Option<&Value>,
    ) -> Result<Outcome, Error> {
        match live {
            None => self.create(owner, wanted).await,
            Some(live) if wanted.is_met_by(live) || self.is_accepted(wanted, live) => {
                Ok(Outcome::Unchanged)
            }
            Some(live) => match wanted.write {
                Write::Replace => self.replace(owner, wanted, live).await,
                Write::Marks => self.mark(owner, wanted, live).await,
            },
        }
    }

    async fn create(&self, owner: &Owner, wanted: &Desired) -> Result<Outcome, Error> {
        let (kind, name) = (wanted.key.kind, &wanted.key.name);
        let api = self.api(owner, kind);
        let object = typed(wanted.body.clone())?;
        match api.create(&params(), &object).await {
            Ok(_) => {
                self.metrics.wrote(kind.as_str(), "create");
                tracing::debug!(
                    namespace = owner.namespace,
                    kind = kind.as_str(),
                    name,
                    "made"
                );
                Ok(Outcome::Written)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.holder(owner, &wanted.key).await
            }
            Err(error) => Err(Error::api(format!("create {} {name}", kind.as_str()))(
                error,
            )),
        }
    }

    /// Whose the object of a wanted name is, which the caches do not have.
    pub(crate) async fn holder(&self, owner: &Owner, key: &ObjectKey) -> Result<Outcome, Error> {
        let found = self.api(owner, key.kind).get_metadata_opt(&key.name).await;
        let found = found.map_err(Error::api(format!("look for {}", key.name)))?;
        match found {
            Some(object) if owner.has(&object) => Err(Error::Unseen(key.name.clone())),
            Some(object) if owner.had(&object) => Err(Error::Leftover(key.name.clone())),
            Some(object) if owner.may_adopt(&object) => {
                self.adopt(owner, key, object.resource_version()).await?;
                Err(Error::Unseen(key.name.clone()))
            }
            Some(_) => Ok(Outcome::Taken),
            None => Ok(Outcome::Unchanged),
        }
    }

    /// Makes an object ours, and changes nothing else of it: what is to be of it is decided anew, with it in
    /// sight.
    pub(crate) async fn adopt(
        &self,
        owner: &Owner,
        key: &ObjectKey,
        version: Option<String>,
    ) -> Result<(), Error> {
        let (kind, name) = (key.kind.as_str(), &key.name);
        let patch = json!({ "metadata": {
            "resourceVersion": version,
            "ownerReferences": owner.reference.iter().collect::<Vec<_>>(),
        }});
        let params = PatchParams {
            field_manager: Some(labels::REWARD_MODEL_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.api(owner, key.kind)
            .patch_metadata(name, &params, &Patch::Merge(&patch))
            .await
            .map_err(Error::api(format!("adopt {kind} {name}")))?;
        self.metrics.wrote(kind, "patch");
        tracing::info!(namespace = owner.namespace, kind, name, "adopted");
        Ok(())
    }

    async fn replace(
        &self,
        owner: &Owner,
        wanted: &Desired,
        live: &Value,
    ) -> Result<Outcome, Error> {
        let (kind, name) = (wanted.key.kind, &wanted.key.name);
        let next = typed(replacement(&wanted.body, live))?;
        let before = next.resource_version();
        let written = self.api(owner, kind).replace(name, &params(), &next).await;
        let written = written.map_err(Error::api(format!("replace {} {name}", kind.as_str())))?;
        self.metrics.wrote(kind.as_str(), "replace");
        if written.resource_version() == before {
            self.metrics.wrote_nothing(kind.as_str());
        }
        let uid = written.uid().unwrap_or_default();
        let written = serde_json::to_value(&written)?;
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_met_by(&written) {
            accepted.remove(&uid);
        } else {
            tracing::debug!(
                namespace = owner.namespace,
                kind = kind.as_str(),
                name,
                "the API server keeps a difference"
            );
            accepted.insert(uid, (print(&wanted.body), print(&essence(&written))));
        }
        Ok(Outcome::Written)
    }

    async fn mark(&self, owner: &Owner, wanted: &Desired, live: &Value) -> Result<Outcome, Error> {
        let (kind, name) = (wanted.key.kind, &wanted.key.name);
        let at = |key| wanted.body.pointer(key).cloned().unwrap_or(Value::Null);
        let patch = json!({ "metadata": {
            "resourceVersion": live.pointer("/metadata/resourceVersion"),
            "labels": at("/metadata/labels"),
            "annotations": at("/metadata/annotations"),
            "ownerReferences": at("/metadata/ownerReferences"),
        }});
        let params = PatchParams {
            field_manager: Some(labels::REWARD_MODEL_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.api(owner, kind)
            .patch_metadata(name, &params, &Patch::Merge(&patch))
            .await
            .map_err(Error::api(format!("mark {} {name}", kind.as_str())))?;
        self.metrics.wrote(kind.as_str(), "patch");
        Ok(Outcome::Written)
    }

    fn is_accepted(&self, wanted: &Desired, live: &Value) -> bool {
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let known = uid.and_then(|uid| accepted.get(uid));
        known.is_some_and(|known| *known == (print(&wanted.body), print(&essence(live))))
    }

    /// Deletes an object of ours.
    pub(crate) async fn delete(&self, owner: &Owner, key: &ObjectKey) -> Result<(), Error> {
        let api = self.api(owner, key.kind);
        let doing = || Error::api(format!("delete {} {}", key.kind.as_str(), key.name));
        let Some(object) = api.get_metadata_opt(&key.name).await.map_err(doing())? else {
            return Ok(());
        };
        if !owner.has(&object) {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        if let Some(uid) = &object.metadata.uid {
            let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.remove(uid);
        }
        match api.delete(&key.name, &params).await {
            Ok(_) => {
                self.metrics.wrote(key.kind.as_str(), "delete");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(doing()(error)),
        }
    }
}

/// The kind of another project, which a cluster may lack.
pub(crate) fn http_route() -> ApiResource {
    ApiResource {
        group: http_route::GROUP.to_owned(),
        version: http_route::VERSION.to_owned(),
        api_version: format!("{}/{}", http_route::GROUP, http_route::VERSION),
        kind: http_route::KIND.to_owned(),
        plural: http_route::PLURAL.to_owned(),
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(labels::REWARD_MODEL_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn typed(object: Value) -> Result<DynamicObject, Error> {
    Ok(serde_json::from_value(object)?)
}

/// `wanted` at the version of `live`. Labels and annotations of others stay, those of a pod template
/// too: `kubectl rollout restart` leaves its mark there.
fn replacement(wanted: &Value, live: &Value) -> Value {
    let mut next = wanted.clone();
    if let Some(fields) = next.as_object_mut() {
        fields.remove("status");
    }
    for at in ["/metadata", "/spec/template/metadata"] {
        for part in ["labels", "annotations"] {
            let theirs = live
                .pointer(&format!("{at}/{part}"))
                .and_then(Value::as_object);
            let ours = next.pointer_mut(at).and_then(Value::as_object_mut);
            if let (Some(theirs), Some(ours)) = (theirs, ours) {
                let mut all: Map<String, Value> = theirs.clone();
                all.extend(
                    ours.get(part)
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default(),
                );
                ours.insert(part.to_owned(), all.into());
            }
        }
    }
    if let Some(metadata) = next.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for part in ["resourceVersion", "uid", "finalizers"] {
            let theirs = live.pointer(&format!("/metadata/{part}"));
            metadata.extend(theirs.map(|theirs| (part.to_owned(), theirs.clone())));
        }
    }
    next
}

/// The part of a live object that a write is about.
fn essence(live: &Value) -> Value {
    json!({
        "labels": live.pointer("/metadata/labels"),
        "annotations": live.pointer("/metadata/annotations"),
        "owners": live.pointer("/metadata/ownerReferences"),
        "spec": live.get("spec"),
    })
}

fn print(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_drops_what_was_added_and_keeps_the_marks_of_others() {
        let wanted = json!({"metadata": {"name": "n", "labels": {"a": "1"}}, "spec": {"template": {"metadata": {"labels": {"l": "1"}}, "spec": {"containers": [{"env": []}]}}}});
        let live = json!({
            "metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "2", "b": "3"}, "annotations": {"c": "d"}},
            "spec": {"template": {"metadata": {"labels": {"l": "1"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "t"}}, "spec": {"containers": [{"env": [{"name": "X"}]}], "hostNetwork": true}}},
            "status": {"replicas": 1},
        });
        let next = replacement(&wanted, &live);
        assert_eq!(next["metadata"]["resourceVersion"], "7");
        assert_eq!(next["metadata"]["labels"], json!({"a": "1", "b": "3"}));
        assert_eq!(next["metadata"]["annotations"], json!({"c": "d"}));
        assert_eq!(
            next["spec"]["template"]["metadata"]["annotations"],
            json!({"kubectl.kubernetes.io/restartedAt": "t"})
        );
        assert_eq!(
            next["spec"]["template"]["spec"],
            wanted["spec"]["template"]["spec"]
        );
        assert_eq!(next.get("status"), None);
    }
}
