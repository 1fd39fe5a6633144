//! The routers' evidence: one task for each router pod of a rollout that is judged, which fetches its document
//! again and again until the router has handed over its last one.
//!
//! Owns the fetching and the ledger in memory. It must not judge. Invariants: where no rollout is judged nobody
//! is asked; a router that is told to leave is asked until it has said that this was all; what a router that is
//! gone has told stays as long as its rollout; evidence that is not of the rollout is never taken.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::reflector::ObjectRef;
use operator_core::evidence::Ledger;
use operator_core::identity::AdminKey;
use operator_core::observed::Children;
use operator_core::plan::Collects;
use tokio::task::AbortHandle;
use traffic::evidence::{Evidence, MAX_BYTES, Subject};

use super::Trigger;
use super::routers::address;
use crate::controllers::shared::Owner;
use crate::controllers::shared::asking::{Asking, admin};

/// How often a router is asked: what one that is killed takes with it is what it saw in this time.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The evidence of all rollouts that are judged.
#[derive(Debug)]
pub(super) struct Fetching {
    client: Asking,
    key: Option<AdminKey>,
    /// By the uid of the model.
    judged: Arc<Mutex<HashMap<String, Judged>>>,
    news: UnboundedSender<ObjectRef<Trigger>>,
}

/// One rollout.
#[derive(Debug)]
struct Judged {
    ledger: Arc<Ledger>,
    /// Whether somebody waits for what the routers tell; gates are looked at in their own time.
    is_awaited: bool,
    /// By address of the router: a pod that is made again has another one.
    tasks: HashMap<String, AbortHandle>,
}

impl Drop for Judged {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

impl Fetching {
    pub(super) fn new(
        client: Asking,
        key: Option<AdminKey>,
        news: UnboundedSender<ObjectRef<Trigger>>,
    ) -> Self {
        Self {
            client,
            key,
            judged: Arc::default(),
            news,
        }
    }

    /// What is known of the rollout in flight, or of the last one that was judged.
    pub(super) fn ledger(&self, uid: &str) -> Option<Arc<Ledger>> {
        self.judged().get(uid).map(|judged| judged.ledger.clone())
    }

    fn judged(&self) -> MutexGuard<'_, HashMap<String, Judged>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the rollout that `collects` names is known here.
    pub(super) fn knows(&self, uid: &str, collects: &Collects) -> bool {
        let all = self.judged();
        all.get(uid)
            .is_some_and(|judged| *judged.ledger.subject() == collects.subject)
    }

    /// Whether it is known what any rollout of a model was judged by.
    pub(super) fn knows_any(&self, uid: &str) -> bool {
        self.judged().contains_key(uid)
    }

    /// Begins with a rollout, by what an operator before us has kept of it.
    pub(super) fn begin(&self, owner: &Owner, subject: &Subject, kept: Option<&ConfigMap>) {
        let kept = read(owner, kept).filter(|ledger| ledger.subject() == subject);
        self.know(owner, kept.unwrap_or_else(|| Ledger::new(subject.clone())));
    }

    /// The rollout is over: what an operator before us has kept is all that there is.
    pub(super) fn remember(&self, owner: &Owner, kept: Option<&ConfigMap>) {
        if let Some(ledger) = read(owner, kept) {
            self.know(owner, ledger);
        }
    }

    fn know(&self, owner: &Owner, ledger: Ledger) {
        let judged = Judged {
            ledger: Arc::new(ledger),
            is_awaited: false,
            tasks: HashMap::new(),
        };
        self.judged().insert(owner.uid.clone(), judged);
    }

    /// No router is asked any more: what is known is what it is judged by until the end.
    pub(super) fn rest(&self, uid: &str) {
        if let Some(judged) = self.judged().get_mut(uid) {
            judged.tasks.drain().for_each(|(_, task)| task.abort());
        }
    }

    /// Fetches what `collects` says from the routers among `children`.
    pub(super) fn fetch(&self, owner: &Owner, children: &Children, collects: &Collects) {
        let mut all = self.judged();
        let Some(judged) = all.get_mut(&owner.uid) else {
            return;
        };
        judged.is_awaited = collects.waits;
        if judged.ledger.share() != collects.share {
            Arc::make_mut(&mut judged.ledger).enters(collects.share);
        }
        let there: HashSet<String> = children.routers().filter_map(|pod| address(pod)).collect();
        judged.tasks.retain(|address, task| {
            // A container that was started anew in its pod has its address, and begins anew too.
            let stays = there.contains(address) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for address in there {
            let task = judged.tasks.entry(address.clone());
            task.or_insert_with(|| self.ask(owner, address));
        }
    }

    /// A rollout that nobody judges any more, or a model that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.judged().remove(uid);
    }

    fn ask(&self, owner: &Owner, address: String) -> AbortHandle {
        let (client, news) = (self.client.clone(), self.news.clone());
        let token = self.key.as_ref().map(|key| key.token(&owner.uid));
        let (judged, owner) = (self.judged.clone(), owner.clone());
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let asked =
                    tokio::time::timeout(PATIENCE, ask(&client, &address, token.as_deref()));
                let document = match asked
                    .await
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer")))
                {
                    Ok(Some(document)) => document,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::debug!(address, %error, "a router tells nothing of its rollout");
                        continue;
                    }
                };
                let is_last = document.leaving;
                let mut all = judged.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(judged) = all.get_mut(&owner.uid) else {
                    return;
                };
                let is_news = Arc::make_mut(&mut judged.ledger).take(document);
                if is_news && judged.is_awaited {
                    // An error means that the controller is ending.
                    let _ =
                        news.unbounded_send(ObjectRef::new(&owner.name).within(&owner.namespace));
                }
                if is_last {
                    return;
                }
            }
        });
        task.abort_handle()
    }
}

/// What an operator before us has kept of a rollout.
fn read(owner: &Owner, kept: Option<&ConfigMap>) -> Option<Ledger> {
    kept.and_then(|object| match Ledger::read(object) {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            tracing::warn!(namespace = owner.namespace, %error, "what was kept of the routers' evidence cannot be read: it begins anew");
            None
        }
    })
}

/// The document of a router; `None` where it has seen no rollout.
async fn ask(
    client: &Asking,
    address: &str,
    token: Option<&str>,
) -> anyhow::Result<Option<Evidence>> {
    let request = admin(address, "/evidence", token);
    let document = client.document(request, MAX_BYTES).await?;
    document
        .map(|bytes| Ok(Evidence::from_bytes(&bytes)?))
        .transpose()
}
