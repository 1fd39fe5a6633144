//! The controller of `RewardModel`: the thin shell around `operator_core::plan`.
//!
//! Owns the watches and the order of the writes. It must not decide. Invariant: the status that
//! holds a decision is written before any object that acts upon it.

mod apply;
mod context;
mod error;
mod stores;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::RewardModel;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use operator_core::observed::Settings;
use operator_core::plan::plan;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::error::Error;
use crate::metrics::Metrics;
use crate::runtime::admin::Readiness;

/// A reconcile is triggered by metadata alone; the resource itself is read when its turn comes, so
/// that one that cannot be read stops no other.
type Trigger = PartialObjectMeta<RewardModel>;

const KIND: &str = "RewardModel";
/// The longest that one reconcile may take before it is begun anew.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the controller until `stop`.
///
/// # Errors
/// When the caches cannot be filled.
pub(super) async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (stores, children) = stores::watch(&client);
    let (reader, writer) = reflector::store::<Trigger>();
    let models = watcher(
        Api::<Trigger>::all(client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .reflect(writer)
    .applied_objects();
    let (filled, synced) = watch::channel(false);
    let context = Arc::new(Context::new(client, settings, metrics, stores, synced));
    let filling = tokio::spawn({
        let context = context.clone();
        async move {
            // A store wakes one waiter only; whoever else waits does so on the channel.
            let all = context.stores.fill().await;
            filled.send_replace(all);
            readiness.set(all);
            tracing::info!("watching");
        }
    });
    Controller::for_stream(models, reader)
        .reconcile_on(children)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, on_error, context)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconcile");
            }
        })
        .await;
    filling.abort();
    Ok(())
}

async fn reconcile(trigger: Arc<Trigger>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(PATIENCE, follow(&trigger, &context)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Slow),
    };
    let result = outcome.as_ref().map_or_else(Error::category, |_| "ok");
    context.metrics.reconciled(KIND, result, began.elapsed());
    match &outcome {
        Ok(_) => context.recovered(&trigger),
        Err(error) => {
            tracing::warn!(namespace = trigger.namespace(), name = trigger.name_any(), %error, "not done");
        }
    }
    outcome
}

/// Observe, plan, write the status, then act.
async fn follow(trigger: &Trigger, context: &Context) -> Result<Action, Error> {
    context.synced().await;
    let Some(model) = context.read(trigger).await? else {
        return Ok(Action::await_change());
    };
    let mut observed = context.observe(model).await?;
    let mut wanted = plan(&observed, Timestamp::now());
    if wanted.is_decisive(observed.model.status.as_ref()) {
        observed.children = context.children_now(&observed.model).await?;
        wanted = plan(&observed, Timestamp::now());
    }
    observed.conflicts = context.conflicts(&observed, &wanted).await?;
    if !observed.conflicts.is_empty() {
        wanted = plan(&observed, Timestamp::now());
    }
    context
        .write_status(&observed.model, &wanted.status)
        .await?;
    context.publish(&observed.model, &wanted.notices).await;
    context
        .write_replicas(&observed.model, wanted.set_replicas)
        .await?;
    let news = context.apply(&observed, &wanted.apply).await?;
    context.delete(&observed.model, &wanted.delete).await?;
    Ok(Action::requeue(if news {
        Duration::ZERO
    } else {
        wanted.requeue
    }))
}

fn on_error(trigger: Arc<Trigger>, error: &Error, context: Arc<Context>) -> Action {
    Action::requeue(context.backoff(&trigger, error))
}

/// The resource that an object with our labels belongs to.
fn owner_of<K: ResourceExt>(object: &K) -> Option<ObjectRef<Trigger>> {
    let name = object.labels().get(crds::labels::MODEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}
