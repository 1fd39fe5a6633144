//! The endpoints of the revisions: who may be asked now, and how much each has to do.
//!
//! Owns their load and standing. It must not know who said that they are ready. Invariants: who may be
//! asked is computed when something changes, and not for each request, however many endpoints there are;
//! an endpoint that stays keeps its load, its connections and its standing, whatever else changes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use inference_scoring::Description;
use traffic::balance::{Standing, candidates, choose};
use traffic::effective::Presence;
use traffic::ejection::Ejections;
use traffic::table::{Calibration, Role, Target};
use traffic::{Millis, cutoff};

use crate::clock::Clock;
use crate::pool::Pool;

/// Tells endpoints apart that have, or had, one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64);

impl Id {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// One address that serves a revision.
#[derive(Debug)]
pub(crate) struct Endpoint {
    id: Id,
    pub(crate) pool: Pool,
    /// What lives at the address, where somebody has said so: another one is another endpoint.
    pub(crate) uid: String,
    /// Whether it is known if it serves.
    pub(crate) is_known: AtomicBool,
    pub(crate) ready: AtomicBool,
    /// It answers still, ready or not.
    pub(crate) serving: AtomicBool,
    /// It has answered as another revision, and is asked no more until it says otherwise.
    pub(crate) is_another: AtomicBool,
    /// Answers that were computed, so that one that is cold is known.
    answers: AtomicU64,
    /// Bytes of the inputs that wait at it.
    load: AtomicU64,
    in_flight: AtomicU32,
    /// Who it said that it is last.
    pub(crate) by: Mutex<Option<Said>>,
}

/// Who an endpoint said that it is.
#[derive(Debug)]
pub(crate) struct Said {
    /// The bytes that it says it with.
    pub(crate) bytes: Bytes,
    /// What the table said of it then.
    pub(crate) calibration: Option<Calibration>,
    pub(crate) description: Arc<Description>,
}

impl Endpoint {
    pub(crate) fn new(address: &str, uid: &str) -> Self {
        Self {
            id: Id::next(),
            pool: Pool::new(address.to_owned()),
            uid: uid.to_owned(),
            is_known: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            is_another: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            load: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            by: Mutex::new(None),
        }
    }

    /// Somebody has said whether it serves.
    pub(crate) fn is(&self, ready: bool, serving: bool) -> bool {
        self.serving.store(serving, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
        self.ready.swap(ready, Ordering::Relaxed) != ready
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_cold(&self) -> bool {
        self.answers.load(Ordering::Relaxed) < cutoff::COLD_ANSWERS
    }
}

/// A request that an endpoint has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) endpoint: Arc<Endpoint>,
    bytes: u64,
}

impl Held {
    fn new(endpoint: Arc<Endpoint>, bytes: u64) -> Self {
        endpoint.load.fetch_add(bytes, Ordering::Relaxed);
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.endpoint.load.fetch_sub(self.bytes, Ordering::Relaxed);
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no endpoint takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// None may be asked.
    Absent,
    /// All have as many requests as they may.
    Full,
}

/// The endpoints of one revision of the table, or of one variant of its experiment.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) target: Target,
    /// What it is in a rollout; `None` for a variant of an experiment.
    pub(crate) role: Option<Role>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// Shared with the groups of the same revision that came before: requests that began with them
    /// are still under way.
    ejections: Arc<Mutex<Ejections<Id>>>,
    candidates: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Whether one of them takes new requests, put aside or not.
    is_ready: AtomicBool,
    /// When an endpoint comes back that was put aside.
    returns: AtomicU64,
}

impl Group {
    /// Those of a target, after those of `before`, which was the same revision's.
    pub(crate) fn new(
        target: Target,
        role: Option<Role>,
        endpoints: Vec<Arc<Endpoint>>,
        before: Option<&Self>,
        now: Millis,
    ) -> Self {
        let ejections = before.map(|before| before.ejections.clone());
        let group = Self {
            target,
            role,
            endpoints,
            ejections: ejections.unwrap_or_default(),
            candidates: ArcSwap::default(),
            is_ready: AtomicBool::new(false),
            returns: AtomicU64::new(u64::MAX),
        };
        let here: BTreeSet<Id> = group.endpoints.iter().map(|e| e.id).collect();
        group
            .ejections()
            .keep(|id| here.contains(id), group.endpoints.len(), now);
        group.changed(now);
        group
    }

