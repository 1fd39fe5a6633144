//! The children of RewardModels, as caches and as the API server has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crds::labels;
use crds::value::Digest;
use futures::Stream;
use futures::stream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::observed::{Children, Kind, ObjectKey, RecordObject};
use operator_core::reading::kept;
use serde::de::DeserializeOwned;

use super::Trigger;
use crate::controllers::shared::Owner;
use crate::controllers::shared::cache::{Cache, slimmed};
use crate::controllers::shared::error::Error;
use crate::controllers::shared::scope::Scope;

/// The caches.
#[derive(Debug)]
pub(super) struct Stores {
    pub(super) records: Arc<Cache<RecordObject>>,
    deployments: Arc<Cache<Deployment>>,
    services: Arc<Cache<Service>>,
    budgets: Arc<Cache<PodDisruptionBudget>>,
    jobs: Arc<Cache<Job>>,
    pods: Arc<Cache<Pod>>,
    slices: Arc<Cache<EndpointSlice>>,
    tables: Arc<Cache<ConfigMap>>,
    accounts: Arc<Cache<ServiceAccount>>,
    roles: Arc<Cache<Role>>,
    bindings: Arc<Cache<RoleBinding>>,
    policies: Arc<Cache<NetworkPolicy>>,
}

/// Starts the watches: the caches, and the resources whose children change.
pub(super) fn watch(
    from: (&Client, &Scope),
) -> (
    Stores,
    impl Stream<Item = ObjectRef<Trigger>> + Send + use<>,
) {
    let (records, s1) = Cache::watch(from, labels::MODEL, whole);
    let (deployments, s2) = Cache::watch(from, labels::MODEL, whole);
    let (services, s3) = Cache::watch(from, labels::MODEL, whole);
    let (budgets, s4) = Cache::watch(from, labels::MODEL, whole);
    let (jobs, s5) = Cache::watch(from, labels::MODEL, slim_job);
    let (pods, s6) = Cache::watch(from, labels::MODEL, slim_pod);
    let (slices, s7) = Cache::watch(from, labels::MODEL, whole);
    let (tables, s8) = Cache::watch(from, labels::MODEL, slim_map);
    let (accounts, s9) = Cache::watch(from, labels::MODEL, whole);
    let (roles, s10) = Cache::watch(from, labels::MODEL, whole);
    let (bindings, s11) = Cache::watch(from, labels::MODEL, whole);
    let (policies, s12) = Cache::watch(from, labels::MODEL, whole);
    let stores = Stores {
        records,
        deployments,
        services,
        budgets,
        jobs,
        pods,
        slices,
        tables,
        accounts,
        roles,
        bindings,
        policies,
    };
    let all = [s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12];
    (stores, stream::select_all(all))
}

const fn whole<K>(_: &mut K) {}

/// What is kept in bytes is read when somebody begins to act: it is large, and no table.
fn slim_map(map: &mut ConfigMap) {
    map.binary_data = None;
}

/// A Job is never changed, so nobody compares what it says.
fn slim_job(job: &mut Job) {
    job.spec = None;
}

/// What a pod says of itself is in its status.
fn slim_pod(pod: &mut Pod) {
    pod.spec = None;
    pod.metadata.annotations = None;
}

impl Stores {
    /// Waits until all caches are filled.
    pub(super) async fn fill(&self) {
        self.records.fill().await;
        self.deployments.fill().await;
        self.services.fill().await;
        self.budgets.fill().await;
        self.jobs.fill().await;
        self.pods.fill().await;
        self.slices.fill().await;
        self.tables.fill().await;
        self.accounts.fill().await;
        self.roles.fill().await;
        self.bindings.fill().await;
        self.policies.fill().await;
    }

    /// Digests that anybody in a namespace names: its caches keep those.
    pub(super) fn digests(&self, namespace: &str) -> BTreeSet<Digest> {
        kept::digests(&Children {
            records: self.records.within(namespace),
            deployments: self.deployments.within(namespace),
            pods: self.pods.within(namespace),
            ..Children::default()
        })
    }

