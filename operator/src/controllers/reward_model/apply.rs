//! Writes of children: server-side apply of what differs, and deletes.
//!
//! Invariant: an object that is not ours is neither changed nor removed, and one that is already as
//! wanted is not written.

use std::fmt::Debug;

use crds::conditions::StalledReason;
use crds::{RewardModel, labels};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use operator_core::Failure;
use operator_core::compare;
use operator_core::observed::{Kind, ObjectKey, Observed};
use operator_core::plan::Plan;
use operator_core::resources::Desired;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::error::Error;
use super::stores::belongs;

/// Who has an object of a wanted name.
enum Holder {
    Nobody,
    Us,
    Somebody,
    /// An earlier resource of this name, whose objects are still going.
    Predecessor,
}

impl Context {
    /// Wanted objects whose name somebody else has. Only names that are not in the caches are asked
    /// for.
    pub(super) async fn conflicts(
        &self,
        observed: &Observed,
        plan: &Plan,
    ) -> Result<Vec<ObjectKey>, Error> {
        let mut conflicts = Vec::new();
        for object in &plan.apply {
            let holder = match object {
                Desired::ControllerRevision(o) => {
                    self.holder(observed, o.as_ref(), &observed.children.revisions)
                        .await?
                }
                Desired::Deployment(o) => {
                    self.holder(observed, o.as_ref(), &observed.children.deployments)
                        .await?
                }
                Desired::Service(o) => {
                    self.holder(observed, o.as_ref(), &observed.children.services)
                        .await?
                }
                Desired::PodDisruptionBudget(o) => {
                    self.holder(observed, o.as_ref(), &observed.children.budgets)
                        .await?
                }
                Desired::Job(o) => {
                    self.holder(observed, o.as_ref(), &observed.children.jobs)
                        .await?
                }
            };
            match holder {
                Holder::Nobody | Holder::Us => {}
                Holder::Somebody => conflicts.push(object.key()),
                Holder::Predecessor => return Err(Error::Leftover(object.key().name)),
            }
        }
        Ok(conflicts)
    }

    async fn holder<K>(&self, observed: &Observed, wanted: &K, known: &[K]) -> Result<Holder, Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let (model, name) = (&observed.model, wanted.name_any());
        if known.iter().any(|object| object.name_any() == name) {
            return Ok(Holder::Us);
        }
        let found = self.api::<K>(model).get_metadata_opt(&name).await;
        Ok(
            match found.map_err(Error::api(format!("look for {name}")))? {
                None => Holder::Nobody,
                Some(object) if belongs(model, &object) => Holder::Us,
                Some(object) => {
                    let owners = object.owner_references();
                    let ours = owners
                        .iter()
                        .any(|o| o.kind == "RewardModel" && o.name == model.name_any());
                    if ours {
                        Holder::Predecessor
                    } else {
                        Holder::Somebody
                    }
                }
            },
        )
    }

    /// Applies the objects that differ from what is there. What the API server refuses becomes part
    /// of the next status; answers whether it will say something new.
    pub(super) async fn apply(
        &self,
        observed: &Observed,
        wanted: &[Desired],
    ) -> Result<bool, Error> {
        let (model, children) = (&observed.model, &observed.children);
        let mut refusal = None;
        for object in wanted {
            let key = object.key();
            let outcome = match object {
                Desired::ControllerRevision(o) => {
                    self.put(model, o.as_ref(), &children.revisions, key.kind)
                        .await
                }
                Desired::Deployment(o) => {
                    self.put(model, o.as_ref(), &children.deployments, key.kind)
                        .await
                }
                Desired::Service(o) => {
                    self.put(model, o.as_ref(), &children.services, key.kind)
                        .await
                }
                Desired::PodDisruptionBudget(o) => {
                    self.put(model, o.as_ref(), &children.budgets, key.kind)
                        .await
                }
                Desired::Job(o) => self.put(model, o.as_ref(), &children.jobs, key.kind).await,
            };
            match outcome {
                Ok(()) => {}
                Err(error) => match refused(&error, &key) {
                    Some(failure) => refusal = refusal.or(Some(failure)),
                    None => return Err(error),
                },
            }
        }
        let news = refusal != observed.refusal;
        self.refused(model, refusal);
        Ok(news)
    }

    async fn put<K>(
        &self,
        model: &RewardModel,
        wanted: &K,
        known: &[K],
        kind: Kind,
    ) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let name = wanted.name_any();
        let desired = serde_json::to_value(wanted)?;
        if let Some(live) = known.iter().find(|object| object.name_any() == name)
            && compare::holds(&desired, &serde_json::to_value(live)?)
        {
            return Ok(());
        }
        let params = PatchParams::apply(labels::REWARD_MODEL_MANAGER).force();
        self.api::<K>(model)
            .patch(&name, &params, &Patch::Apply(&desired))
            .await
            .map_err(Error::api(format!("apply {} {name}", kind.as_str())))?;
        self.metrics.wrote(kind.as_str(), "apply");
        tracing::debug!(
            namespace = model.namespace(),
            kind = kind.as_str(),
            name,
            "applied"
        );
        Ok(())
    }

    /// Deletes objects of ours.
    pub(super) async fn delete(
        &self,
        model: &RewardModel,
        keys: &[ObjectKey],
    ) -> Result<(), Error> {
        for key in keys {
            match key.kind {
                Kind::ControllerRevision => self.remove::<ControllerRevision>(model, key).await?,
                Kind::Deployment => self.remove::<Deployment>(model, key).await?,
                Kind::Service => self.remove::<Service>(model, key).await?,
                Kind::PodDisruptionBudget => self.remove::<PodDisruptionBudget>(model, key).await?,
                Kind::Job => self.remove::<Job>(model, key).await?,
            }
        }
        Ok(())
    }

    async fn remove<K>(&self, model: &RewardModel, key: &ObjectKey) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api(model);
        let doing = || Error::api(format!("delete {} {}", key.kind.as_str(), key.name));
        let Some(object) = api.get_metadata_opt(&key.name).await.map_err(doing())? else {
            return Ok(());
        };
        if !belongs(model, &object) {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match api.delete(&key.name, &params).await {
            Ok(_) => {
                self.metrics.wrote(key.kind.as_str(), "delete");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(doing()(error)),
        }
    }
}

/// What the API server says of an object that it will not have: the user's to mend.
fn refused(error: &Error, key: &ObjectKey) -> Option<Failure> {
    let Error::Api { source, .. } = error else {
        return None;
    };
    let kube::Error::Api(status) = source.as_ref() else {
        return None;
    };
    let reason = match status.code {
        400 | 422 => StalledReason::InvalidSpec,
        403 if status.message.contains("being terminated") => return None,
        403 => StalledReason::QuotaExceeded,
        _ => return None,
    };
    let (kind, name) = (key.kind.as_str(), &key.name);
    Some(Failure::new(
        reason,
        format!("the API server refuses {kind} {name}: {}", status.message),
    ))
}
