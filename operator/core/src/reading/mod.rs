//! What the objects mean, taken together: the first stage of a plan, and immutable.
//!
//! Owns the reading of spec, status, records, pods and slices. It must not decide: what a command or
//! the time makes of it is [`crate::rollout`]'s. Invariant: a reading depends on nothing but
//! [`Observed`] and the time, and nothing here fails on an object that misses fields.

pub mod endpoints;
pub mod health;
pub mod pods;
pub mod resolution;
pub(crate) mod routers;
mod side;

use crds::RewardModelStatus;
use crds::v1alpha1::reward_model::rollout::Strategy;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use self::health::Health;
use self::resolution::{Inquiry, Resolution, Witness};
use self::routers::Reports;
pub use self::side::{Routers, Side};
use crate::Failure;
use crate::capacity::Pods;
use crate::identity::{self, RevisionHash, Verification, names};
use crate::objects::verify_job;
use crate::observed::{Claim, Observed};
use crate::records::{self, Content, ModelFacts, Record};
use crate::spec::{self, Mount, Scale};
use crate::state::{State, Target, stored};

/// What the objects mean, taken together.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) observed: &'a Observed,
    /// The status that was there.
    pub(crate) before: RewardModelStatus,
    /// Where the model is mounted from, or what is wrong with the spec.
    pub(crate) source: Result<Mount, Failure>,
    pub(crate) scale: Scale,
    pub(crate) strategy: Strategy,
    /// The reading of the source that counts.
    pub(crate) wanted: Verification,
    /// The Job that does it, where it is needed and can be built.
    pub(crate) job: Option<Job>,
    pub(crate) resolution: Resolution,
    pub(crate) records: Vec<Record>,
    pub(crate) target: Target,
    /// The state that was decided last, or the word of it that this version does not know.
    pub(crate) state: Result<State, String>,
    pub(crate) reports: Reports,
}

impl<'a> Reading<'a> {
    pub(crate) fn of(observed: &'a Observed, now: Timestamp) -> Self {
        let (model, children) = (&observed.model, &observed.children);
        let before = model.status.clone().unwrap_or_default();
        let mut records: Vec<Record> = children
            .records
            .iter()
            .filter_map(|object| records::read(object))
            .collect();
        records.sort_by_key(|record| record.number);
        let reports = Reports::of(observed);
        let state = stored::load(
            model.status.as_ref(),
            &records,
            reports.table.as_ref(),
            &spec::steps(&model.spec),
        );
        let wanted = verification(observed, state.as_ref().ok());
        let source = spec::check(&model.spec, observed.claim);
        let scale = Scale::of(&model.spec, last_replicas(observed, &before));
        let inquiry = Inquiry {
            wanted: &wanted,
            pinned: model.spec.model.digest.as_ref(),
            patience: scale.progress_deadline,
        };
        let known = state.as_ref().ok();
        let preferred: Vec<&RevisionHash> = known
            .into_iter()
            .flat_map(|state| [state.canary(), state.stable()])
            .flatten()
            .collect();
        let (resolution, job) = if let Some(known) = inquiry.known(&records, &preferred, children) {
            (known, None)
        } else {
            // A Job that holds what others need ends by itself.
            let ends = one_pod_only(observed).then_some(scale.progress_deadline);
            let job = source
                .as_ref()
                .ok()
                .map(|mount| verify_job::build(model, mount, &wanted, ends, &observed.settings));
            let name = job.as_ref().map(ResourceExt::name_any).unwrap_or_default();
            (inquiry.progress(&name, children, now), job)
        };
        Self {
            target: target(observed, &source, &resolution, &records, known),
            strategy: model
                .spec
                .rollout
                .as_ref()
                .map(|rollout| rollout.strategy)
                .unwrap_or_default(),
            reports,
            observed,
            before,
            source,
            scale,
            wanted,
            job,
            resolution,
            records,
            state,
        }
    }

    pub(crate) fn record(&self, hash: &RevisionHash) -> Option<&Record> {
        self.records.iter().find(|record| &record.hash == hash)
    }

    /// The content of a revision's record, where it was looked up.
    pub(crate) fn content(&self, hash: &RevisionHash) -> Option<Result<Content, String>> {
        let text = self.observed.contents.get(hash)?;
        Some(records::content(text))
    }

    /// What is known of the model that the spec asks for.
    pub(crate) fn facts(&self) -> Option<ModelFacts> {
        match &self.resolution {
            Resolution::Known {
                by: Witness::Job(facts),
                ..
            } => Some(facts.clone()),
            Resolution::Known {
                by: Witness::Record(hash),
                ..
            } => self.content(hash)?.ok().map(|content| content.model),
            Resolution::Running { .. } | Resolution::Late(_) | Resolution::Failed(_) => None,
        }
    }

    /// Whether nothing new may start: on purpose, or because a name is taken or the spec is wrong.
    pub(crate) fn held(&self) -> bool {
        self.observed.model.spec.suspend
            || !self.observed.conflicts.is_empty()
            || self.source.is_err()
    }

