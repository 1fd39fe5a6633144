//! The controller of `ABExperiment`: the thin shell around `operator_core::experiment`.
//!
//! Owns the watches and the order of the writes. It must not decide, and it writes nothing of the endpoint: the
//! RewardModel's controller reads what the status says. Invariant: what a look rests on is kept before the status
//! says what follows from it.

mod evidence;
mod kept;
mod looks;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crds::{ABExperiment, ABExperimentStatus, RewardModel, labels};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::compare;
use operator_core::experiment::machine;
use operator_core::experiment::seen::{Model, Rival, Seen};
use operator_core::experiment::state::Conclusion;
use operator_core::experiment::{standing, status};
use operator_core::identity::{AdminKey, names};
use operator_core::objects::router::table;
use operator_core::plan::notices_of_experiment;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::evidence::Fetching;
use self::looks::LastLook;
use super::experiments::Experiments;
use super::shared::access::Access;
use super::shared::asking::Asking;
use super::shared::cache::strip;
use super::shared::error::Error;
use super::shared::events::Events;
use super::shared::gone::Gone;
use super::shared::prometheus::Prometheus;
use super::shared::scope::Scope;
use super::surroundings;
use crate::metrics::Metrics;

type Trigger = PartialObjectMeta<ABExperiment>;

const KIND: &str = "ABExperiment";
/// The longest that one reconcile may take before it is begun anew.
const PATIENCE: Duration = Duration::from_mins(1);
/// How soon it is looked whether routers have come or gone, or something that is waited for is there.
const AGAIN: Duration = Duration::from_secs(5);
/// The same of one that is over.
const OVER: Duration = Duration::from_mins(10);
/// Reconciles at once.
const AT_ONCE: u16 = 8;

/// What all reconciles share.
struct Context {
    client: Client,
    metrics: Arc<Metrics>,
    events: Events,
    experiments: Arc<Experiments>,
    scope: Scope,
    fetching: Fetching,
    prometheus: Prometheus,
    /// Whether this operator was told of a Prometheus.
    asks_prometheus: bool,
    leads: watch::Receiver<bool>,
    /// The last look at each, by uid.
    looked: Mutex<HashMap<String, LastLook>>,
    failures: Mutex<HashMap<String, u32>>,
    /// What is kept of each status, by uid.
    kept: Mutex<HashMap<String, ABExperimentStatus>>,
}

/// What the command line says of it, and what it shares with others.
pub(super) struct Options {
    pub(super) key: Option<AdminKey>,
    pub(super) prometheus: Option<Access>,
    pub(super) scope: Scope,
    pub(super) experiments: Arc<Experiments>,
}

/// Runs the controller until `stop`; `touched` are experiments that something was seen to change of.
pub(super) async fn run(
    client: Client,
    options: Options,
    touched: impl Stream<Item = ObjectRef<Trigger>> + Send + 'static,
    metrics: Arc<Metrics>,
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let Options {
        key,
        prometheus,
        scope,
        experiments,
    } = options;
    let (reader, writer) = reflector::store::<Trigger>();
    let (events, writing) = Events::start(client.clone(), metrics.clone());
    let context = Arc::new(Context {
        fetching: Fetching::new(Asking::new(), key),
        // Whoever asks comes back for the answer with its next look.
        asks_prometheus: prometheus.is_some(),
        prometheus: Prometheus::new(prometheus, |_| {}),
        client,
        metrics,
        events,
        experiments,
        scope: scope.clone(),
        leads: leads.clone(),
        looked: Mutex::default(),
        failures: Mutex::default(),
        kept: Mutex::default(),
    });
    let held = context.clone();
    let mut gone = Gone::new(move |uid: &str| held.forget(uid));
    let own = watcher(
        scope.api::<Trigger>(&context.client),
        watcher::Config::default(),
    )
    .default_backoff()
    .modify(strip)
    .inspect_ok(move |event| gone.see(event))
    .reflect(writer)
    .applied_objects()
    .predicate_filter(
        predicates::generation.combine(predicates::annotations),
        PredicateConfig::default(),
    );
    Controller::for_stream(own, reader)
        .with_config(Config::default().concurrency(AT_ONCE))
        .reconcile_on(touched)
        .reconcile_all_on(super::begins(leads))
        .reconcile_all_on(scope.changes())
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, on_error, context)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconcile of an experiment");
            }
        })
        .await;
    writing.finish().await;
}

