//! The cluster: a RewardModel whose stable revision is sound, and one faulty canary after the other.
//!
//! Owns all that is asked of Kubernetes. It must not judge what happens. Invariant: the stable revision's
//! pods and the routers are the same ones throughout.

use std::time::Duration;

use anyhow::Context;
use crds::{RewardModel, labels};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use operator_core::identity::{AdminKey, names};
use operator_core::objects::router::ADMIN_PORT;
use serde_json::{Value, json};
use traffic::Weight;
use traffic::table::{self, Role, Table};

use super::Case;
use crate::faulty::TAKES_MS;

/// The RewardModel's name.
const NAME: &str = "rollback";
/// Milliseconds of a score, as of a larger model: the demo's are so quick that ten times as slow is
/// nothing beside what a busy machine adds.
const TAKES: &str = "40";
const MANAGER: &str = "bench-rollback";

/// A namespace with a RewardModel in it.
#[derive(Clone)]
pub(super) struct Scene {
    client: Client,
    namespace: String,
    /// The image of the servers.
    image: String,
    models: Api<RewardModel>,
    pods: Api<Pod>,
}

impl Scene {
    pub(super) fn new(client: Client, namespace: &str, image: &str) -> Self {
        Self {
            models: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            client,
            namespace: namespace.to_owned(),
            image: image.to_owned(),
        }
    }

    /// Begins anew, with the stable revision alone.
    pub(super) async fn begin(&self) -> anyhow::Result<()> {
        let deleted = self.models.delete(NAME, &DeleteParams::foreground()).await;
        if deleted.is_ok() {
            self.until("it is gone", |model| model.is_none()).await?;
        }
        self.apply(&self.spec("tiny-reward-v1", "stable", json!({})))
            .await?;
        self.until("it is ready", |model| {
            let status = model.and_then(|model| model.status.as_ref());
            status.is_some_and(|status| {
                let ready = |condition: &&_| is_true(condition, "Ready");
                status.conditions.iter().find(ready).is_some() && status.canary.is_none()
            })
        })
        .await
    }

    /// Starts a canary, and waits until it has its share.
    pub(super) async fn start(&self, case: Case, run: &str) -> anyhow::Result<String> {
        let rollout = json!({
            "steps": [{"setWeight": case.weight}, {"pause": {}}],
            "fallback": {"enabled": case.fallback},
        });
        let before = self.model().await?;
        let failed = before.status.and_then(|status| status.failed_revisions);
        let failed = failed.unwrap_or_default();
        self.apply(&self.spec("tiny-reward-v2", run, rollout))
            .await?;
        let weight = i32::from(case.weight);
        self.until("the canary has its share", |model| {
            let status = model.and_then(|model| model.status.as_ref());
            let shares = status.and_then(|status| status.traffic.as_ref());
            let stable = status.and_then(|status| status.stable.as_ref());
            let share = shares.into_iter().flatten().find(|share| {
                share.applied_weight == Some(weight)
                    && !failed.contains(&share.revision)
                    && stable.is_some_and(|stable| stable.revision != share.revision)
            });
            share.is_some()
        })
        .await?;
        let status = self.model().await?.status.unwrap_or_default();
        let canary = status.canary.context("the canary is gone again")?;
        Ok(canary.revision)
    }

    /// Takes away what is left of a canary; says whether the operator had done so by itself.
    pub(super) async fn clear(&self, patience: Duration) -> anyhow::Result<bool> {
        let gone = |model: Option<&RewardModel>| {
            let status = model.and_then(|model| model.status.as_ref());
            status.is_some_and(|status| status.canary.is_none())
        };
        let waited = tokio::time::timeout(patience, self.until("it is rolled back", gone)).await;
        if let Ok(waited) = waited {
            return waited.map(|()| true);
        }
        let nonce = crate::faulty::Moment::now().0;
        let command =
            json!({"metadata": {"annotations": {labels::COMMAND: format!("abort/{nonce}")}}});
        self.models
            .patch(NAME, &PatchParams::default(), &Patch::Merge(&command))
            .await?;
        self.until("it is aborted", gone).await?;
        Ok(false)
    }

    /// Addresses of a revision's pods.
    pub(super) async fn servers(&self, revision: Option<&str>) -> anyhow::Result<Vec<String>> {
        let of = revision.map(|revision| format!(",{}={revision}", labels::REVISION));
        self.addresses(labels::component::SERVER, &of.unwrap_or_default())
            .await
    }

