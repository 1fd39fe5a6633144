//! The router: what holds now, and how it changes.
//!
//! Owns the table that is acted upon and the endpoints of its revisions, replaced as one. Invariant: a
//! table that is refused changes nothing but what is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use inference_api::internal::Model;
use tokio::sync::watch;
use traffic::assignment::Assigner;
use traffic::effective::{Effective, Presence, effective_of};
use traffic::status::Refused;
use traffic::table::experiment::{Arm, Experiment, MOST_VARIANTS};
use traffic::table::{Accepted, Place, Refusal, Role, Table, accept};
use traffic::{Millis, Revision};

use crate::clock::Clock;
use crate::counting::Counting;
use crate::endpoints::{Endpoint, Group};
use crate::experiment::{Known, Trial, Trials};
use crate::queue::Queue;
use crate::shadow::Task;

/// How often what is outstanding is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks after which counts alone are news.
const QUIET_TICKS: u32 = 20;

/// Who serves each Service, by its name.
pub type Services = BTreeMap<String, Vec<Seen>>;

/// An endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// HOST:PORT.
    pub address: String,
    /// What lives there: an address may be another pod's tomorrow.
    pub uid: String,
    /// It takes new requests.
    pub ready: bool,
    /// It answers still, ready or on its way out.
    pub serving: bool,
}

/// Who the router is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name of its pod.
    pub pod: String,
    /// Another text for each start.
    pub instance: String,
}

/// Scores from revisions elsewhere. Clones are the same router.
#[derive(Clone, Debug)]
pub struct Router(pub(crate) Arc<Shared>);

/// What clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) clock: Clock,
    pub(crate) view: ArcSwapOption<View>,
    pub(crate) refused: ArcSwapOption<Refused>,
    pub(crate) counting: Mutex<Counting>,
    pub(crate) news: watch::Sender<u64>,
    /// What is asked beside the requests.
    pub(crate) queue: Queue<Task>,
    /// The same of what somebody has labelled: a canary that hangs takes none of its places.
    pub(crate) labelled: Queue<Task>,
    /// Requests whose clients have their answers, and which are not counted yet.
    pub(crate) uncounted: watch::Sender<usize>,
    /// The same by variant of an experiment, but for the control: one that hangs keeps nobody else waiting.
    variant_queues: [Queue<Task>; MOST_VARIANTS - 1],
    trials: Mutex<Trials>,
    /// Whether the last evidence was fetched.
    pub(crate) handed_over: watch::Sender<bool>,
    /// What stable says that it is.
    pub(crate) model: watch::Sender<Option<Model>>,
    /// Who serves each Service; `None` where nobody has said so yet.
    services: Mutex<Option<Services>>,
    /// Other models' Services that somebody has looked for, and who serves them.
    elsewhere: Mutex<(BTreeSet<String>, Services)>,
    /// Those that are to be looked for.
    wanted: watch::Sender<BTreeSet<String>>,
    /// Held while the view is made anew: two that do so would lose one change.
    changing: Mutex<()>,
    /// Whether all was known once that a table needs.
    pub(crate) was_synced: AtomicBool,
}

/// What is asked beside the requests, each with places of its own: one that hangs takes nobody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The shadow of the canary.
    Shadow,
    /// What somebody has labelled.
    Labelled,
    /// A variant of an experiment.
    Variant(Arm),
}

/// A table and the endpoints of its revisions.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) table: Table,
    pub(crate) assigner: Assigner,
    pub(crate) groups: Vec<Group>,
    /// The experiment that is in force.
    pub(crate) trial: Option<Trial>,
}

impl View {
    pub(crate) fn of(&self, role: Role) -> Option<&Group> {
        self.groups.iter().find(|group| group.role == Some(role))
    }

    /// Whether a rollout is in flight.
    pub(crate) fn is_rolling(&self) -> bool {
        self.of(Role::Stable).is_some() && self.of(Role::Canary).is_some()
    }

    pub(crate) fn named(&self, revision: &Revision) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.target.revision == *revision)
    }
}

impl View {
    /// The shares as they are acted upon now.
    pub(crate) fn effective(&self, counting: &Counting) -> Effective {
        let presence = |revision: &Revision| {
            let group = self.named(revision);
            group.map_or(Presence::Absent, Group::presence)
        };
        effective_of(&self.table, presence, counting.cause())
    }
}

