//! The routers' evidence of experiments: one task for each router pod of the endpoint, which fetches what it has
//! counted of every metric again and again.
//!
//! Owns the fetching and the ledgers in memory. It must not judge. Invariants: evidence of another epoch is never
//! taken; what a router that is gone has told stays as long as its epoch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use operator_core::experiment::ledger::{Ledger, Ledgers};
use operator_core::identity::AdminKey;
use tokio::task::AbortHandle;
use traffic::evidence::experiment::{Evidence, MAX_BYTES, Subject};

use crate::controllers::shared::Owner;
use crate::controllers::shared::asking::{Asking, admin};

/// How often a router is asked: what one that is killed takes with it is what it counted in this time.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The evidence of all experiments.
#[derive(Debug)]
pub(super) struct Fetching {
    client: Asking,
    key: Option<AdminKey>,
    /// By the uid of the experiment.
    counted: Arc<Mutex<HashMap<String, Counted>>>,
}

/// One epoch.
#[derive(Debug)]
struct Counted {
    epoch: u64,
    ledgers: Ledgers,
    /// By address of the router.
    tasks: HashMap<String, AbortHandle>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// A router of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// The name of its pod.
    pub(super) pod: String,
    /// HOST:PORT of its admin port, once it has one.
    pub(super) address: Option<String>,
}

impl Fetching {
    pub(super) fn new(client: Asking, key: Option<AdminKey>) -> Self {
        Self {
            client,
            key,
            counted: Arc::default(),
        }
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<String, Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an epoch is known here.
    pub(super) fn knows(&self, uid: &str, epoch: u64) -> bool {
        self.counted()
            .get(uid)
            .is_some_and(|counted| counted.epoch == epoch)
    }

    /// Begins with an epoch, by what an operator before us has kept of it.
    pub(super) fn begin(
        &self,
        uid: &str,
        epoch: u64,
        subjects: &BTreeMap<String, Subject>,
        kept: &BTreeMap<String, ConfigMap>,
    ) {
        let ledgers = subjects.iter().map(|(metric, subject)| {
            let ledger = kept
                .get(metric)
                .and_then(|object| read(object, subject))
                .unwrap_or_else(|| Ledger::new(subject.clone()));
            (metric.clone(), ledger)
        });
        let counted = Counted {
            epoch,
            ledgers: ledgers.collect(),
            tasks: HashMap::new(),
        };
        self.counted().insert(uid.to_owned(), counted);
    }

    /// Fetches from these routers of the endpoint with this uid, and no others.
    pub(super) fn fetch(&self, uid: &str, endpoint: &Owner, routers: &[Router]) {
        let mut all = self.counted();
        let Some(counted) = all.get_mut(uid) else {
            return;
        };
        let pods: Vec<String> = routers.iter().map(|router| router.pod.clone()).collect();
        for ledger in counted.ledgers.values_mut() {
            ledger.retire(&pods);
        }
        let there = routers
            .iter()
            .filter_map(|router| router.address.as_deref());
        let there: HashSet<&str> = there.collect();
        counted.tasks.retain(|address, task| {
            let stays = there.contains(address.as_str());
            if !stays {
                task.abort();
            }
            stays
        });
        for address in there {
            let task = counted.tasks.entry(address.to_owned());
            task.or_insert_with(|| self.ask(uid, endpoint, address.to_owned()));
        }
    }

    /// What is known of an epoch.
    pub(super) fn ledgers(&self, uid: &str) -> Ledgers {
        let all = self.counted();
        all.get(uid)
            .map(|counted| counted.ledgers.clone())
            .unwrap_or_default()
    }

    /// Keeps what a look has found.
    pub(super) fn change(&self, uid: &str, change: impl FnOnce(&mut Ledgers)) {
        if let Some(counted) = self.counted().get_mut(uid) {
            change(&mut counted.ledgers);
        }
    }

    /// An experiment that counts no more, or is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.counted().remove(uid);
    }

    fn ask(&self, uid: &str, endpoint: &Owner, address: String) -> AbortHandle {
        let client = self.client.clone();
        let token = self.key.as_ref().map(|key| key.token(&endpoint.uid));
        let (counted, uid) = (self.counted.clone(), uid.to_owned());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let wanted: Vec<(String, u64)> = {
                    let all = counted.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(counted) = all.get(&uid) else {
                        return;
                    };
                    let names = counted.ledgers.keys();
                    names.map(|name| (name.clone(), counted.epoch)).collect()
                };
                for (metric, epoch) in wanted {
                    let asked = ask(&client, &address, token.as_deref(), &metric, epoch);
                    let document = match tokio::time::timeout(PATIENCE, asked)
                        .await
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer")))
                    {
                        Ok(Some(document)) => document,
                        Ok(None) => continue,
                        Err(error) => {
                            tracing::debug!(address, %error, "a router tells nothing of its experiment");
                            continue;
                        }
                    };
                    let mut all = counted.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(counted) = all.get_mut(&uid) else {
                        return;
                    };
                    if let Some(ledger) = counted.ledgers.get_mut(&metric) {
                        ledger.take(document);
                    }
                }
            }
        });
        task.abort_handle()
    }
}

/// What an operator before us has kept of a metric's epoch.
fn read(object: &ConfigMap, subject: &Subject) -> Option<Ledger> {
    match Ledger::read(object, subject) {
        Ok(ledger) => ledger,
        Err(error) => {
            tracing::warn!(%error, "what was kept of an experiment cannot be read: it begins anew");
            None
        }
    }
}

/// What a router has counted of a metric; `None` where it knows nothing of the experiment.
async fn ask(
    client: &Asking,
    address: &str,
    token: Option<&str>,
    metric: &str,
    epoch: u64,
) -> anyhow::Result<Option<Evidence>> {
    let path = format!("/evidence/experiment?metric={metric}&epoch={epoch}");
    let request = admin(address, &path, token);
    let document = client.document(request, MAX_BYTES).await?;
    document
        .map(|bytes| Ok(Evidence::from_bytes(&bytes)?))
        .transpose()
}
