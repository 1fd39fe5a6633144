//! The router: what holds now, and how it changes.
//!
//! Owns the table that is acted upon and the endpoints of its revisions, replaced as one. Invariant: a
//! table that is refused changes nothing but what is reported.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
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
    /// Whether all endpoints of the table have been asked.
    pub(crate) asked: AtomicBool,
    /// Whether that was so once: from then on it serves.
    pub(crate) was_synced: AtomicBool,
    /// Who serves the Services that a table names.
    pub(crate) placed: ArcSwap<Placed>,
}

/// Who serves each Service, by what Kubernetes says.
pub type Placed = BTreeMap<String, Vec<Address>>;

/// One that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// HOST:PORT.
    pub address: String,
    /// It takes requests.
    pub ready: bool,
    /// It answers still, ready or not: one that is on its way out.
    pub serving: bool,
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
            asked: AtomicBool::new(false),
            was_synced: AtomicBool::new(false),
            placed: ArcSwap::default(),
        });
        tokio::spawn(look_after(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Takes a table, as it was read somewhere.
    ///
    /// # Errors
    /// Why it is refused. The one that is held stays.
    pub fn offer(&self, bytes: &[u8]) -> Result<(), Refusal> {
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

    /// Takes who serves the Services of the tables, as it was seen last.
    pub fn place(&self, placed: Placed) {
        if **self.0.placed.load() == placed {
            return;
        }
        self.0.placed.store(Arc::new(placed));
        if let Some(view) = self.0.view.load_full() {
            self.apply(view.table.clone());
        }
    }

    fn apply(&self, table: Table) {
        let placed = self.0.placed.load_full();
        let now = self.0.clock.now();
        let before = self.0.view.load_full();
        let known = |row: &traffic::table::Row, address: &str| {
            // Another description of the same revision is another endpoint: what it said is forgotten.
            let group = before.as_ref()?.named(&row.revision)?;
            let same = group.row.digest == row.digest && group.row.calibration == row.calibration;
            let mut endpoints = group.endpoints.iter().filter(|_| same);
            endpoints
                .find(|known| known.pool.address() == address)
                .cloned()
        };
        let of = |row, address: &str| {
            known(row, address).unwrap_or_else(|| Arc::new(Endpoint::new(address)))
        };
        let groups = table.revisions().iter().map(|row| {
            let endpoints = match &row.place {
                Place::Addresses(addresses) => {
                    addresses.iter().map(|address| of(row, address)).collect()
                }
                Place::Service(service) => {
                    let served = placed.get(service).into_iter().flatten();
                    let placed = |one: &Address| {
                        let endpoint = of(row, &one.address);
                        endpoint.ready.store(one.ready, Ordering::Relaxed);
                        endpoint.serving.store(one.serving, Ordering::Relaxed);
                        endpoint
                    };
                    served.map(placed).collect()
                }
            };
            Group::new(row.clone(), endpoints, now)
        });
        let view = View {
            assigner: Assigner::new(&table.salt),
            groups: groups.collect(),
            table,
        };
        self.0.counting().apply(&view.table, now);
        tracing::info!(target: "router", generation = view.table.generation.0, "the table holds");
        let known = before.as_ref().map_or(&[][..], |view| &view.groups);
        let is_known = |endpoint: &Arc<Endpoint>| {
            let mut known = known.iter().flat_map(|group| &group.endpoints);
            known.any(|known| Arc::ptr_eq(known, endpoint))
        };
        let mut endpoints = view.groups.iter().flat_map(|group| &group.endpoints);
        // Where all have been asked before, nothing has to be waited for.
        let asked = before.is_some() && endpoints.all(is_known);
        self.0.asked.fetch_and(asked, Ordering::Relaxed);
        self.0.view.store(Some(Arc::new(view)));
        self.0.tell();
    }

    /// Whether it knows a table and the endpoints in it.
    pub fn is_synced(&self) -> bool {
        self.0.view.load().is_some() && self.0.asked.load(Ordering::Relaxed)
    }

    /// Whether it has known all that it needs once, so that it serves.
    pub fn is_ready(&self) -> bool {
        self.0.was_synced.load(Ordering::Relaxed)
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