impl Shared {
    pub(crate) fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> MutexGuard<'_, (BTreeSet<String>, Services)> {
        self.elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has looked who serves a Service, of this model or of another one.
    pub(crate) fn knows(&self, service: &str) -> bool {
        let ours = self.services();
        let ours = ours.as_ref().is_some_and(|all| all.contains_key(service));
        ours || self.elsewhere().0.contains(service)
    }

    /// What is asked beside the requests.
    pub(crate) fn queue_of(&self, lane: Lane) -> &Queue<Task> {
        match lane {
            Lane::Shadow => &self.queue,
            Lane::Labelled => &self.labelled,
            Lane::Variant(arm) => {
                let place = arm.place().checked_sub(1);
                let queue = place.and_then(|place| self.variant_queues.get(place));
                queue.unwrap_or(&self.queue)
            }
        }
    }

    /// Waits until nothing is asked beside the requests.
    pub(crate) async fn idle(&self) {
        self.queue.idle().await;
        self.labelled.idle().await;
        for queue in &self.variant_queues {
            queue.idle().await;
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn services(&self) -> MutexGuard<'_, Option<Services>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all is counted whose clients have their answers.
    pub(crate) async fn counted(&self) {
        // The sender is here as long as who waits.
        let _ = self
            .uncounted
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }

    /// Something is to be told.
    pub(crate) fn tell(&self) {
        self.news.send_modify(|sequence| *sequence += 1);
    }

    /// Looks at what is outstanding, and at cut-offs.
    pub(crate) fn judge(&self, now: Millis) {
        if let Some(view) = self.view.load_full()
            && self.counting().judge(&view.table, now)
        {
            self.tell();
        }
    }
}

impl Router {
    /// A router without a table, which looks after itself on the runtime that this is called on.
    pub fn new(identity: Identity) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let shared = Arc::new(Shared {
            counting: Mutex::new(Counting::new(identity.clone(), now)),
            trials: Mutex::new(Trials::new(identity.clone())),
            identity,
            clock,
            view: ArcSwapOption::empty(),
            refused: ArcSwapOption::empty(),
            queue: Queue::new(),
            labelled: Queue::new(),
            uncounted: watch::Sender::new(0),
            variant_queues: std::array::from_fn(|_| Queue::new()),
            handed_over: watch::Sender::new(false),
            news: watch::Sender::new(0),
            model: watch::Sender::new(None),
            services: Mutex::new(None),
            elsewhere: Mutex::default(),
            wanted: watch::Sender::new(BTreeSet::new()),
            changing: Mutex::new(()),
            was_synced: AtomicBool::new(false),
        });
        tokio::spawn(look_after(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Takes a table, as it was read somewhere.
    ///
    /// # Errors
    /// Why it is refused. The one that is held stays.
    pub fn offer(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let _one_at_a_time = self.0.changing();
        let held = self.0.view.load_full();
        let held = held.as_ref().map(|view| &view.table);
        match Table::parse(bytes).and_then(|offered| accept(held, offered)) {
            Ok(Accepted::Same) => {
                self.0.refused.store(None);
                Ok(())
            }
            Ok(Accepted::New(table)) => {
                self.0.refused.store(None);
                self.apply(*table);
                Ok(())
            }
            Err(refusal) => {
                self.0.counting().events.refused(&refusal);
                self.0.refused.store(Some(Arc::new(Refused {
                    reason: refusal.word().to_owned(),
                    message: refusal.to_string(),
                })));
                self.0.tell();
                Err(refusal)
            }
        }
    }

    fn apply(&self, table: Table) {
        let generation = table.generation.0;
        self.0.counting().apply(&table, self.0.clock.now());
        self.0.trials().apply(&table);
        self.build(table);
        tracing::info!(target: "router", generation, "the table holds");
    }

    /// Takes who serves each Service, as somebody who watches them has seen it.
    pub fn seen(&self, services: Services) {
        let _one_at_a_time = self.0.changing();
        *self.0.services() = Some(services);
        if let Some(view) = self.0.view.load_full() {
            self.build(view.table.clone());
        }
    }

    /// Takes who serves Services of other models, as somebody has seen it who was told to look for `names`.
    pub fn seen_elsewhere(&self, names: BTreeSet<String>, services: Services) {
        let _one_at_a_time = self.0.changing();
        *self.0.elsewhere() = (names, services);
        if let Some(view) = self.0.view.load_full() {
            self.build(view.table.clone());
        }
    }

    /// The Services of other models that somebody has to look for: those of an experiment's variants.
    pub fn wanted_elsewhere(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.wanted.subscribe()
    }

    /// Brings a table together with the endpoints of its revisions, those that are known already where
    /// they are the same.
    fn build(&self, table: Table) {
        let now = self.0.clock.now();
        let before = self.0.view.load_full();
        let (services, elsewhere) = (self.0.services().clone(), self.0.elsewhere().1.clone());
        let services = |name: &str| {
            let ours = services.as_ref().and_then(|all| all.get(name));
            ours.or_else(|| elsewhere.get(name)).cloned()
        };
        let experiment = table.experiment.as_ref();
        let names = experiment.into_iter().flat_map(Experiment::services);
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        self.0.wanted.send_if_modified(|wanted| {
            let other = *wanted != names;
            *wanted = names;
            other
        });
        let known = Known {
            services: &services,
        };
        let groups = table.revisions().iter().map(|row| {
            // Under another digest nobody knows who serves it. A calibration is the table's alone to say.
            let group = before.as_ref().and_then(|view| view.named(&row.revision));
            let group = group.filter(|group| group.target.digest == row.digest);
            let endpoints = endpoints(&row.place, group, &services);
            Group::new(row.target(), Some(row.role), endpoints, group, now)
        });
        let view = View {
            assigner: Assigner::new(&table.salt),
            groups: groups.collect(),
            trial: Trial::of(&table, before.as_deref(), &known, now),
            table,
        };
        self.0.view.store(Some(Arc::new(view)));
        self.0.tell();
    }

    /// Whether it knows a table and the endpoints in it.
    pub fn is_synced(&self) -> bool {
        let view = self.0.view.load();
        let services_are_seen = self.0.services().is_some();
        let is_known = |endpoint: &Arc<Endpoint>| endpoint.is_known.load(Ordering::Relaxed);
        let synced = view.as_ref().is_some_and(|view| {
            view.groups.iter().all(|group| match group.target.place {
                Place::Service(_) => services_are_seen,
                Place::Addresses(_) => group.endpoints.iter().all(is_known),
            }) && view
                .trial
                .as_ref()
                .is_none_or(|trial| trial.is_known(&self.0))
        });
        self.0.was_synced.fetch_or(synced, Ordering::Relaxed);
        synced
    }

    /// Whether it has known all that it needs once: from then on it serves.
    pub fn is_ready(&self) -> bool {
        self.0.was_synced.load(Ordering::Relaxed) || self.is_synced()
    }

    /// What the stable revision says that it is, whenever it says something else.
    pub fn model(&self) -> watch::Receiver<Option<Model>> {
        self.0.model.subscribe()
    }

    /// SHA-256 of the token that the admin port asks for.
    pub fn admin_token(&self) -> Option<String> {
        let view = self.0.view.load();
        let token = view.as_ref()?.table.admin_token.as_ref()?;
        Some(token.as_str().to_owned())
    }
}

/// The endpoints of a place, those of `before` where they are the same.
pub(crate) fn endpoints(
    place: &Place,
    before: Option<&Group>,
    services: &dyn Fn(&str) -> Option<Vec<Seen>>,
) -> Vec<Arc<Endpoint>> {
    let known = before.into_iter().flat_map(|group| &group.endpoints);
    let known: HashMap<(&str, &str), &Arc<Endpoint>> = known
        .map(|endpoint| ((endpoint.pool.address(), endpoint.uid.as_str()), endpoint))
        .collect();
    let endpoint = |address: &str, uid: &str| match known.get(&(address, uid)) {
        Some(known) => Arc::clone(known),
        None => Arc::new(Endpoint::new(address, uid)),
    };
    match place {
        Place::Addresses(addresses) => addresses.iter().map(|a| endpoint(a, "")).collect(),
        Place::Service(name) => {
            let of = |seen: Seen| {
                let endpoint = endpoint(&seen.address, &seen.uid);
                endpoint.is(seen.ready, seen.serving);
                endpoint
            };
            services(name).into_iter().flatten().map(of).collect()
        }
    }
}

/// Until the router is gone: cuts off what hangs, and tells what is new.
async fn look_after(shared: std::sync::Weak<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut quiet = 0;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = shared.clock.now();
        shared.judge(now);
        quiet += 1;
        if shared.counting().has_news(now) || quiet >= QUIET_TICKS {
            quiet = 0;
            shared.tell();
        }
    }
}
