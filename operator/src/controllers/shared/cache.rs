//! A cache of one kind of children, by the resource that they belong to.
//!
//! Owns the indexes that watches fill. Invariants: what one owner has is found without a walk over
//! all others; only objects with our label are watched, and they are kept without what nobody reads,
//! so that memory follows the number of owners and not the size of the cluster.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::scope::Scope;

/// Namespace and name of an owner.
type Key = (String, String);
type Index<K> = HashMap<Key, BTreeMap<String, Arc<K>>>;

/// Children of one kind.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    /// The label whose value is the owner's name.
    label: &'static str,
    objects: RwLock<Index<K>>,
    filled: watch::Sender<bool>,
}

impl<K> Cache<K>
where
    K: Resource<Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    /// Starts a watch over the objects that carry `label`; answers the cache and the owners whose
    /// children change. `slim` takes away what nobody reads.
    pub(crate) fn watch<O>(
        (client, scope): (&Client, &Scope),
        label: &'static str,
        slim: fn(&mut K),
    ) -> (Arc<Self>, BoxStream<'static, ObjectRef<O>>)
    where
        O: Resource<DynamicType = ()> + 'static,
    {
        let cache = Arc::new(Self {
            label,
            objects: RwLock::default(),
            filled: watch::Sender::new(false),
        });
        let feeding = cache.clone();
        let mut listed: Option<Vec<K>> = None;
        let owners = watcher(
            scope.api::<K>(client),
            watcher::Config::default().labels(label),
        )
        .default_backoff()
        .flat_map(move |event| {
            let touched = match event {
                Ok(event) => feeding.feed(event, &mut listed, slim),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "a watch is interrupted");
                    HashSet::new()
                }
            };
            stream::iter(touched)
        })
        .map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
        (cache, owners.boxed())
    }

    fn feed(&self, event: Event<K>, listed: &mut Option<Vec<K>>, slim: fn(&mut K)) -> HashSet<Key> {
        match event {
            Event::Init => {
                *listed = Some(Vec::new());
                HashSet::new()
            }
            Event::InitApply(object) => {
                if let Some(listed) = listed {
                    listed.push(slimmed(object, slim));
                }
                HashSet::new()
            }
            Event::InitDone => self.replace(listed.take().unwrap_or_default()),
            Event::Apply(object) => self.put(slimmed(object, slim)).into_iter().collect(),
            Event::Delete(object) => self.remove(&object).into_iter().collect(),
        }
    }

    fn owner(&self, object: &K) -> Option<Key> {
        let name = object.labels().get(self.label)?;
        Some((object.namespace()?, name.clone()))
    }

    fn put(&self, object: K) -> Option<Key> {
        let key = self.owner(&object)?;
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let own = objects.entry(key.clone()).or_default();
        own.insert(object.name_any(), Arc::new(object));
        Some(key)
    }

    fn remove(&self, object: &K) -> Option<Key> {
        let key = self.owner(object)?;
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = objects.get_mut(&key) {
            own.remove(&object.name_any());
            if own.is_empty() {
                objects.remove(&key);
            }
        }
        Some(key)
    }

    /// What was listed takes the place of what was there; whoever had or has something is touched.
    fn replace(&self, listed: Vec<K>) -> HashSet<Key> {
        let mut fresh = Index::new();
        for object in listed {
            if let Some(key) = self.owner(&object) {
                let own = fresh.entry(key).or_default();
                own.insert(object.name_any(), Arc::new(object));
            }
        }
        let mut touched: HashSet<Key> = fresh.keys().cloned().collect();
        {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            touched.extend(objects.keys().cloned());
            *objects = fresh;
        }
        self.filled.send_replace(true);
        touched
    }

    /// The objects of one owner, by name, so that a plan does not depend on the order of arrival.
    pub(crate) fn of(&self, namespace: &str, name: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let own = objects.get(&(namespace.to_owned(), name.to_owned()));
        own.into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// The objects of all owners in a namespace.
    pub(crate) fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let own = objects.iter().filter(|((of, _), _)| of == namespace);
        own.flat_map(|(_, own)| own.values()).cloned().collect()
    }

    /// How many owners have something.
    pub(crate) fn owners(&self) -> usize {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.len()
    }

    /// Waits until it is filled.
    pub(crate) async fn fill(&self) {
        let mut filled = self.filled.subscribe();
        // An error means that the program is ending; then the waiting ends with it.
        let _ = filled.wait_for(|filled| *filled).await;
    }
}

/// An object without what no reader looks at.
pub(crate) fn slimmed<K: Resource>(mut object: K, slim: fn(&mut K)) -> K {
    strip(&mut object);
    slim(&mut object);
    object
}

/// Takes away who wrote which field, and the copy that kubectl keeps.
pub(crate) fn strip<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;

    fn service(owner: &str, name: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": name, "labels": {"l": owner}, "managedFields": [{}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}},
        }))
        .unwrap()
    }

    fn cache() -> Cache<Service> {
        Cache {
            label: "l",
            objects: RwLock::default(),
            filled: watch::Sender::new(false),
        }
    }

    fn names(cache: &Cache<Service>, owner: &str) -> Vec<String> {
        cache.of("n", owner).iter().map(|o| o.name_any()).collect()
    }

    #[test]
    fn an_owner_finds_its_own_and_no_other_s() {
        let cache = cache();
        let mut listed = None;
        for (owner, name) in [("a", "2"), ("a", "1"), ("b", "3")] {
            let touched = cache.feed(Event::Apply(service(owner, name)), &mut listed, |_| {});
            assert_eq!(touched, HashSet::from([("n".to_owned(), owner.to_owned())]));
        }
        assert_eq!(names(&cache, "a"), ["1", "2"]);
        assert_eq!(names(&cache, "c"), [""; 0]);
        assert_eq!((cache.within("n").len(), cache.within("m").len()), (3, 0));
        cache.feed(Event::Delete(service("b", "3")), &mut listed, |_| {});
        assert_eq!(cache.owners(), 1);
    }

    #[test]
    fn a_watch_that_starts_anew_forgets_what_is_gone_and_tells_its_owner() {
        let cache = cache();
        let mut listed = None;
        cache.feed(Event::Apply(service("a", "1")), &mut listed, |_| {});
        cache.feed(Event::Init, &mut listed, |_| {});
        cache.feed(Event::InitApply(service("b", "2")), &mut listed, |_| {});
        assert_eq!(
            names(&cache, "a"),
            ["1"],
            "readers see the old until the new is whole"
        );
        let touched = cache.feed(Event::InitDone, &mut listed, |_| {});
        assert_eq!(touched.len(), 2);
        assert_eq!(names(&cache, "a"), [""; 0]);
        assert_eq!(names(&cache, "b"), ["2"]);
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let slim = slimmed(service("a", "1"), |_| {});
        assert_eq!(slim.metadata.managed_fields, None);
        assert_eq!(slim.annotations().len(), 1);
    }
}
