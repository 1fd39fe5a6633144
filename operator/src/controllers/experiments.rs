//! The experiments of the cluster, by the endpoint whose users they deal: what both controllers look at.
//!
//! Owns the watch. It must not decide which of several is in force. Invariants: one that cannot be read is left
//! out and stops no other; a cluster that does not know the kind has none, and its models are served all the same.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use crds::ABExperiment;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::watch;

use super::shared::cache::strip;
use super::shared::scope::Scope;

type Guarded = DeserializeGuard<ABExperiment>;
/// Namespace and name.
pub(super) type Key = (String, String);

/// Every experiment that can be read.
#[derive(Debug)]
pub(super) struct Experiments {
    known: RwLock<BTreeMap<Key, Arc<ABExperiment>>>,
    filled: watch::Sender<bool>,
}

/// An endpoint of which an experiment has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Touched {
    /// Its namespace and name.
    pub(super) endpoint: Key,
}

impl Experiments {
    /// Starts the watch; answers what changes.
    pub(super) fn watch(
        client: &Client,
        scope: &Scope,
    ) -> (Arc<Self>, BoxStream<'static, Touched>) {
        let own = Arc::new(Self {
            known: RwLock::default(),
            filled: watch::Sender::new(false),
        });
        let feeding = own.clone();
        let mut listed: Option<Vec<Guarded>> = None;
        let api = scope.api::<Guarded>(client);
        let touched = watcher(api, watcher::Config::default())
            .default_backoff()
            .flat_map(move |event| {
                stream::iter(match event {
                    Ok(event) => feeding.feed(event, &mut listed),
                    Err(error) => {
                        if is_unknown_kind(&error) {
                            feeding.filled.send_replace(true);
                        }
                        tracing::warn!(kind = "ABExperiment", %error, "a watch is interrupted");
                        HashSet::new()
                    }
                })
            });
        (own, touched.boxed())
    }

    fn feed(&self, event: Event<Guarded>, listed: &mut Option<Vec<Guarded>>) -> HashSet<Touched> {
        match event {
            Event::Init => {
                *listed = Some(Vec::new());
                HashSet::new()
            }
            Event::InitApply(object) => {
                listed.get_or_insert_default().push(object);
                HashSet::new()
            }
            Event::InitDone => {
                let fresh: BTreeMap<Key, Arc<ABExperiment>> = listed
                    .take()
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(read)
                    .collect();
                let before = {
                    let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *known, fresh.clone())
                };
                self.filled.send_replace(true);
                before.values().chain(fresh.values()).map(touched).collect()
            }
            Event::Apply(object) => {
                let key = key(&object);
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                let before = known.remove(&key);
                let after = read(object);
                known.extend(after.clone());
                before
                    .iter()
                    .chain(after.iter().map(|(_, one)| one))
                    .map(touched)
                    .collect()
            }
            Event::Delete(object) => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.remove(&key(&object)).iter().map(touched).collect()
            }
        }
    }

    /// Those of an endpoint, by name.
    pub(super) fn of(&self, namespace: &str, endpoint: &str) -> Vec<Arc<ABExperiment>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known
            .iter()
            .filter(|((within, _), one)| within == namespace && one.spec.endpoint.name == endpoint);
        own.map(|(_, one)| one.clone()).collect()
    }

    /// Waits until it is filled.
    pub(super) async fn fill(&self) {
        let mut filled = self.filled.subscribe();
        // An error means that the program is ending; then the waiting ends with it.
        let _ = filled.wait_for(|filled| *filled).await;
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => return status.code == 404,
        watcher::Error::NoResourceVersion => return false,
    };
    matches!(source, kube::Error::Api(status) if status.code == 404)
}

fn key(object: &Guarded) -> Key {
    let metadata = object.meta();
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn read(object: Guarded) -> Option<(Key, Arc<ABExperiment>)> {
    let key = key(&object);
    match object.0 {
        Ok(mut experiment) => {
            strip(&mut experiment);
            Some((key, Arc::new(experiment)))
        }
        Err(error) => {
            tracing::warn!(namespace = key.0, name = key.1, %error, "an ABExperiment cannot be read, and is left alone");
            None
        }
    }
}

fn touched(experiment: &Arc<ABExperiment>) -> Touched {
    let namespace = experiment.namespace().unwrap_or_default();
    Touched {
        endpoint: (namespace, experiment.spec.endpoint.name.clone()),
    }
}
