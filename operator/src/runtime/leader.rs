//! The election: one operator acts, the others keep their caches warm.
//!
//! Owns the Lease and the clock; who may take it is decided in [`operator_core::lease`]. Invariants: a
//! holder that cannot renew in time ends its process, so that nothing it has begun goes on under another
//! one; one that is told to stop gives the lease back, so that nobody waits for it to run out.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use operator_core::lease::{self, GIVES_UP, HOLDS, LOOKS, Record, Step};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Whose election it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// Where the Lease is.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) lease: &'a str,
    /// Who we are.
    pub(crate) me: &'a str,
}

/// Takes part in the election until `stop`; `leads` says whether we act.
///
/// # Errors
/// When the lease was lost: then the process has to end.
pub(crate) async fn run(
    client: Client,
    candidate: Candidate<'_>,
    metrics: &Metrics,
    leads: &watch::Sender<bool>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client, candidate.namespace);
    let mut seen = Seen::default();
    let mut renewed: Option<Instant> = None;
    loop {
        // What is written counts from before it was written, and no look may outlast what is left.
        let began = Instant::now();
        let left = renewed.map_or(GIVES_UP, |at| GIVES_UP.saturating_sub(at.elapsed()));
        let patience = left.min(GIVES_UP / 2);
        let outcome = tokio::time::timeout(patience, look(&leases, candidate, &mut seen)).await;
        let pause = match outcome {
            Ok(Ok(Looked::Ours)) => {
                renewed = Some(began);
                if !leads.send_replace(true) {
                    tracing::info!("this operator acts");
                }
                metrics.leads(true);
                LOOKS
            }
            Ok(Ok(Looked::Theirs(pause))) if renewed.is_none() => pause,
            Ok(Ok(Looked::Theirs(_))) => bail!("another operator has taken the lease over"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease cannot be read or written");
                Duration::from_millis(500)
            }
            Err(_) => Duration::ZERO,
        };
        if renewed.is_some_and(|at| at.elapsed() >= GIVES_UP) {
            bail!(
                "the lease could not be renewed for {} s",
                GIVES_UP.as_secs()
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Gives the lease back, once nothing acts any more.
pub(crate) async fn give_back(client: Client, candidate: Candidate<'_>) {
    let Candidate {
        namespace,
        lease: name,
        me,
    } = candidate;
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let given = async {
        let Some(mut lease) = leases.get_opt(name).await? else {
            return Ok::<(), kube::Error>(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(me) {
            spec.holder_identity = Some(String::new());
            leases.replace(name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(Duration::from_secs(2), given).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the lease is not given back"),
        Err(_) => tracing::warn!("the lease is not given back: no answer"),
    }
}

/// The record as it was seen last, and since when it is the same.
#[derive(Debug, Default)]
struct Seen {
    version: Option<String>,
    since: Option<Instant>,
}

enum Looked {
    Ours,
    Theirs(Duration),
}

async fn look(
    leases: &Api<Lease>,
    candidate: Candidate<'_>,
    seen: &mut Seen,
) -> anyhow::Result<Looked> {
    let found = leases.get_opt(candidate.lease).await;
    let found = found.context("read the lease")?;
    let version = found.as_ref().and_then(ResourceExt::resource_version);
    if seen.version != version || seen.since.is_none() {
        seen.version = version;
        seen.since = Some(Instant::now());
    }
    let unchanged = seen.since.map_or(Duration::ZERO, |since| since.elapsed());
    let record = found.as_ref().map(record);
    match lease::step(candidate.me, record.as_ref(), unchanged) {
        Step::Wait(pause) => Ok(Looked::Theirs(pause)),
        Step::Take | Step::Renew => {
            let written = write(leases, candidate, found).await;
            written.context("write the lease")?;
            Ok(Looked::Ours)
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds;
    Record {
        holder: spec.holder_identity,
        holds: seconds.map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs().into())),
    }
}

async fn write(
    leases: &Api<Lease>,
    candidate: Candidate<'_>,
    found: Option<Lease>,
) -> kube::Result<()> {
    let Candidate {
        lease: name, me, ..
    } = candidate;
    let now = Some(MicroTime(Timestamp::now()));
    let before = found.as_ref().and_then(|lease| lease.spec.clone());
    let before = before.unwrap_or_default();
    let ours = before.holder_identity.as_deref() == Some(me);
    let spec = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        renew_time: now.clone(),
        acquire_time: if ours { before.acquire_time } else { now },
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!ours)),
        ..LeaseSpec::default()
    };
    let params = PostParams::default();
    match found {
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            leases.create(&params, &lease).await.map(|_| ())
        }
        // At the version that was seen: of two that take it at once, one is refused.
        Some(mut lease) => {
            lease.spec = Some(spec);
            leases.replace(name, &params, &lease).await.map(|_| ())
        }
    }
}
