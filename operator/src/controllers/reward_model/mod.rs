//! The controller of `RewardModel`: the thin shell around `operator_core::plan`.
//!
//! Owns the watches and the order of the writes. It must not decide. Invariant: the status that
//! holds a decision is written before any object that acts upon it.

mod answers;
mod context;
mod evidence;
mod gathering;
mod routers;
mod standing;
mod stores;
mod troubles;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::{RewardModel, RewardModelStatus};
use futures::channel::mpsc::unbounded;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Client, Resource, ResourceExt};
use operator_core::observed::{Observed, Settings};
use operator_core::plan::{Plan, RESYNC, plan};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use self::evidence::Fetching;
use self::routers::Routers;
use self::stores::children_now;
use self::troubles::Troubles;
use self::turns::Turns;
use crate::controllers::experiments::Experiments;
use crate::controllers::shared::Owner;
use crate::controllers::shared::access::Access;
use crate::controllers::shared::asking::Asking;
use crate::controllers::shared::cache::strip;
use crate::controllers::shared::error::Error;
use crate::controllers::shared::events::Events;
use crate::controllers::shared::gone::Gone;
use crate::controllers::shared::prometheus::Prometheus;
use crate::controllers::shared::scope::Scope;
use crate::controllers::shared::writer::Outcome;
use crate::metrics::Metrics;
use crate::runtime::admin::Readiness;

/// A reconcile is triggered by metadata alone; the resource itself is read when its turn comes, so
/// that one that cannot be read stops no other.
type Trigger = PartialObjectMeta<RewardModel>;

pub(crate) use self::routers::address;

const KIND: &str = "RewardModel";
/// The longest that one reconcile may take before it is begun anew.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a reconcile waits for what else changes: a Deployment, its pods and its slices seldom change
/// alone.
const GATHERING: Duration = Duration::from_millis(50);
/// How soon what was adopted is in the caches.
const ADOPTED: Duration = Duration::from_millis(300);
/// Reconciles at once.
const AT_ONCE: u16 = 16;
/// Rounds of questions before a plan; there are two kinds of them and the gates, and a cache that is behind
/// may ask once more.
const ROUNDS: usize = 5;

/// What the command line says of it, and what it shares with others.
pub(super) struct Options<S> {
    /// The experiments of the cluster.
    pub(super) experiments: Arc<Experiments>,
    /// Models of whose experiments something has changed.
    pub(super) endpoints: S,
    /// The namespaces that it acts in.
    pub(super) scope: Scope,
    /// How many resources may load a model at once.
    pub(super) max_loading: usize,
    /// The Prometheus that gates ask.
    pub(super) prometheus: Option<Access>,
}