    /// Whether no two pods may use the claim at once.
    pub(crate) fn one_pod_only(&self) -> bool {
        one_pod_only(self.observed)
    }

    pub(crate) fn health(&self, hash: Option<&RevisionHash>) -> Health {
        let Some(hash) = hash else {
            return Health::Absent;
        };
        let children = &self.observed.children;
        health::of(
            children.deployment(hash),
            children.pods_of(hash),
            self.scale.replicas,
        )
    }

    /// How a revision is doing; `all` where it is to have all pods, else those that it is to have now.
    pub(crate) fn side(&self, hash: Option<&RevisionHash>, all: bool) -> Side {
        let Some(hash) = hash else {
            return Side::ABSENT;
        };
        let children = &self.observed.children;
        let deployment = children.deployment(hash);
        let wanted = deployment.and_then(health::size).unwrap_or(0);
        let count = |counts: &dyn Fn(&Pod) -> bool| {
            let pods = children.pods_of(hash).filter(|pod| counts(pod));
            i32::try_from(pods.count()).unwrap_or(i32::MAX)
        };
        let health = health::of(
            deployment,
            children.pods_of(hash),
            if all { self.scale.replicas } else { wanted },
        );
        Side {
            pods: Pods {
                wanted,
                made: count(&pods::is_active),
                ready: count(&pods::serves),
                over_quota: matches!(&health, Health::Refused { message } if message.contains("exceeded quota")),
            },
            holds_room: self.has_pods(hash),
            health,
        }
    }

    pub(crate) fn requires_approval(&self) -> bool {
        let rollout = self.observed.model.spec.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.require_approval)
    }

    /// What routers of the newest form wait for, where some are still missing: what `traffic` asks for is not
    /// in force before.
    pub(crate) fn router_waits(&self) -> Option<String> {
        let children = &self.observed.children;
        let name = names::router(&self.observed.model.name_any());
        let router = children.deployment_named(&name)?;
        let wanted = health::size(router).unwrap_or(0);
        let status = router.status.as_ref();
        let updated = status
            .and_then(|status| status.updated_replicas)
            .unwrap_or(0);
        let ready = health::ready_replicas(router);
        let total = status.and_then(|status| status.replicas).unwrap_or(0);
        if updated >= wanted && ready >= wanted && total <= wanted {
            return None;
        }
        let words = children.routers().find_map(|pod| pods::waiting(pod));
        Some(format!(
            "{} of {wanted} routers follow spec.traffic: {}",
            updated.min(ready),
            words.unwrap_or_else(|| "they start".to_owned())
        ))
    }

    /// What the routers say of the rollout in flight.
    pub(crate) fn routers(&self, state: &State) -> Routers {
        self.reports.signals(self.observed, state)
    }

    /// Whether pods of a revision still hold what they asked for. Those that are over hold nothing;
    /// those on their way out do.
    fn has_pods(&self, hash: &RevisionHash) -> bool {
        let children = &self.observed.children;
        children.pods_of(hash).any(|pod| !pods::is_over(pod))
            || children.deployment(hash).is_some_and(|object| {
                let made = object.status.as_ref().and_then(|status| status.replicas);
                made.unwrap_or(0) > 0 || health::size(object) != Some(0)
            })
    }
}

fn one_pod_only(observed: &Observed) -> bool {
    matches!(
        observed.claim,
        Claim::Present {
            one_pod_only: true,
            ..
        }
    )
}

/// The reading that counts: the first, or the one that a `retry` of this source has asked for.
fn verification(observed: &Observed, state: Option<&State>) -> Verification {
    let source = identity::source_key(&observed.model.spec);
    let retried = state.and_then(|state| state.retried.as_ref());
    let attempt = retried
        .filter(|retried| retried.source == source)
        .map_or(0, |retried| retried.attempt);
    Verification { source, attempt }
}

/// The last size that was not zero, by status, else by what the Deployments are to have.
fn last_replicas(observed: &Observed, before: &RewardModelStatus) -> i32 {
    let sizes = observed.children.deployments.iter();
    before
        .last_replicas
        .or_else(|| sizes.filter_map(|object| health::size(object)).max())
        .filter(|size| *size > 0)
        .unwrap_or(1)
}

fn target(
    observed: &Observed,
    source: &Result<Mount, Failure>,
    resolution: &Resolution,
    records: &[Record],
    state: Option<&State>,
) -> Target {
    let digest = match resolution {
        Resolution::Known { digest, .. } => digest,
        Resolution::Running { .. } | Resolution::Late(_) if source.is_ok() => {
            return Target::BeingRead;
        }
        Resolution::Running { .. } | Resolution::Late(_) | Resolution::Failed(_) => {
            return Target::Unavailable;
        }
    };
    let hash = identity::revision_hash(&observed.model.spec, digest);
    // A revision that is recorded stays what the spec asks for when its claim is away.
    if source.is_err() && !records.iter().any(|record| record.hash == hash) {
        return Target::Unavailable;
    }
    let failed_before = state.is_some_and(|state| state.fleet.failed.contains(&hash));
    Target::Revision {
        hash,
        failed_before,
    }
}