async fn reconcile(trigger: Arc<Trigger>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(PATIENCE, Box::pin(context.follow(&trigger))).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Slow),
    };
    let result = outcome.as_ref().map_or_else(Error::category, |_| "ok");
    context.metrics.reconciled(KIND, result, began.elapsed());
    let uid = trigger.uid().unwrap_or_default();
    let mut failures = context
        .failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match &outcome {
        Ok(_) => {
            failures.remove(&uid);
        }
        Err(error) => {
            *failures.entry(uid).or_default() += 1;
            tracing::warn!(namespace = trigger.namespace(), name = trigger.name_any(), %error, "not done");
        }
    }
    outcome
}

fn on_error(trigger: Arc<Trigger>, error: &Error, context: Arc<Context>) -> Action {
    let failures = context
        .failures
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let count = failures.get(&trigger.uid().unwrap_or_default()).copied();
    Action::requeue(error.retry_after(count.unwrap_or(1).saturating_sub(1)))
}

impl Context {
    /// Observe, look, step, keep what the look rests on, write the status, then tell.
    async fn follow(&self, trigger: &Trigger) -> Result<Action, Error> {
        self.experiments.fill().await;
        self.scope.fill().await;
        let namespace = trigger.namespace().unwrap_or_default();
        if !*self.leads.borrow() || !self.scope.covers(&namespace) {
            return Ok(Action::await_change());
        }
        let Some(mut experiment) = self.read(trigger).await? else {
            return Ok(Action::await_change());
        };
        let before = experiment.status.clone();
        experiment.status = self.restored(&experiment).await?;
        let models = surroundings::models(&self.client, &experiment, None).await?;
        let look = self.look(&experiment, &models).await?;
        let known = models
            .iter()
            .map(|(name, model)| (name.clone(), Model::of(model)));
        let known: BTreeMap<String, Model> = known.collect();
        let record = match standing::on_the_way(&experiment) {
            Some(chosen) => {
                let namespace = experiment.namespace().unwrap_or_default();
                surroundings::record(&self.client, &namespace, &chosen).await?
            }
            None => None,
        };
        let rivals = self.rivals(&experiment);
        let promotion = standing::promotion(&experiment, &models, record.as_ref());
        let seen = Seen {
            experiment: &experiment,
            models: &known,
            rivals: &rivals,
            look: look.as_ref().map(|(_, look)| look),
            promotion: &promotion,
            asks_prometheus: self.asks_prometheus,
            dealt: self.is_dealt(&experiment, &models).await?,
            now: Timestamp::now(),
        };
        let step = machine::step(&seen);
        if let Some((_, look)) = &look {
            self.keep(&experiment, look).await?;
        }
        let next = status::render(&step, &seen, look.as_ref().map(|(totals, _)| totals));
        self.remember(&experiment, &next).await;
        self.write_status(&experiment, before, &next).await?;
        let told = notices_of_experiment(experiment.status.as_ref(), &next, &step.notices);
        let uid = experiment.uid().unwrap_or_default();
        self.metrics.standing().experiment(&uid, &next);
        let about = experiment.object_ref(&());
        for notice in &told {
            self.events.tell(&about, notice);
        }
        if step.state.conclusion.is_some() && !step.in_force {
            self.fetching.forget(&uid);
        }
        let has_moved = next.epoch.as_ref().map(|epoch| epoch.id)
            != experiment
                .status
                .as_ref()
                .and_then(|status| Some(status.epoch.as_ref()?.id));
        let is_over = step.state.conclusion.as_ref();
        Ok(Action::requeue(if has_moved {
            Duration::ZERO
        } else if is_over.is_some_and(Conclusion::is_over) {
            // What is new of its spec comes by the watch.
            OVER
        } else {
            AGAIN
        }))
    }

