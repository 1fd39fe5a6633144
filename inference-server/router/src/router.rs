//! The router: what holds now, and how it changes.
//!
//! Owns the table that is acted upon and the endpoints of its revisions, replaced as one. Invariant: a
//! table that is refused changes nothing but what is reported.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use inference_api::internal::Model;
use tokio::sync::watch;
use traffic::assignment::Assigner;
use traffic::effective::{Effective, effective};
use traffic::status::Refused;
use traffic::table::{Accepted, Place, Refusal, Role, Table, accept};
use traffic::{Millis, Revision};

use crate::clock::Clock;
use crate::counting::Counting;
use crate::endpoints::{Endpoint, Group};

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
    /// What stable says that it is.
    pub(crate) model: watch::Sender<Option<Model>>,
    /// Who serves each Service; `None` where nobody has said so yet.
    services: Mutex<Option<Services>>,
    /// Held while the view is made anew: two that do so would lose one change.
    changing: Mutex<()>,
    /// Whether all was known once that a table needs.
    pub(crate) was_synced: AtomicBool,
}

/// A table and the endpoints of its revisions.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) table: Table,
    pub(crate) assigner: Assigner,
    pub(crate) groups: Vec<Group>,
}

impl View {
    pub(crate) fn of(&self, role: Role) -> Option<&Group> {
        self.groups.iter().find(|group| group.row.role == role)
    }

    pub(crate) fn named(&self, revision: &Revision) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.row.revision == *revision)
    }
}

impl View {
    /// The shares as they are acted upon now.
    pub(crate) fn effective(&self, counting: &Counting) -> Effective {
        let usable = |revision: &Revision| self.named(revision).is_some_and(Group::is_usable);
        effective(&self.table, usable, counting.cause())
    }
}

impl Shared {
    pub(crate) fn counting(&self) -> MutexGuard<'_, Counting> {
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn services(&self) -> MutexGuard<'_, Option<Services>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
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
            identity,
            clock,
            view: ArcSwapOption::empty(),
            refused: ArcSwapOption::empty(),
            counting: Mutex::new(Counting::new(now)),
            news: watch::Sender::new(0),
            model: watch::Sender::new(None),
            services: Mutex::new(None),
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

    /// Brings a table together with the endpoints of its revisions, those that are known already where
    /// they are the same.
    fn build(&self, table: Table) {
        let now = self.0.clock.now();
        let before = self.0.view.load_full();
        let services = self.0.services().clone();
        let groups = table.revisions().iter().map(|row| {
            // Another description of a revision is another endpoint: what it said is forgotten.
            let group = before.as_ref().and_then(|view| view.named(&row.revision));
            let group = group.filter(|group| {
                group.row.digest == row.digest && group.row.calibration == row.calibration
            });
            let endpoint = |address: &str, uid: &str| {
                let mut known = group.iter().flat_map(|group| &group.endpoints);
                let known = known.find(|e| e.pool.address() == address && e.uid == uid);
                known
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Endpoint::new(address, uid)))
            };
            let endpoints = match &row.place {
                Place::Addresses(addresses) => addresses
                    .iter()
                    .map(|address| endpoint(address, ""))
                    .collect(),
                Place::Service(name) => {
                    let seen = services.as_ref().and_then(|services| services.get(name));
                    let of = |seen: &Seen| {
                        let endpoint = endpoint(&seen.address, &seen.uid);
                        endpoint.is(seen.ready, seen.serving);
                        endpoint
                    };
                    seen.into_iter().flatten().map(of).collect()
                }
            };
            Group::new(row.clone(), endpoints, now)
        });
        let view = View {
            assigner: Assigner::new(&table.salt),
            groups: groups.collect(),
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
            view.groups.iter().all(|group| match group.row.place {
                Place::Service(_) => services_are_seen,
                Place::Addresses(_) => group.endpoints.iter().all(is_known),
            })
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