    fn ejections(&self) -> MutexGuard<'_, Ejections<Id>> {
        self.ejections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes anew who may be asked. Says whether somebody else may be than before.
    pub(crate) fn changed(&self, now: Millis) -> bool {
        let ejections = self.ejections();
        let standing = |endpoint: &Arc<Endpoint>| {
            let is_ours = !endpoint.is_another.load(Ordering::Relaxed);
            Standing {
                ready: is_ours && endpoint.ready.load(Ordering::Relaxed),
                serving: is_ours && endpoint.serving.load(Ordering::Relaxed),
                ejected: ejections.is_ejected(&endpoint.id, now),
            }
        };
        let standings: Vec<Standing> = self.endpoints.iter().map(standing).collect();
        let is_ready = standings.iter().any(|standing| standing.ready);
        let was_ready = self.is_ready.swap(is_ready, Ordering::Relaxed);
        let chosen = candidates(&standings).into_iter();
        let chosen: Vec<_> = chosen
            .filter_map(|place| self.endpoints.get(place).cloned())
            .collect();
        let returns = ejections.next_return(now).map_or(u64::MAX, |at| at.0);
        self.returns.store(returns, Ordering::Relaxed);
        let before = self.candidates.swap(Arc::new(chosen));
        let now = self.candidates.load();
        was_ready != is_ready
            || before.len() != now.len()
            || !before
                .iter()
                .zip(now.iter())
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether anybody may be asked.
    pub(crate) fn is_usable(&self) -> bool {
        !self.candidates.load().is_empty()
    }

    /// How it can be asked.
    pub(crate) fn presence(&self) -> Presence {
        if self.is_ready.load(Ordering::Relaxed) {
            Presence::Ready
        } else if self.is_usable() {
            Presence::Leaving
        } else {
            Presence::Absent
        }
    }

    /// Endpoints that take requests.
    pub(crate) fn ready(&self) -> usize {
        let ready = |endpoint: &&Arc<Endpoint>| {
            endpoint.ready.load(Ordering::Relaxed) && !endpoint.is_another.load(Ordering::Relaxed)
        };
        self.endpoints.iter().filter(ready).count()
    }

    /// The endpoint that takes a request of so many bytes; another one than `not`, where there is one.
    pub(crate) fn take(
        &self,
        bytes: usize,
        not: Option<&Arc<Endpoint>>,
        clock: &Clock,
        now: Millis,
    ) -> Result<Held, Nobody> {
        if now.0 >= self.returns.load(Ordering::Relaxed) {
            self.changed(now);
        }
        let candidates = self.candidates.load();
        let of =
            |endpoint: &Arc<Endpoint>| candidates.iter().position(|c| Arc::ptr_eq(c, endpoint));
        let left_out = not.filter(|_| candidates.len() > 1).and_then(of);
        let count = candidates.len() - usize::from(left_out.is_some());
        let at = |place: usize| {
            let behind = left_out.is_some_and(|left_out| place >= left_out);
            candidates.get(place + usize::from(behind))
        };
        let load = |place| at(place).map_or(u64::MAX, |e| e.load.load(Ordering::Relaxed));
        // Two that are full say little of many others.
        for _ in 0..4 {
            let place = choose(count, load, clock.random(), clock.random());
            let chosen = place.and_then(at).ok_or(Nobody::Absent)?;
            let has = chosen.in_flight.load(Ordering::Relaxed);
            if self.target.capacity.is_none_or(|capacity| has < capacity) {
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX >> 8);
                return Ok(Held::new(chosen.clone(), bytes));
            }
        }
        Err(Nobody::Full)
    }

    /// An endpoint answered.
    pub(crate) fn succeeded(&self, endpoint: &Endpoint, now: Millis) {
        self.ejections().succeeded(&endpoint.id, now);
    }

    /// An endpoint failed. Says whether it is put aside for a while.
    pub(crate) fn failed(&self, endpoint: &Endpoint, now: Millis) -> bool {
        let aside = self
            .ejections()
            .failed(&endpoint.id, self.endpoints.len(), now);
        if aside {
            tracing::warn!(
                target: "router",
                revision = %self.target.revision,
                endpoint = endpoint.pool.address(),
                "put aside for a while: it failed several times in a row"
            );
            self.changed(now);
        }
        aside
    }
}
