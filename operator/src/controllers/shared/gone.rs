//! Resources that are gone, which no reconcile is asked for.
//!
//! Owns which of them were there. Invariant: what is held for one is given back once, also where the watch was away
//! when it went.

use std::collections::HashSet;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Those that are there, and what is done for one that goes, by its uid.
pub(crate) struct Gone<F> {
    forget: F,
    known: HashSet<String>,
    /// Those of a list that is being read anew.
    listed: HashSet<String>,
}

impl<F: FnMut(&str)> Gone<F> {
    /// Nobody is there yet.
    pub(crate) fn new(forget: F) -> Self {
        Self {
            forget,
            known: HashSet::new(),
            listed: HashSet::new(),
        }
    }

    /// What a watch has seen.
    pub(crate) fn see<K: Resource>(&mut self, event: &Event<K>) {
        let uid = |object: &K| object.uid().unwrap_or_default();
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => {
                self.listed.insert(uid(object));
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                for uid in self.known.difference(&listed) {
                    (self.forget)(uid);
                }
                self.known = listed;
            }
            Event::Apply(object) => {
                self.known.insert(uid(object));
            }
            Event::Delete(object) => {
                self.known.remove(&uid(object));
                (self.forget)(&uid(object));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": uid, "uid": uid}})).unwrap()
    }

    #[test]
    fn what_goes_is_given_back_also_where_the_watch_was_away() {
        let mut back = Vec::new();
        let mut gone = Gone::new(|uid: &str| back.push(uid.to_owned()));
        for uid in ["a", "b", "c"] {
            gone.see(&Event::Apply(pod(uid)));
        }
        gone.see(&Event::Delete(pod("a")));
        gone.see(&Event::<Pod>::Init);
        gone.see(&Event::InitApply(pod("c")));
        gone.see(&Event::<Pod>::InitDone);
        drop(gone);
        assert_eq!(back, ["a", "b"]);
    }
}
