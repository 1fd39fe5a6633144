//! Which digests a namespace names: a cache that many share keeps those.
//!
//! Invariant: what a revision serves, may serve again, or is going to serve is among them, whether its
//! record is there or not.

use std::collections::BTreeSet;

use crds::labels;
use crds::value::Digest;
use k8s_openapi::api::apps::v1::Deployment;

use super::resolution::sound;
use crate::observed::{Children, annotation};

/// The digests that the objects of anybody name: records, Deployments (should their record be gone), and
/// what a Job has just found.
pub fn digests(children: &Children) -> BTreeSet<Digest> {
    let recorded = children.records.iter();
    let recorded = recorded.filter_map(|record| annotation(&record.metadata, labels::DIGEST));
    let served = children.deployments.iter().flat_map(|one| served(one));
    let found = children.pods.iter().filter_map(|pod| sound(pod));
    let named = recorded.chain(served).map(Digest::from);
    named
        .chain(found.map(|facts| facts.digest))
        .filter(is_one)
        .collect()
}

/// The words of a Deployment's arguments: those that are digests count.
fn served(deployment: &Deployment) -> impl Iterator<Item = &str> {
    let pods = deployment
        .spec
        .iter()
        .filter_map(|spec| spec.template.spec.as_ref());
    let containers = pods.flat_map(|pod| &pod.containers);
    let args = containers.flat_map(|container| container.args.iter().flatten());
    args.map(|arg| arg.strip_prefix("--digest=").unwrap_or(arg))
}

fn is_one(digest: &Digest) -> bool {
    let hex = digest.as_str().strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}