    /// The admin ports of the routers, and what opens them.
    pub(super) async fn routers(&self) -> anyhow::Result<(Vec<String>, String)> {
        let addresses = self.addresses(labels::component::ROUTER, "").await?;
        let ports = addresses.into_iter().map(|ip| format!("{ip}:{ADMIN_PORT}"));
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "betterai-system");
        let secret = secrets.get("betterai-admin-key").await?;
        let bytes = secret.data.and_then(|mut data| data.remove("key"));
        let key = bytes.and_then(|bytes| AdminKey::new(bytes.0));
        let uid = self.model().await?.uid().context("no uid")?;
        let key = key.context("the Secret betterai-admin-key has no key")?;
        Ok((ports.collect(), key.token(&uid)))
    }

    /// Where clients send requests, by address: names are not known everywhere.
    pub(super) async fn url(&self) -> anyhow::Result<String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = services.get(&names::endpoint(NAME)).await?;
        let spec = service.spec.unwrap_or_default();
        let ip = spec.cluster_ip.context("the Service has no address")?;
        Ok(format!("{ip}:8000"))
    }

    /// Calls for each canary that a table takes its share from, for ever.
    pub(super) async fn tables(self, mut without: impl FnMut(&str)) -> anyhow::Result<()> {
        let tables: Api<ConfigMap> = Api::namespaced(self.client, &self.namespace);
        let only = format!("metadata.name={}", names::table(NAME));
        let only = watcher::Config::default().fields(&only);
        let mut last = None;
        let mut seen = std::pin::pin!(watcher(tables, only).default_backoff().applied_objects());
        while let Some(object) = seen.try_next().await? {
            let text = object.data.and_then(|mut data| data.remove(table::KEY));
            let read = text.and_then(|text| Table::parse(text.as_bytes()).ok());
            let canary = read.and_then(|table| table.row(Role::Canary).cloned());
            let now = canary.filter(|row| row.weight > Weight::NONE);
            let now = now.map(|row| row.revision.as_str().to_owned());
            match &last {
                Some(before) if now != last => without(before),
                Some(_) | None => {}
            }
            last = now;
        }
        anyhow::bail!("the watch of the table has ended")
    }

    async fn model(&self) -> anyhow::Result<RewardModel> {
        Ok(self.models.get(NAME).await?)
    }

    async fn addresses(&self, component: &str, more: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!(
            "{}={NAME},{}={component}{more}",
            labels::MODEL,
            labels::COMPONENT
        );
        let found = self
            .pods
            .list(&ListParams::default().labels(&selector))
            .await?;
        let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let address = |pod: Pod| pod.status.and_then(|status| status.pod_ip);
        let found: Vec<String> = found
            .items
            .into_iter()
            .filter(stays)
            .filter_map(address)
            .collect();
        anyhow::ensure!(!found.is_empty(), "no pod with {selector}");
        Ok(found)
    }

    async fn until(
        &self,
        what: &str,
        is: impl Fn(Option<&RewardModel>) -> bool + Send,
    ) -> anyhow::Result<()> {
        let patience = Duration::from_mins(2);
        let waiting = Box::pin(await_condition(self.models.clone(), NAME, is));
        let waited = tokio::time::timeout(patience, waiting).await;
        if let Ok(found) = waited {
            found?;
            return Ok(());
        }
        let status = self.models.get_opt(NAME).await?;
        let status = status.and_then(|model| model.status);
        let words = status.map(|status| serde_json::to_string(&status).unwrap_or_default());
        anyhow::bail!(
            "{what}: not within {patience:?}: {}",
            words.unwrap_or_default()
        )
    }

    async fn apply(&self, spec: &Value) -> anyhow::Result<()> {
        let params = PatchParams::apply(MANAGER).force();
        self.models
            .patch(NAME, &params, &Patch::Apply(spec))
            .await?;
        Ok(())
    }

    fn spec(&self, folder: &str, run: &str, rollout: Value) -> Value {
        let mut rollout = rollout;
        if let Some(members) = rollout.as_object_mut() {
            members.insert("rollbackWindow".to_owned(), json!({"warmReplicas": 0}));
        }
        // Another environment makes another revision.
        let env = json!([{"name": "RUN", "value": run}, {"name": TAKES_MS, "value": TAKES}]);
        json!({
            "apiVersion": "betterai.dev/v1alpha1", "kind": "RewardModel",
            "metadata": {"name": NAME, "namespace": self.namespace},
            "spec": {
                "model": {"source": {"pvc": {"claimName": "models", "path": folder}}},
                // What is remembered tells nothing of how fast a revision is.
                "server": {"image": self.image, "env": env, "cache": {"enabled": false}},
                "replicas": 2,
                "traffic": {"key": {"header": "x-user"}},
                "rollout": rollout,
            },
        })
    }
}

fn is_true(
    condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    kind: &str,
) -> bool {
    condition.type_ == kind && condition.status == "True"
}
