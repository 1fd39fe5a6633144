//! What a reconcile reads, and the writes that are not children: status, replicas, events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crds::{RewardModel, RewardModelStatus, labels};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::Failure;
use operator_core::observed::{Children, Claim, Observed, Settings};
use operator_core::plan::{Notice, Severity};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::error::Error;
use super::stores::{Stores, owned};
use super::{KIND, Trigger};
use crate::metrics::Metrics;

/// What all reconciles share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stores: Stores,
    synced: watch::Receiver<bool>,
    settings: Settings,
    recorder: Recorder,
    /// By uid. Lost at a restart, which costs one more try each.
    troubles: Mutex<HashMap<String, Trouble>>,
}

/// What went wrong with a resource of late.
#[derive(Clone, Debug, Default)]
struct Trouble {
    failures: u32,
    refusal: Option<Failure>,
}

impl Context {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        metrics: Arc<Metrics>,
        stores: Stores,
        synced: watch::Receiver<bool>,
    ) -> Self {
        let reporter = Reporter {
            controller: labels::OPERATOR.to_owned(),
            instance: instance(),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            metrics,
            stores,
            synced,
            settings,
            recorder,
            troubles: Mutex::default(),
        }
    }

    /// Waits until all caches are filled.
    pub(super) async fn synced(&self) {
        let mut synced = self.synced.clone();
        // An error means that the controller is ending; then the reconcile ends with it.
        let _ = synced.wait_for(|filled| *filled).await;
    }

    pub(super) fn api<K>(&self, model: &impl ResourceExt) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &model.namespace().unwrap_or_default())
    }

    /// The resource as the API server has it: a cached status could be older than what was decided
    /// last.
    pub(super) async fn read(&self, trigger: &Trigger) -> Result<Option<RewardModel>, Error> {
        let models: Api<RewardModel> = self.api(trigger);
        models
            .get_opt(&trigger.name_any())
            .await
            .map_err(Error::api("read the RewardModel"))
    }

    pub(super) async fn observe(&self, model: RewardModel) -> Result<Observed, Error> {
        Ok(Observed {
            children: self.stores.children(&model),
            claim: self.claim(&model).await?,
            conflicts: Vec::new(),
            refusal: self.trouble(&model.uid().unwrap_or_default()).refusal,
            settings: self.settings.clone(),
            model,
        })
    }

    async fn claim(&self, model: &RewardModel) -> Result<Claim, Error> {
        let Some(pvc) = &model.spec.model.source.pvc else {
            return Ok(Claim::NotNeeded);
        };
        let claims: Api<PersistentVolumeClaim> = self.api(model);
        let found = claims
            .get_opt(&pvc.claim_name)
            .await
            .map_err(Error::api("read the claim"))?;
        let Some(claim) = found else {
            return Ok(Claim::Missing);
        };
        let phase = claim.status.and_then(|status| status.phase);
        let access = claim
            .spec
            .and_then(|spec| spec.access_modes)
            .unwrap_or_default();
        Ok(Claim::Present {
            lost: phase.as_deref() == Some("Lost"),
            one_pod_only: access == ["ReadWriteOncePod"],
        })
    }

    /// The children as the API server has them, before a step that takes something away.
    pub(super) async fn children_now(&self, model: &RewardModel) -> Result<Children, Error> {
        Ok(Children {
            revisions: owned(model, self.list(model).await?),
            deployments: owned(model, self.list(model).await?),
            services: owned(model, self.list(model).await?),
            budgets: owned(model, self.list(model).await?),
            jobs: owned(model, self.list(model).await?),
            pods: self.list(model).await?,
            slices: self.list(model).await?,
        })
    }

    async fn list<K>(&self, model: &RewardModel) -> Result<Vec<K>, Error>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let selector = format!("{}={}", labels::MODEL, model.name_any());
        let found = self
            .api::<K>(model)
            .list(&ListParams::default().labels(&selector))
            .await;
        let mut items = found.map_err(Error::api("list the children"))?.items;
        items.sort_by_key(ResourceExt::name_any);
        Ok(items)
    }

    /// Writes the status if it differs. It carries the version that was read: if the resource has
    /// moved on since, nothing is written and the reconcile begins anew.
    pub(super) async fn write_status(
        &self,
        model: &RewardModel,
        status: &RewardModelStatus,
    ) -> Result<(), Error> {
        if model.status.as_ref() == Some(status) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": RewardModel::api_version(&()),
            "kind": RewardModel::kind(&()),
            "metadata": { "resourceVersion": model.resource_version() },
            "status": status,
        });
        let params = PatchParams::apply(labels::REWARD_MODEL_MANAGER).force();
        let models: Api<RewardModel> = self.api(model);
        models
            .patch_status(&model.name_any(), &params, &Patch::Apply(&patch))
            .await
            .map_err(Error::api("write the status"))?;
        self.metrics.wrote(KIND, "status");
        Ok(())
    }

    pub(super) async fn write_replicas(
        &self,
        model: &RewardModel,
        replicas: Option<i32>,
    ) -> Result<(), Error> {
        let Some(replicas) = replicas else {
            return Ok(());
        };
        let params = PatchParams {
            field_manager: Some(labels::REWARD_MODEL_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = json!({ "spec": { "replicas": replicas } });
        let models: Api<RewardModel> = self.api(model);
        models
            .patch(&model.name_any(), &params, &Patch::Merge(&patch))
            .await
            .map_err(Error::api("write spec.replicas"))?;
        self.metrics.wrote(KIND, "replicas");
        Ok(())
    }

    /// Best effort: an event that is lost must not hold a rollout up.
    pub(super) async fn publish(&self, model: &RewardModel, notices: &[Notice]) {
        for notice in notices {
            tracing::info!(
                namespace = model.namespace(),
                name = model.name_any(),
                reason = notice.reason,
                "{}",
                notice.message
            );
            let event = Event {
                type_: match notice.severity {
                    Severity::Normal => EventType::Normal,
                    Severity::Warning => EventType::Warning,
                },
                reason: notice.reason.clone(),
                note: Some(notice.message.chars().take(1_000).collect()),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &model.object_ref(&())).await {
                tracing::warn!(%error, "an event is lost");
            }
        }
    }

    fn trouble(&self, uid: &str) -> Trouble {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(uid).cloned().unwrap_or_default()
    }

    fn change_trouble(&self, uid: &str, change: impl FnOnce(&mut Trouble)) -> Trouble {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = troubles.entry(uid.to_owned()).or_default();
        change(trouble);
        trouble.clone()
    }

    /// Remembers that the API server refused an object, so that the status can say so.
    pub(super) fn refused(&self, model: &RewardModel, refusal: Option<Failure>) {
        self.change_trouble(&model.uid().unwrap_or_default(), |trouble| {
            trouble.refusal = refusal;
        });
    }

    pub(super) fn recovered(&self, trigger: &Trigger) {
        let uid = trigger.uid().unwrap_or_default();
        self.change_trouble(&uid, |trouble| trouble.failures = 0);
        if trigger.metadata.deletion_timestamp.is_some() {
            self.troubles
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&uid);
        }
    }

    pub(super) fn backoff(&self, trigger: &Trigger, error: &Error) -> Duration {
        let trouble = self.change_trouble(&trigger.uid().unwrap_or_default(), |trouble| {
            trouble.failures += 1;
        });
        error.retry_after(trouble.failures - 1)
    }
}

/// The pod's name, where there is one.
fn instance() -> Option<String> {
    std::env::var("POD_NAME").ok()
}
