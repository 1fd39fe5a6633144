//! What a reconcile reads, and the writes to the resource itself: status and replicas.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crds::{RewardModel, RewardModelStatus, labels};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::Failure;
use operator_core::compare;
use operator_core::gates::Gathered;
use operator_core::identity::RevisionHash;
use operator_core::observed::{Children, Claim, GatewayApi, Holder, ObjectKey, Observed, Settings};
use operator_core::plan::Override;
use operator_core::spec;
use serde_json::json;
use tokio::sync::watch;

use super::evidence::Fetching;
use super::routers::Routers;
use super::stores::Stores;
use super::troubles::Troubles;
use super::turns::Turns;
use super::{KIND, Trigger};
use crate::controllers::experiments::Experiments;
use crate::controllers::shared::Owner;
use crate::controllers::shared::error::Error;
use crate::controllers::shared::events::Events;
use crate::controllers::shared::prometheus::Prometheus;
use crate::controllers::shared::scope::Scope;
use crate::controllers::shared::writer::{Outcome, Writer};
use crate::metrics::Metrics;

/// What all reconciles share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stores: Stores,
    pub(super) writer: Writer,
    pub(super) events: Events,
    pub(super) routers: Arc<Routers>,
    pub(super) fetching: Arc<Fetching>,
    pub(super) prometheus: Arc<Prometheus>,
    pub(super) turns: Arc<Turns>,
    pub(super) experiments: Arc<Experiments>,
    pub(super) scope: Scope,
    synced: watch::Receiver<bool>,
    leads: watch::Receiver<bool>,
    settings: Settings,
    pub(super) troubles: Arc<Troubles>,
    /// Contents of records in use, by the record's uid. They are written once, so that what was read
    /// stays true.
    pub(super) contents: Mutex<HashMap<String, Arc<str>>>,
    /// Who holds GPUs, as it was seen last.
    pub(super) holders: Mutex<Option<(Instant, Vec<Held>)>>,
}

/// A pod that holds GPUs, and the RewardModel that it belongs to.
pub(super) type Held = (Holder, Option<String>);

