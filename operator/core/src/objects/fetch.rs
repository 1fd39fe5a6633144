//! The container that fetches a model, and where it puts it: into a cache's claim, once, or into the
//! pod's own folder.
//!
//! Invariants: credentials come from their Secret into the environment of this container and of no
//! other, and are in no argument; a server never writes to its model.

use std::collections::BTreeSet;

use crds::v1alpha1::reward_model::server::Server;
use crds::value::Digest;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvFromSource, EnvVar, PersistentVolumeClaimVolumeSource,
    SecretEnvSource, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;

use super::pod::{self, MODELS, TERMINATION_LOG};
use crate::identity::names;
use crate::spec::{Credentials, Mount, Remote, Source};

/// Room beside the model's files, for the notes of a fetch.
const SLACK: i64 = 64 << 20;
/// More than a Job's arguments have room for; then nothing is removed.
const MOST_KEPT: usize = 1_000;

/// The digests that a cache keeps, and when those were all.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// The digests.
    pub digests: &'a BTreeSet<Digest>,
    /// When they were counted.
    pub as_of: Timestamp,
    /// In which namespace: another one that has the same volume knows others.
    pub namespace: &'a str,
}

/// Where a server finds its model, and who puts it there.
pub(super) struct Place {
    pub(super) volume: Volume,
    pub(super) folder: String,
    pub(super) before: Option<Container>,
}

/// The place of the model of `source` in a server's pod. `bytes` are those of its files.
pub(super) fn place(
    source: &Source,
    digest: &Digest,
    bytes: Option<i64>,
    server: &Server,
    image: String,
) -> Place {
    let mounted = |mount: &Mount| Place {
        volume: pod::model_volume(mount),
        folder: pod::model_folder(mount),
        before: None,
    };
    match source {
        Source::Volume(mount) => mounted(mount),
        Source::Remote(remote) => match remote.mount(digest) {
            Some(mount) => mounted(&mount),
            None => alone(remote, digest, bytes, server, image),
        },
    }
}

/// Each pod has its own copy, fetched while it holds its node, and checked before it is served.
fn alone(
    remote: &Remote,
    digest: &Digest,
    bytes: Option<i64>,
    server: &Server,
    image: String,
) -> Place {
    let folder = format!("{MODELS}/{}", Remote::folder());
    let mut args = vec!["fetch".to_owned(), remote.address.clone()];
    for (flag, value) in [
        ("--to", folder.as_str()),
        ("--digest", digest.as_str()),
        ("--output", TERMINATION_LOG),
    ] {
        args.extend([flag.to_owned(), value.to_owned()]);
    }
    let mut fetch = container(names::FETCH, image, args, remote, server);
    fetch.resources = pod::requirements_on_cpu(server);
    let limit = bytes.map(|bytes| Quantity(bytes.saturating_add(SLACK).to_string()));
    Place {
        volume: own_folder(limit),
        folder,
        before: Some(fetch),
    }
}

/// Arguments that fetch into a cache and check what came; `pinned` is what it has to be.
pub(super) fn args(remote: &Remote, pinned: Option<&Digest>) -> Vec<String> {
    let cache = format!("{MODELS}/{}", Remote::folder());
    let mut args = vec!["fetch".to_owned(), remote.address.clone()];
    args.extend(["--cache".to_owned(), cache]);
    args.extend(["--output".to_owned(), TERMINATION_LOG.to_owned()]);
    if let Some(digest) = pinned {
        args.extend(["--digest".to_owned(), digest.to_string()]);
    }
    args
}

/// Arguments that have what is no more in use removed from a cache that stays.
pub(super) fn sweep_args(remote: &Remote, kept: &Kept<'_>) -> Vec<String> {
    if remote.cache.is_none() || kept.digests.len() > MOST_KEPT {
        return Vec::new();
    }
    let mut args = vec!["--as-of".to_owned(), kept.as_of.to_string()];
    args.extend(["--owner".to_owned(), kept.namespace.to_owned()]);
    args.extend(kept.digests.iter().map(|digest| format!("--keep={digest}")));
    args
}

/// The volume that a Job fetches into.
pub(super) fn volume(remote: &Remote) -> Volume {
    match &remote.cache {
        None => own_folder(None),
        Some(claim) => Volume {
            name: pod::MODEL_VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.clone(),
                read_only: None,
            }),
            ..Volume::default()
        },
    }
}

fn own_folder(size_limit: Option<Quantity>) -> Volume {
    Volume {
        name: pod::MODEL_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit,
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A container that writes to the volume. It has the server's environment too: a proxy or a
/// certificate that the network asks for.
pub(super) fn container(
    name: &str,
    image: String,
    args: Vec<String>,
    remote: &Remote,
    server: &Server,
) -> Container {
    let mut container = pod::reader(name, image, args);
    for mount in container.volume_mounts.iter_mut().flatten() {
        mount.read_only = None;
    }
    let own = environment(remote);
    let theirs = pod::passed::<EnvVar>("env", server.env.as_deref()).unwrap_or_default();
    let mut env: Vec<EnvVar> = theirs
        .into_iter()
        .filter(|theirs| own.iter().all(|own| own.name != theirs.name))
        .collect();
    env.extend(own);
    container.env = (!env.is_empty()).then_some(env);
    container.env_from = match &remote.credentials {
        Some(Credentials::Environment(secret)) => Some(vec![EnvFromSource {
            secret_ref: Some(SecretEnvSource {
                name: secret.name.clone(),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]),
        Some(Credentials::Token(_)) | None => None,
    };
    container
}

fn environment(remote: &Remote) -> Vec<EnvVar> {
    let endpoint = remote.endpoint.clone().map(|endpoint| EnvVar {
        name: "HF_ENDPOINT".to_owned(),
        value: Some(endpoint),
        ..EnvVar::default()
    });
    let token = match &remote.credentials {
        Some(Credentials::Token(secret)) => Some(pod::secret_variable("HF_TOKEN", secret)),
        Some(Credentials::Environment(_)) | None => None,
    };
    endpoint.into_iter().chain(token).collect()
}
