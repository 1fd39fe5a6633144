//! Which revisions the Service that clients call sends them to, by its EndpointSlices.
//!
//! Invariant: an endpoint whose pod is unknown counts as another revision's, so that nothing is
//! removed on a guess; an endpoint that is not ready takes no traffic and counts for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::identity::RevisionHash;
use crate::observed::{label, revision_of};

/// Ready endpoints of a Service by revision; `None` is a pod that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<Option<RevisionHash>, usize>);

impl Endpoints {
    /// Reads the slices of the Service `service`. A pod may stand in several of them, once for each
    /// address family, and counts once.
    pub fn of(service: &str, slices: &[Arc<EndpointSlice>], pods: &[Arc<Pod>]) -> Self {
        let revisions: BTreeMap<&str, RevisionHash> = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.uid.as_deref()?, revision_of(&pod.metadata)?)))
            .collect();
        let ready = slices
            .iter()
            .filter(|slice| label(&slice.metadata, "kubernetes.io/service-name") == Some(service))
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.and_then(|conditions| conditions.ready) != Some(false)
            });
        let mut counts = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for endpoint in ready {
            let target = endpoint.target_ref.as_ref();
            let uid = target.and_then(|target| target.uid.as_deref());
            if uid.is_some_and(|uid| !seen.insert(uid)) {
                continue;
            }
            let revision = uid.and_then(|uid| revisions.get(uid)).cloned();
            *counts.entry(revision).or_insert(0) += 1;
        }
        Self(counts)
    }

    /// Whether they lead to at least `least` pods of `revision`, and to no other's.
    pub fn only(&self, revision: &RevisionHash, least: i32) -> bool {
        let own = self.0.get(&Some(revision.clone())).copied().unwrap_or(0);
        let all: usize = self.0.values().sum();
        own == all && i32::try_from(own).unwrap_or(i32::MAX) >= least
    }

    /// The share of the endpoints that are of `revision`, in percent; `None` where there are none.
    pub fn percent(&self, revision: &RevisionHash) -> Option<i32> {
        let all: usize = self.0.values().sum();
        let own = self.0.get(&Some(revision.clone())).copied().unwrap_or(0);
        i32::try_from((own * 100).checked_div(all)?).ok()
    }
}
