//! The controller of `RewardModel`: the thin shell around `operator_core::plan`.
//!
//! Owns the watches and the order of the writes. It must not decide. Invariant: the status that
//! holds a decision is written before any object that acts upon it.

mod context;
mod routers;
mod stores;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::RewardModel;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector;
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use operator_core::observed::{Observed, Settings};
use operator_core::plan::{Plan, RESYNC, plan};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::routers::Routers;
use self::stores::children_now;
use crate::controllers::shared::Owner;
use crate::controllers::shared::cache::strip;
use crate::controllers::shared::error::Error;
use crate::controllers::shared::events::Events;
use crate::controllers::shared::writer::Outcome;
use crate::metrics::Metrics;
use crate::runtime::admin::Readiness;

/// A reconcile is triggered by metadata alone; the resource itself is read when its turn comes, so
/// that one that cannot be read stops no other.
type Trigger = PartialObjectMeta<RewardModel>;

const KIND: &str = "RewardModel";
/// The longest that one reconcile may take before it is begun anew.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a reconcile waits for what else changes: a Deployment, its pods and its slices seldom change
/// alone.
const GATHERING: Duration = Duration::from_millis(50);
/// Reconciles at once.
const AT_ONCE: u16 = 16;
/// Rounds of questions before a plan; there are two kinds of them, and a cache that is behind may ask
/// once more.
const ROUNDS: usize = 4;

/// Runs the controller until `stop`.
///
/// # Errors
/// When the caches cannot be filled.
pub(super) async fn run(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (stores, children) = stores::watch(&client);
    let (reader, writer) = reflector::store::<Trigger>();
    let models = watcher(
        Api::<Trigger>::all(client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .modify(strip)
    .reflect(writer)
    .applied_objects()
    // Our own writes to the status are no news.
    .predicate_filter(
        predicates::generation
            .combine(predicates::annotations)
            .combine(predicates::labels)
            .combine(predicates::finalizers),
        PredicateConfig::default(),
    );
    let (filled, synced) = watch::channel(false);
    let (events, writing) = Events::start(client.clone(), metrics.clone());
    let (routers, heard) = Routers::new(settings.admin_key.clone());
    let context = Arc::new(Context::new(
        client,
        settings,
        metrics,
        stores,
        events,
        routers,
        synced,
        leads.clone(),
    ));
    let filling = tokio::spawn({
        let context = context.clone();
        async move {
            context.stores.fill().await;
            filled.send_replace(true);
            readiness.set(true);
            tracing::info!("watching");
        }
    });
    Controller::for_stream(models, reader)
        .with_config(Config::default().concurrency(AT_ONCE).debounce(GATHERING))
        .reconcile_on(children)
        .reconcile_on(heard)
        // Whoever begins to act looks at everything.
        .reconcile_all_on(begins(leads))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, on_error, context)
        .for_each(|outcome| async {
            if let Err(error) = outcome {
                tracing::debug!(%error, "reconcile");
            }
        })
        .await;
    filling.abort();
    // The last reconcile is done, and its context gone: what it told is still to be written.
    let _ = filling.await;
    writing.finish().await;
    Ok(())
}

/// The moment in which we begin to act.
fn begins(leads: watch::Receiver<bool>) -> impl Stream<Item = ()> + Send {
    stream::once(async move {
        let mut leads = leads;
        // An error means that the election has ended, and we with it.
        let _ = leads.wait_for(|leads| *leads).await;
    })
}

async fn reconcile(trigger: Arc<Trigger>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let outcome = match tokio::time::timeout(PATIENCE, Box::pin(follow(&trigger, &context))).await {
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

/// Observe, plan, write the status, then act, then tell.
async fn follow(trigger: &Trigger, context: &Context) -> Result<Action, Error> {
    context.synced().await;
    if !context.leads() {
        return Ok(Action::await_change());
    }
    let Some(model) = context.read(trigger).await? else {
        context.routers.forget(&trigger.uid().unwrap_or_default());
        return Ok(Action::await_change());
    };
    let owner = Owner::of(&model);
    let mut observed = context.observe(model, &owner).await?;
    let mut wanted = answered(&mut observed, context).await?;
    if wanted.is_decisive(observed.model.status.as_ref()) {
        let seen = std::mem::take(&mut observed.children);
        observed.children = Box::pin(children_now(&context.client, &owner, seen)).await?;
        wanted = answered(&mut observed, context).await?;
    }
    context
        .routers
        .listen(&owner, &observed.children, wanted.listens);
    let version = context
        .write_status(&observed.model, &wanted.status)
        .await?;
    context
        .metrics
        .moved(observed.model.status.as_ref(), &wanted.status);
    let news = act(&owner, &observed, &wanted, context).await?;
    for key in &wanted.delete {
        context.writer.delete(&owner, key).await?;
    }
    context
        .write_replicas(&observed.model, version, wanted.set_replicas)
        .await?;
    let about = observed.model.object_ref(&());
    for notice in &wanted.notices {
        context.events.tell(&about, notice);
    }
    Ok(Action::requeue(if news {
        Duration::ZERO
    } else {
        spread(wanted.requeue, &owner.uid)
    }))
}

/// The plan, after what it asked for was looked up.
async fn answered(observed: &mut Observed, context: &Context) -> Result<Plan, Error> {
    for _ in 0..ROUNDS {
        let plan = plan(observed, Timestamp::now());
        if plan.questions.is_empty() {
            return Ok(plan);
        }
        context.answer(observed, &plan.questions).await?;
    }
    Ok(plan(observed, Timestamp::now()))
}

/// Writes the wanted objects; answers whether the next status will say something new. A name that is
/// taken, or an object that is refused, ends it: what comes after rests on it.
async fn act(
    owner: &Owner,
    observed: &Observed,
    wanted: &Plan,
    context: &Context,
) -> Result<bool, Error> {
    let mut conflicts = observed.conflicts.clone();
    for object in &wanted.apply {
        let live = observed.children.live(&object.key)?;
        match context.writer.write(owner, object, live.as_ref()).await {
            Ok(Outcome::Unchanged | Outcome::Written) => {}
            Ok(Outcome::Taken) => {
                conflicts.push(object.key.clone());
                return Ok(context.remember(observed, None, conflicts));
            }
            Err(error) => match error.refusal() {
                Some(refusal) => return Ok(context.remember(observed, Some(refusal), conflicts)),
                None => return Err(error),
            },
        }
    }
    Ok(context.remember(observed, None, conflicts))
}

/// Resyncs of many resources are spread over time.
fn spread(after: Duration, uid: &str) -> Duration {
    if after < RESYNC {
        return after;
    }
    let share = uid.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    after.mul_f64(0.8 + 0.4 * f64::from(share % 1_000) / 1_000.0)
}

fn on_error(trigger: Arc<Trigger>, error: &Error, context: Arc<Context>) -> Action {
    Action::requeue(context.backoff(&trigger, error))
}
