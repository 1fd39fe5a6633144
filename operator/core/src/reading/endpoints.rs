//! Whom the Service that clients call leads to, by its EndpointSlices.
//!
//! Invariant: an endpoint that is not ready takes no traffic and counts for nobody; one whose pod is
//! unknown counts for nobody either, so that nothing is relied upon by a guess.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::observed::label;

/// How many of the `pods` the Service `service` leads to. A pod may stand in several slices, once for
/// each address family, and counts once.
pub fn reached<'a>(
    service: &str,
    slices: &[Arc<EndpointSlice>],
    pods: impl Iterator<Item = &'a Arc<Pod>>,
) -> usize {
    let ready: BTreeSet<&str> = slices
        .iter()
        .filter(|slice| label(&slice.metadata, "kubernetes.io/service-name") == Some(service))
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        })
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.as_deref())
        .collect();
    pods.filter_map(|pod| pod.metadata.uid.as_deref())
        .filter(|uid| ready.contains(uid))
        .count()
}