    async fn read(&self, trigger: &Trigger) -> Result<Option<ABExperiment>, Error> {
        let namespace = trigger.namespace().unwrap_or_default();
        let api: Api<DeserializeGuard<ABExperiment>> =
            Api::namespaced(self.client.clone(), &namespace);
        let found = api.get_opt(&trigger.name_any()).await;
        let found = found.map_err(Error::api("read the ABExperiment"))?;
        match found {
            None => Ok(None),
            Some(DeserializeGuard(Ok(experiment))) => Ok(Some(experiment)),
            Some(DeserializeGuard(Err(error))) => {
                Err(Error::Unreadable(serde::de::Error::custom(error.error)))
            }
        }
    }

    /// Others that want the endpoint, or have it.
    fn rivals(&self, experiment: &ABExperiment) -> Vec<Rival> {
        let namespace = experiment.namespace().unwrap_or_default();
        let all = self
            .experiments
            .of(&namespace, &experiment.spec.endpoint.name);
        let others = all
            .iter()
            .filter(|one| one.name_any() != experiment.name_any());
        others.filter_map(|other| Rival::of(other)).collect()
    }

    /// Whether a router may still deal by this experiment.
    async fn is_dealt(
        &self,
        experiment: &ABExperiment,
        models: &BTreeMap<String, RewardModel>,
    ) -> Result<bool, Error> {
        let decision = experiment
            .status
            .as_ref()
            .and_then(|status| status.decision.as_ref());
        if decision.is_none_or(|decision| decision.applied_at.is_some()) {
            return Ok(true);
        }
        let endpoint = &experiment.spec.endpoint.name;
        let Some(model) = models.get(endpoint) else {
            return Ok(false);
        };
        let conditions = model
            .status
            .iter()
            .flat_map(|status| status.conditions.iter());
        let mut conditions = conditions.map(|one| (one.type_.as_str(), one.status.as_str()));
        let in_sync = conditions.any(|one| one == ("RoutersInSync", "True"));
        let maps = self.maps(experiment);
        let found = maps.get_opt(&names::table(endpoint)).await;
        let found = found.map_err(Error::api("read the traffic table"))?;
        let given = found
            .as_ref()
            .and_then(table::read)
            .and_then(|table| table.experiment);
        let is_given = given.is_some_and(|given| Some(given.uid) == experiment.uid());
        Ok(is_given || !in_sync)
    }

    /// Writes what is new in the status since `before`, at the version that was read.
    async fn write_status(
        &self,
        experiment: &ABExperiment,
        before: Option<ABExperimentStatus>,
        status: &ABExperimentStatus,
    ) -> Result<(), Error> {
        let before = serde_json::to_value(before.unwrap_or_default())?;
        let Some(change) = compare::merge_patch(&before, &serde_json::to_value(status)?) else {
            return Ok(());
        };
        let patch = json!({
            "metadata": { "resourceVersion": experiment.resource_version() },
            "status": change,
        });
        let namespace = experiment.namespace().unwrap_or_default();
        let api: Api<ABExperiment> = Api::namespaced(self.client.clone(), &namespace);
        api.patch_status(&experiment.name_any(), &params(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api("write the status of an ABExperiment"))?;
        self.metrics.wrote(KIND, "status");
        Ok(())
    }

    fn forget(&self, uid: &str) {
        self.fetching.forget(uid);
        self.prometheus.forget(uid);
        self.metrics.standing().forget(uid);
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
        self.looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(labels::AB_EXPERIMENT_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
