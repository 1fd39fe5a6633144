//! Which revisions the Service that clients call sends them to, by its EndpointSlices.
//!
//! Invariant: an endpoint whose pod is unknown counts as another revision's, so that nothing is
//! removed on a guess.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{label, revision_of};
use crate::identity::RevisionHash;

/// Endpoints of a Service by revision; `None` is a pod that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<Option<RevisionHash>, usize>);

impl Endpoints {
    /// Reads the slices of the Service `service`.
    pub fn of(service: &str, slices: &[EndpointSlice], pods: &[Pod]) -> Self {
        let revisions: BTreeMap<&str, RevisionHash> = pods
            .iter()
            .filter_map(|pod| Some((pod.metadata.uid.as_deref()?, revision_of(&pod.metadata)?)))
            .collect();
        let mut counts = BTreeMap::new();
        for slice in slices {
            if label(&slice.metadata, "kubernetes.io/service-name") != Some(service) {
                continue;
            }
            for endpoint in &slice.endpoints {
                let uid = endpoint
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.uid.as_deref());
                let revision = uid.and_then(|uid| revisions.get(uid)).cloned();
                *counts.entry(revision).or_insert(0) += 1;
            }
        }
        Self(counts)
    }

    /// Whether they lead to pods of `revision` and to no other. `may_be_empty` where none are
    /// wanted.
    pub fn only(&self, revision: &RevisionHash, may_be_empty: bool) -> bool {
        let mut revisions = self.0.keys();
        match (revisions.next(), revisions.next()) {
            (None, _) => may_be_empty,
            (Some(one), None) => one.as_ref() == Some(revision),
            (Some(_), Some(_)) => false,
        }
    }

    /// The share of the endpoints that are of `revision`, in percent; `None` where there are none.
    pub fn percent(&self, revision: &RevisionHash) -> Option<i32> {
        let all: usize = self.0.values().sum();
        let own = self.0.get(&Some(revision.clone())).copied().unwrap_or(0);
        i32::try_from((own * 100).checked_div(all)?).ok()
    }
}