impl Context {
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each part; there is one caller"
    )]
    pub(super) fn new(
        client: Client,
        settings: Settings,
        metrics: Arc<Metrics>,
        stores: Stores,
        events: Events,
        routers: Arc<Routers>,
        fetching: Arc<Fetching>,
        prometheus: Arc<Prometheus>,
        turns: Arc<Turns>,
        troubles: Arc<Troubles>,
        (experiments, scope): (Arc<Experiments>, Scope),
        synced: watch::Receiver<bool>,
        leads: watch::Receiver<bool>,
    ) -> Self {
        Self {
            writer: Writer::new(client.clone(), metrics.clone()),
            client,
            metrics,
            stores,
            events,
            routers,
            fetching,
            prometheus,
            turns,
            experiments,
            scope,
            synced,
            leads,
            settings,
            troubles,
            contents: Mutex::default(),
            holders: Mutex::default(),
        }
    }

    /// Waits until all caches are filled.
    pub(super) async fn synced(&self) {
        let mut synced = self.synced.clone();
        // An error means that the controller is ending; then the reconcile ends with it.
        let _ = synced.wait_for(|filled| *filled).await;
    }

    /// Whether this operator acts, of all that are there.
    pub(super) fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Whether it acts in this namespace.
    pub(super) fn covers(&self, namespace: Option<&str>) -> bool {
        namespace.is_some_and(|namespace| self.scope.covers(namespace))
    }

    pub(super) fn api<K>(&self, namespace: Option<String>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &namespace.unwrap_or_default())
    }

    /// The resource as the API server has it: a cached status could be older than what was decided
    /// last.
    pub(super) async fn read(&self, trigger: &Trigger) -> Result<Option<RewardModel>, Error> {
        let resource = ApiResource::erase::<RewardModel>(&());
        let namespace = trigger.namespace().unwrap_or_default();
        let models: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let found = models.get_opt(&trigger.name_any()).await;
        match found.map_err(Error::api("read the RewardModel"))? {
            None => Ok(None),
            // What another version wrote in another shape is left alone.
            Some(object) => object
                .try_parse()
                .map(Some)
                .map_err(|error| Error::Unreadable(serde::de::Error::custom(error.to_string()))),
        }
    }

    /// Makes what was made for a resource of this name and belongs to nobody ours; answers whether there was
    /// anything.
    pub(super) async fn adopt(&self, owner: &Owner) -> Result<bool, Error> {
        let orphans = self.stores.orphans(owner);
        for (key, version) in &orphans {
            self.writer.adopt(owner, key, version.clone()).await?;
        }
        Ok(!orphans.is_empty())
    }

    /// What is known of `model` without asking: the rest is for a plan's questions.
    pub(super) async fn observe(
        &self,
        model: RewardModel,
        owner: &Owner,
    ) -> Result<Observed, Error> {
        let children = self.stores.children(owner);
        let known = self.known_contents(&children);
        let trouble = self.troubles.of(&owner.uid);
        let claim = match spec::claim(&model.spec) {
            Some(_) => Claim::NotAsked,
            None => Claim::NotNeeded,
        };
        let in_use = if spec::writes_claim(&model.spec) {
            self.stores.digests(&owner.namespace)
        } else {
            BTreeSet::new()
        };
        let mut conflicts = trouble.conflicts;
        let mut taken = Vec::new();
        for key in conflicts.drain(..) {
            match self.writer.holder(owner, &key).await {
                Ok(Outcome::Taken) => taken.push(key),
                // The name is free, or ours by now.
                Ok(Outcome::Unchanged | Outcome::Written)
                | Err(Error::Unseen(_) | Error::Leftover(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let ledger = self.fetching.ledger(&owner.uid);
        let experiment = self.standing(&model).await?;
        let mut observed = Observed {
            children,
            contents: known,
            claim,
            in_use,
            conflicts: taken,
            refusal: trouble.refusal,
            gateway_api: GatewayApi::NotAsked,
            golden_set: None,
            job_events: None,
            holders: None,
            elsewhere: self.turns.elsewhere(&owner.uid),
            reports: self.routers.reports(&owner.uid),
            first_reports: self.routers.first_reports(&owner.uid),
            measured_reports: self.routers.measured_reports(&owner.uid),
            gathered: Gathered::default(),
            ledger: None,
            experiment,
            settings: self.settings.clone(),
            model,
        };
        observed.know(ledger);
        Ok(observed)
    }

    fn known_contents(&self, children: &Children) -> BTreeMap<RevisionHash, Arc<str>> {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = children.records.iter().filter_map(|record| {
            let hash = record.labels().get(labels::REVISION)?;
            let content = contents.get(record.metadata.uid.as_deref()?)?;
            Some((RevisionHash::parse(hash)?, content.clone()))
        });
        known.collect()
    }

    /// Writes what is new in the status. It carries the version that was read: if the resource has
    /// moved on since, nothing is written and the reconcile begins anew. Fields of another version
    /// stay. Answers the version that is there now.
    pub(super) async fn write_status(
        &self,
        model: &RewardModel,
        status: &RewardModelStatus,
    ) -> Result<Option<String>, Error> {
        let before = serde_json::to_value(model.status.clone().unwrap_or_default())?;
        let Some(change) = compare::merge_patch(&before, &serde_json::to_value(status)?) else {
            return Ok(model.resource_version());
        };
        let patch = json!({
            "metadata": { "resourceVersion": model.resource_version() },
            "status": change,
        });
        let models: Api<RewardModel> = self.api(model.namespace());
        let written = models
            .patch_status(&model.name_any(), &params(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api("write the status"))?;
        self.metrics.wrote(KIND, "status");
        Ok(written.resource_version())
    }

    /// Writes `spec.replicas` at `version`, so that nobody's own is overwritten.
    pub(super) async fn write_replicas(
        &self,
        model: &RewardModel,
        version: Option<String>,
        replicas: Option<i32>,
    ) -> Result<Option<String>, Error> {
        let Some(replicas) = replicas else {
            return Ok(version);
        };
        let patch = json!({
            "metadata": { "resourceVersion": version },
            "spec": { "replicas": replicas },
        });
        let models: Api<RewardModel> = self.api(model.namespace());
        let written = models
            .patch_metadata(&model.name_any(), &params(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api("write spec.replicas"))?;
        self.metrics.wrote(KIND, "replicas");
        Ok(written.resource_version())
    }

    /// Writes what an experiment has promoted ahead of the spec, or takes it away, at `version`.
    pub(super) async fn write_override(
        &self,
        model: &RewardModel,
        version: Option<String>,
        change: Option<&Override>,
    ) -> Result<(), Error> {
        let text = match change {
            None => return Ok(()),
            Some(Override::Ahead(text)) => Some(text),
            // `null` takes it away.
            Some(Override::Ended) => None,
        };
        let patch = json!({
            "metadata": {
                "resourceVersion": version,
                "annotations": { labels::OVERRIDE: text },
            },
        });
        let models: Api<RewardModel> = self.api(model.namespace());
        models
            .patch_metadata(&model.name_any(), &params(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api("write the override"))?;
        self.metrics.wrote(KIND, "override");
        Ok(())
    }

    /// Remembers what the API server refused and which names are taken, so that the next status can
    /// say so; answers whether it will say something new.
    pub(super) fn remember(
        &self,
        observed: &Observed,
        refusal: Option<Failure>,
        conflicts: Vec<ObjectKey>,
    ) -> bool {
        let mut news = false;
        self.troubles
            .change(&observed.model.uid().unwrap_or_default(), |trouble| {
                news = refusal != trouble.refusal || conflicts != trouble.conflicts;
                trouble.refusal = refusal;
                trouble.conflicts = conflicts;
            });
        news
    }

    pub(super) fn recovered(&self, trigger: &Trigger) {
        self.troubles.recovered(&trigger.uid().unwrap_or_default());
    }

    pub(super) fn backoff(&self, trigger: &Trigger, error: &Error) -> Duration {
        let trouble = self
            .troubles
            .change(&trigger.uid().unwrap_or_default(), |trouble| {
                trouble.failures += 1;
            });
        error.retry_after(trouble.failures - 1)
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(labels::REWARD_MODEL_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
