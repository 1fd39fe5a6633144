//! Caches of the objects that RewardModels own, filled by one watch a kind.
//!
//! Invariant: only objects with our label are watched, so that memory follows the number of models
//! and not the size of the cluster.

use std::fmt::Debug;
use std::hash::Hash;

use crds::{RewardModel, labels};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::observed::Children;
use serde::de::DeserializeOwned;

use super::{Trigger, owner_of};

/// The caches.
#[derive(Debug)]
pub(super) struct Stores {
    revisions: Store<ControllerRevision>,
    deployments: Store<Deployment>,
    services: Store<Service>,
    budgets: Store<PodDisruptionBudget>,
    jobs: Store<Job>,
    pods: Store<Pod>,
    slices: Store<EndpointSlice>,
}

/// Starts the watches: the caches, and the resources whose children change.
pub(super) fn watch(
    client: &Client,
) -> (
    Stores,
    impl Stream<Item = ObjectRef<Trigger>> + Send + use<>,
) {
    let (revisions, s1) = one(client);
    let (deployments, s2) = one(client);
    let (services, s3) = one(client);
    let (budgets, s4) = one(client);
    let (jobs, s5) = one(client);
    let (pods, s6) = one(client);
    let (slices, s7) = one(client);
    let stores = Stores {
        revisions,
        deployments,
        services,
        budgets,
        jobs,
        pods,
        slices,
    };
    (stores, stream::select_all([s1, s2, s3, s4, s5, s6, s7]))
}

fn one<K>(client: &Client) -> (Store<K>, BoxStream<'static, ObjectRef<Trigger>>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let (reader, writer) = reflector::store();
    let ours = watcher::Config::default().labels(labels::MODEL);
    let owners = watcher(Api::<K>::all(client.clone()), ours)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .filter_map(|object| async move {
            match object {
                Ok(object) => owner_of(&object),
                Err(error) => {
                    tracing::warn!(%error, "a watch is interrupted");
                    None
                }
            }
        });
    (reader, owners.boxed())
}

impl Stores {
    /// Waits until all caches are filled; false when a watch has ended.
    pub(super) async fn fill(&self) -> bool {
        let Self {
            revisions,
            deployments,
            services,
            budgets,
            jobs,
            pods,
            slices,
        } = self;
        revisions.wait_until_ready().await.is_ok()
            && deployments.wait_until_ready().await.is_ok()
            && services.wait_until_ready().await.is_ok()
            && budgets.wait_until_ready().await.is_ok()
            && jobs.wait_until_ready().await.is_ok()
            && pods.wait_until_ready().await.is_ok()
            && slices.wait_until_ready().await.is_ok()
    }

    /// The children of `model`.
    pub(super) fn children(&self, model: &RewardModel) -> Children {
        Children {
            revisions: owned(model, labelled(model, &self.revisions)),
            deployments: owned(model, labelled(model, &self.deployments)),
            services: owned(model, labelled(model, &self.services)),
            budgets: owned(model, labelled(model, &self.budgets)),
            jobs: owned(model, labelled(model, &self.jobs)),
            pods: labelled(model, &self.pods),
            slices: labelled(model, &self.slices),
        }
    }
}

fn labelled<K>(model: &RewardModel, store: &Store<K>) -> Vec<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let (namespace, name) = (model.namespace(), model.name_any());
    let ours = |object: &K| {
        object.namespace() == namespace && object.labels().get(labels::MODEL) == Some(&name)
    };
    let mut found: Vec<K> = store
        .state()
        .iter()
        .filter(|o| ours(o))
        .map(|o| o.as_ref().clone())
        .collect();
    // A store is a hash map; a plan must not depend on its order.
    found.sort_by_key(ResourceExt::name_any);
    found
}

/// Those that belong to this very resource, not to an earlier one of its name.
pub(super) fn owned<K: ResourceExt>(model: &RewardModel, objects: Vec<K>) -> Vec<K> {
    objects
        .into_iter()
        .filter(|object| belongs(model, object))
        .collect()
}

/// Whether `object` belongs to `model`.
pub(super) fn belongs<K: ResourceExt>(model: &RewardModel, object: &K) -> bool {
    let uid = model.uid();
    object
        .owner_references()
        .iter()
        .any(|o| o.controller == Some(true) && Some(&o.uid) == uid.as_ref())
}