    /// The children of `owner`, as they were seen last.
    pub(super) fn children(&self, owner: &Owner) -> Children {
        let (namespace, name) = (owner.namespace.as_str(), owner.name.as_str());
        Children {
            records: owned(owner, self.records.of(namespace, name)),
            deployments: owned(owner, self.deployments.of(namespace, name)),
            services: owned(owner, self.services.of(namespace, name)),
            budgets: owned(owner, self.budgets.of(namespace, name)),
            jobs: owned(owner, self.jobs.of(namespace, name)),
            pods: self.pods.of(namespace, name),
            slices: self.slices.of(namespace, name),
            tables: owned(owner, self.tables.of(namespace, name)),
            accounts: owned(owner, self.accounts.of(namespace, name)),
            roles: owned(owner, self.roles.of(namespace, name)),
            bindings: owned(owner, self.bindings.of(namespace, name)),
            policies: owned(owner, self.policies.of(namespace, name)),
            routes: Vec::new(),
        }
    }
}

impl Stores {
    /// What was made for a resource of this name and belongs to nobody, at its version.
    pub(super) fn orphans(&self, owner: &Owner) -> Vec<(ObjectKey, Option<String>)> {
        let (namespace, name) = (owner.namespace.as_str(), owner.name.as_str());
        [
            lost(
                owner,
                Kind::ControllerRevision,
                &self.records.of(namespace, name),
            ),
            lost(
                owner,
                Kind::Deployment,
                &self.deployments.of(namespace, name),
            ),
            lost(owner, Kind::Service, &self.services.of(namespace, name)),
            lost(
                owner,
                Kind::PodDisruptionBudget,
                &self.budgets.of(namespace, name),
            ),
            lost(owner, Kind::ConfigMap, &self.tables.of(namespace, name)),
            lost(
                owner,
                Kind::ServiceAccount,
                &self.accounts.of(namespace, name),
            ),
            lost(owner, Kind::Role, &self.roles.of(namespace, name)),
            lost(owner, Kind::RoleBinding, &self.bindings.of(namespace, name)),
            lost(
                owner,
                Kind::NetworkPolicy,
                &self.policies.of(namespace, name),
            ),
        ]
        .concat()
    }
}

fn lost<K: ResourceExt>(
    owner: &Owner,
    kind: Kind,
    objects: &[Arc<K>],
) -> Vec<(ObjectKey, Option<String>)> {
    let orphans = objects
        .iter()
        .filter(|object| owner.may_adopt(object.as_ref()));
    let known = orphans.map(|object| {
        let name = object.name_any();
        (ObjectKey { kind, name }, object.resource_version())
    });
    known.collect()
}

/// `seen` with what decides as the API server has it, before a step that takes something away. What
/// no decision looks at stays as it was seen: a write at an old version is refused.
pub(super) async fn children_now(
    client: &Client,
    owner: &Owner,
    seen: Children,
) -> Result<Children, Error> {
    let (records, deployments, services, jobs, pods, slices, tables) = futures::try_join!(
        list(client, owner, whole),
        list(client, owner, whole),
        list(client, owner, whole),
        list(client, owner, slim_job),
        list(client, owner, slim_pod),
        list(client, owner, whole),
        list(client, owner, whole),
    )?;
    Ok(Children {
        records: owned(owner, records),
        deployments: owned(owner, deployments),
        services: owned(owner, services),
        jobs: owned(owner, jobs),
        pods,
        slices,
        tables: owned(owner, tables),
        ..seen
    })
}

async fn list<K>(client: &Client, owner: &Owner, slim: fn(&mut K)) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let selector = format!("{}={}", labels::MODEL, owner.name);
    let api = Api::<K>::namespaced(client.clone(), &owner.namespace);
    let found = api.list(&ListParams::default().labels(&selector)).await;
    let mut items = found.map_err(Error::api("list the children"))?.items;
    items.sort_by_key(ResourceExt::name_any);
    Ok(items
        .into_iter()
        .map(|item| Arc::new(slimmed(item, slim)))
        .collect())
}

fn owned<K: ResourceExt>(owner: &Owner, mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    objects.retain(|object| owner.has(object.as_ref()));
    objects
}