/// Runs the controller until `stop`.
///
/// # Errors
/// When the caches cannot be filled.
pub(super) async fn run(
    client: Client,
    settings: Settings,
    options: Options<impl Stream<Item = ObjectRef<Trigger>> + Send + 'static>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let scope = options.scope;
    let (stores, children) = stores::watch((&client, &scope));
    let (reader, writer) = reflector::store::<Trigger>();
    let turns = Arc::new(Turns::new(options.max_loading));
    let (news, heard) = unbounded();
    let (asking, key) = (Asking::new(), settings.admin_key.clone());
    let routers = Arc::new(Routers::new(asking.clone(), key.clone(), news.clone()));
    let fetching = Arc::new(Fetching::new(asking, key, news.clone()));
    let prometheus = Prometheus::new(options.prometheus, move |owner: &Owner| {
        // An error means that the controller is ending.
        let _ = news.unbounded_send(ObjectRef::new(&owner.name).within(&owner.namespace));
    });
    let prometheus = Arc::new(prometheus);
    let troubles = Arc::new(Troubles::default());
    let held = Held {
        turns: turns.clone(),
        troubles: troubles.clone(),
        routers: routers.clone(),
        fetching: fetching.clone(),
        prometheus: prometheus.clone(),
        metrics: metrics.clone(),
    };
    let mut gone = Gone::new(move |uid| held.forget(uid));
    let models = watcher(scope.api::<Trigger>(&client), watcher::Config::default())
        .default_backoff()
        .modify(strip)
        .inspect_ok(move |event| gone.see(event))
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
    let context = Arc::new(Context::new(
        client,
        settings,
        metrics,
        stores,
        events,
        routers,
        fetching,
        prometheus,
        turns,
        troubles,
        (options.experiments, scope.clone()),
        synced,
        leads.clone(),
    ));
    let filling = tokio::spawn({
        let context = context.clone();
        async move {
            context.stores.fill().await;
            context.experiments.fill().await;
            context.scope.fill().await;
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
        .reconcile_on(options.endpoints)
        .reconcile_all_on(super::begins(leads))
        .reconcile_all_on(scope.changes())
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
    let model = if context.covers(trigger.metadata.namespace.as_deref()) {
        context.read(trigger).await?
    } else {
        // Another operator's.
        None
    };
    let Some(model) = model else {
        let held = Held {
            turns: context.turns.clone(),
            troubles: context.troubles.clone(),
            routers: context.routers.clone(),
            fetching: context.fetching.clone(),
            prometheus: context.prometheus.clone(),
            metrics: context.metrics.clone(),
        };
        held.forget(&trigger.uid().unwrap_or_default());
        return Ok(Action::await_change());
    };
    let owner = Owner::of(&model);
    if context.adopt(&owner).await? {
        // What was restored is known before anything is decided.
        return Ok(Action::requeue(ADOPTED));
    }
    let mut observed = context.observe(model, &owner).await?;
    let mut wanted = Box::pin(in_turn(&mut observed, context, &owner)).await?;
    if wanted.is_decisive(observed.model.status.as_ref()) {
        let seen = std::mem::take(&mut observed.children);
        observed.children = Box::pin(children_now(&context.client, &owner, seen)).await?;
        wanted = Box::pin(in_turn(&mut observed, context, &owner)).await?;
    }
    context
        .routers
        .listen(&owner, &observed.children, wanted.listens);
    context.collect(&owner, &observed.children, &wanted);
    let version = context
        .write_status(&observed.model, &wanted.status)
        .await?;
    context
        .metrics
        .moved(observed.model.status.as_ref(), &wanted.status);
    context.metrics.standing().model(&owner.uid, &wanted.status);
    // What is in the status is decided, and told once, whatever becomes of the writes.
    let about = observed.model.object_ref(&());
    for notice in &wanted.notices {
        context.events.tell(&about, notice);
    }
    let news = act(&owner, &observed, &wanted, context).await?;
    for key in &wanted.delete {
        context.writer.delete(&owner, key).await?;
    }
    let version = context
        .write_replicas(&observed.model, version, wanted.set_replicas)
        .await?;
    context
        .write_override(&observed.model, version, wanted.set_override.as_ref())
        .await?;
    Ok(Action::requeue(if news {
        Duration::ZERO
    } else {
        spread(wanted.requeue, &owner.uid)
    }))
}

/// What is held for resources beside their caches.
struct Held {
    turns: Arc<Turns>,
    troubles: Arc<Troubles>,
    routers: Arc<Routers>,
    fetching: Arc<Fetching>,
    prometheus: Arc<Prometheus>,
    metrics: Arc<Metrics>,
}

impl Held {
    /// What is held for a resource that is gone is given back.
    fn forget(&self, uid: &str) {
        self.routers.forget(uid);
        self.fetching.forget(uid);
        self.prometheus.forget(uid);
        self.metrics.standing().forget(uid);
        self.troubles.forget(uid);
        let _ = self.turns.take(uid, false, false);
    }
}

/// The plan, with a turn taken where it loads a model.
async fn in_turn(observed: &mut Observed, context: &Context, owner: &Owner) -> Result<Plan, Error> {
    let wanted = answered(observed, context, owner).await?;
    let step = |status: Option<&RewardModelStatus>| {
        let rollout = status.and_then(|status| status.rollout.as_ref());
        let step = rollout.and_then(|rollout| rollout.step.as_ref());
        step.is_some_and(|step| step.kind == "Load")
    };
    let was = step(observed.model.status.as_ref());
    let Err(elsewhere) = context.turns.take(&owner.uid, wanted.loads, was) else {
        return Ok(wanted);
    };
    observed.elsewhere = elsewhere;
    answered(observed, context, owner).await
}

/// The plan, after what it asked for was looked up.
async fn answered(
    observed: &mut Observed,
    context: &Context,
    owner: &Owner,
) -> Result<Plan, Error> {
    let mut is_gathered = false;
    for _ in 0..ROUNDS {
        let plan = plan(observed, Timestamp::now());
        if !plan.questions.is_empty() {
            context.answer(observed, &plan.questions).await?;
            continue;
        }
        if context.recall(observed, owner, &plan).await? {
            continue;
        }
        // Each look counts: there is one for a status that is written.
        if is_gathered || plan.due.is_empty() {
            return Ok(plan);
        }
        context.gather(observed, owner, &plan.due);
        is_gathered = true;
    }
    Ok(plan(observed, Timestamp::now()))
}

/// Writes the wanted objects; answers whether the next status will say something new. Where a name is taken
/// or an object is refused nothing more is made, because it may rest on that; what is there already is kept as
/// it is to be, so that what serves is none the worse for it.
async fn act(
    owner: &Owner,
    observed: &Observed,
    wanted: &Plan,
    context: &Context,
) -> Result<bool, Error> {
    let mut conflicts = observed.conflicts.clone();
    let mut refusal = None;
    let mut stopped = false;
    for object in &wanted.apply {
        let live = observed.children.live(&object.key)?;
        if stopped && live.is_none() {
            continue;
        }
        match context.writer.write(owner, object, live.as_ref()).await {
            Ok(Outcome::Unchanged | Outcome::Written) => {}
            Ok(Outcome::Taken) => {
                conflicts.push(object.key.clone());
                stopped = true;
            }
            Err(error) => {
                // The first one is told; those after it may follow from it.
                let said = error.refusal().ok_or(error)?;
                refusal.get_or_insert(said);
                stopped = true;
            }
        }
    }
    Ok(context.remember(observed, refusal, conflicts))
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
