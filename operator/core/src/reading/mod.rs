//! What the objects mean, taken together: the first stage of a plan, and immutable.
//!
//! Owns the reading of spec, status, records, pods and slices. It must not decide: what a command or
//! the time makes of it is [`crate::rollout`]'s. Invariant: a reading depends on nothing but
//! [`Observed`] and the time, and nothing here fails on an object that misses fields.

pub mod endpoints;
mod exchange;
mod gateway;
pub mod health;
pub mod kept;
pub mod pods;
pub mod resolution;
mod room;
pub(crate) mod routers;
mod side;

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::Strategy;
use crds::{RewardModelSpec, RewardModelStatus};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use self::exchange::Form;
pub(crate) use self::gateway::Route;
use self::health::Health;
use self::resolution::{Inquiry, Resolution, Witness};
use self::routers::Reports;
pub use self::side::{Routers, Side};
use crate::Failure;
use crate::capacity::Pods;
use crate::gates::{self, Gate};
use crate::identity::{self, RevisionHash, Verification};
use crate::objects::fetch::Kept;
use crate::objects::router::table;
use crate::objects::{serve_args, verify_job};
use crate::observed::{Claim, Observed};
use crate::records::{self, Content, ModelFacts, Record};
use crate::spec::{self, Scale, Source};
use crate::state::{State, Target, stored};

/// What the objects mean, taken together.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) observed: &'a Observed,
    /// The status that was there.
    pub(crate) before: RewardModelStatus,
    /// Where the model comes from, or what is wrong with the spec.
    pub(crate) source: Result<Source, Failure>,
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
    /// The form of the router's pods.
    pub(crate) form: Form,
    /// Whether the model is one that an experiment has promoted, and not the spec's.
    pub(crate) is_ahead: bool,
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
        let source = spec::check(&model.spec, observed.claim).and_then(|source| {
            spec::check_support(&model.spec, &observed.settings)
                .map_err(|why| Failure::new(StalledReason::InvalidSpec, why))?;
            let refused = table::check(model).err();
            match refused {
                None => Ok(source),
                Some(why) => Err(Failure::new(
                    StalledReason::InvalidSpec,
                    format!("no router would take what rollout.cutOff, rollout.fallback and traffic.key say: {why}"),
                )),
            }
        });
        let scale = Scale::of(&model.spec, last_replicas(observed, &before));
        let inquiry = Inquiry {
            wanted: &wanted,
            pinned: model.spec.model.digest.as_ref(),
            patience: scale.progress_deadline,
            events: observed.job_events.as_deref(),
            fetches: matches!(source, Ok(Source::Remote(_))),
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
            let source = source.as_ref().ok();
            let job = source.map(|source| job(observed, source, &wanted, now));
            let name = job.as_ref().map(ResourceExt::name_any).unwrap_or_default();
            (inquiry.progress(&name, children, now), job)
        };
        let resolution = located(resolution, &model.spec);
        Self {
            target: target(observed, &source, &resolution, &records, known),
            strategy: model
                .spec
                .rollout
                .as_ref()
                .map(|rollout| rollout.strategy)
                .unwrap_or_default(),
            form: exchange::form(observed),
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
            is_ahead: false,
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

    /// The experiment that new rollouts wait for.
    pub(crate) fn experiment(&self) -> Option<&str> {
        let standing = self.observed.experiment.as_ref()?;
        standing.holds.then_some(standing.name.as_str())
    }

    /// Whether no two pods may use the claim at once.
    pub(crate) fn one_pod_only(&self) -> bool {
        one_pod_only(self.observed)
    }

    pub(crate) fn health(&self, hash: Option<&RevisionHash>) -> Health {
        let Some(hash) = hash else {
            return Health::Absent;
        };
        self.health_of(hash, self.scale.replicas)
    }

    /// How the pods of a revision of `wanted` are doing. What is wrong with a volume is told with the claim and
    /// the path, where they are the spec's.
    fn health_of(&self, hash: &RevisionHash, wanted: i32) -> Health {
        let children = &self.observed.children;
        let health = health::of(children.deployment(hash), children.pods_of(hash), wanted);
        if self.target.revision() != Some(hash) {
            return health;
        }
        let spec = &self.observed.model.spec;
        match health {
            Health::Failed(failure) => Health::Failed(placed(failure, spec)),
            Health::Unschedulable { message, since } if spec::is_about_a_claim(&message) => {
                Health::Unschedulable {
                    message: spec::placed(spec, &message),
                    since,
                }
            }
            Health::Absent
            | Health::Starting { .. }
            | Health::Unschedulable { .. }
            | Health::Refused { .. }
            | Health::Ready => health,
        }
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
        let health = self.health_of(hash, if all { self.scale.replicas } else { wanted });
        let knows_routers = self.knows_routers(hash);
        Side {
            pods: Pods {
                wanted,
                made: count(&pods::is_in_line),
                // What no router can talk to serves none of their clients.
                ready: if knows_routers {
                    count(&pods::serves)
                } else {
                    0
                },
                over_quota: matches!(&health, Health::Refused { message } if message.contains("exceeded quota")),
            },
            holds_room: self.has_pods(hash),
            knows_routers,
            health,
        }
    }

    /// Whether the servers of a revision know the route that routers ask: those that an operator of before
    /// the routers has made do not, and are told no `--revision`.
    pub(crate) fn knows_routers(&self, hash: &RevisionHash) -> bool {
        let deployment = self.observed.children.deployment(hash);
        let spec = deployment.and_then(|object| object.spec.as_ref());
        spec.is_none_or(|spec| serve_args::is_told(&spec.template))
    }

    /// The gates of the spec; those that cannot be read are refused with the whole spec.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let rollout = self.observed.model.spec.rollout.as_ref();
        let read = rollout.map(gates::read).transpose();
        read.ok().flatten().unwrap_or_default()
    }

    pub(crate) fn requires_approval(&self) -> bool {
        let rollout = self.observed.model.spec.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.require_approval)
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

/// A failure of a volume, with the claim and the path.
fn placed(failure: Failure, spec: &RewardModelSpec) -> Failure {
    if failure.reason != StalledReason::VolumeUnavailable {
        return failure;
    }
    Failure {
        message: spec::placed(spec, &failure.message),
        ..failure
    }
}

/// What is known of a source, with the claim and the path where its volume is the matter.
fn located(resolution: Resolution, spec: &RewardModelSpec) -> Resolution {
    match resolution {
        Resolution::Failed(failure) => Resolution::Failed(placed(failure, spec)),
        Resolution::Late(failure) => Resolution::Late(placed(failure, spec)),
        Resolution::Running {
            message,
            unschedulable: true,
            deadline,
        } if spec::is_about_a_claim(&message) => Resolution::Running {
            message: spec::placed(spec, &message),
            unschedulable: true,
            deadline,
        },
        Resolution::Known { .. } | Resolution::Running { .. } => resolution,
    }
}

/// The Job that reads a source. One that holds what others need ends by itself.
fn job(observed: &Observed, source: &Source, wanted: &Verification, now: Timestamp) -> Job {
    let mut digests = kept::digests(&observed.children);
    digests.extend(observed.in_use.iter().cloned());
    let kept = Kept {
        digests: &digests,
        as_of: now,
        namespace: &observed.model.namespace().unwrap_or_default(),
    };
    let (model, settings) = (&observed.model, &observed.settings);
    let patience = Scale::of(&model.spec, 0).progress_deadline;
    let ends = one_pod_only(observed).then_some(patience);
    verify_job::build(model, source, wanted, ends, &kept, settings)
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
    source: &Result<Source, Failure>,
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
