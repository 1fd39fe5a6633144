//! What the objects mean, taken together: the first half of a plan.
//!
//! Invariant: a reading depends on nothing but [`Observed`]; a command changes it before the state
//! machine sees it.

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::model::PvcSource;
use crds::v1alpha1::reward_model::rollout::Strategy;
use kube::ResourceExt;

use crate::Failure;
use crate::commands::{self, Command};
use crate::identity::{self, RevisionHash, VerifyKey, names};
use crate::observed::endpoints::Endpoints;
use crate::observed::health::{self, Health};
use crate::observed::record::{self, Record, Role};
use crate::observed::{Kind, ObjectKey, Observed, annotation};
use crate::resolve::{self, Resolution};
use crate::rollout::{Signals, State, Target, stored};
use crate::validate::{self, Scale};

/// What the objects mean, taken together.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) observed: &'a Observed,
    /// The source to serve from, or what is wrong with the spec.
    pub(crate) source: Result<PvcSource, Failure>,
    pub(crate) scale: Scale,
    pub(crate) strategy: Strategy,
    pub(crate) key: VerifyKey,
    pub(crate) resolution: Resolution,
    pub(crate) records: Vec<Record>,
    /// Records that cannot be read: names and what is wrong.
    pub(crate) unreadable: Vec<(String, String)>,
    pub(crate) target: Option<RevisionHash>,
    pub(crate) state: State,
    pub(crate) endpoints: Endpoints,
    /// The Job that a retry takes away.
    pub(crate) retried_job: Option<ObjectKey>,
    /// Whether a retry changed anything.
    pub(crate) retried: bool,
}

impl<'a> Reading<'a> {
    pub(crate) fn of(observed: &'a Observed) -> Self {
        let (spec, children) = (&observed.model.spec, &observed.children);
        let mut records = Vec::new();
        let mut unreadable = Vec::new();
        for object in &children.revisions {
            match record::read(object) {
                Ok(record) => records.push(record),
                Err(why) => unreadable.push((object.name_any(), why)),
            }
        }
        records.sort_by_key(|record| record.number);
        let key = identity::verify_key(spec);
        let resolution = resolve::resolve(&key, &records, children);
        let source = validate::check(spec, observed.claim);
        let known = match (&source, &resolution) {
            (Ok(_), Resolution::Known(facts)) => Some(&facts.digest),
            // A revision that is recorded stays what the spec asks for when its claim is away.
            (Err(_), Resolution::Known(facts)) if has_record(&records, &key) => Some(&facts.digest),
            _ => None,
        };
        let target = known.map(|digest| identity::revision_hash(spec, digest));
        let endpoint = names::endpoint(&observed.model.name_any());
        Self {
            source,
            scale: Scale::of(spec),
            strategy: spec
                .rollout
                .as_ref()
                .map(|rollout| rollout.strategy)
                .unwrap_or_default(),
            state: stored::load(observed.model.status.as_ref(), &records),
            endpoints: Endpoints::of(&endpoint, &children.slices, &children.pods),
            key,
            resolution,
            records,
            unreadable,
            target,
            observed,
            retried_job: None,
            retried: false,
        }
    }

    pub(crate) fn record(&self, hash: &RevisionHash) -> Option<&Record> {
        self.records.iter().find(|record| &record.hash == hash)
    }

    /// Whether nothing new may start: on purpose, or because a name is taken.
    pub(crate) fn held(&self) -> bool {
        self.observed.model.spec.suspend || !self.observed.conflicts.is_empty()
    }

    pub(crate) fn signals(&self) -> Signals {
        let target = match &self.target {
            None => Target::Unknown,
            Some(hash) => Target::Revision {
                hash: hash.clone(),
                failed_before: self.role(hash) == Some(Role::Failed),
            },
        };
        let stable = self.state.stable();
        Signals {
            target,
            suspended: self.held() || self.source.is_err(),
            canary: self.health(self.state.canary()),
            previous: self.health(self.state.previous()),
            only_stable_serves: stable
                .is_some_and(|hash| self.endpoints.only(hash, self.scale.replicas == 0)),
        }
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

    fn role(&self, hash: &RevisionHash) -> Option<Role> {
        self.record(hash).map(|record| record.role)
    }

    pub(crate) fn remember_failed(&mut self, hash: &RevisionHash, failure: &Failure) {
        let outcome = format!("{}: {}", failure.reason, failure.message);
        self.mark(hash, Role::Failed, Some(outcome));
    }

    pub(crate) fn forget_failed(&mut self, hash: &RevisionHash) {
        self.mark(hash, Role::Canary, Some("Promoted".to_owned()));
    }

    fn mark(&mut self, hash: &RevisionHash, role: Role, outcome: Option<String>) {
        for record in self
            .records
            .iter_mut()
            .filter(|record| &record.hash == hash)
        {
            record.role = role;
            record.outcome.clone_from(&outcome);
        }
    }

    pub(crate) fn command(&self) -> Command {
        let model = &self.observed.model;
        let last = model
            .status
            .as_ref()
            .and_then(|status| status.last_command.as_ref());
        commands::read(annotation(&model.metadata, crds::labels::COMMAND), last)
    }

    /// Makes what failed be tried again; says what, or why not.
    pub(crate) fn retry(&mut self, revision: Option<&str>) -> Result<String, String> {
        if let Some(named) = revision
            && self
                .target
                .as_ref()
                .is_none_or(|target| target.as_str() != named)
        {
            return Err(format!(
                "revision {named} is not the one that the spec asks for"
            ));
        }
        let failed_revision = self
            .target
            .clone()
            .filter(|hash| self.role(hash) == Some(Role::Failed));
        let bad_model = matches!(self.resolution, Resolution::Failed(_));
        if let Some(hash) = &failed_revision {
            self.mark(hash, Role::Retired, None);
        }
        if failed_revision.is_some() || bad_model {
            self.verify_again();
            return Ok("the model is verified and tried again".to_owned());
        }
        Err("nothing has failed that could be tried again".to_owned())
    }

    /// The files may have been mended in place: nothing that is known of them counts any more.
    fn verify_again(&mut self) {
        for record in self
            .records
            .iter_mut()
            .filter(|r| r.verified == self.key.as_str())
        {
            record.verified.clear();
        }
        self.retried_job =
            resolve::job(&self.key, &self.observed.children.jobs).map(|job| ObjectKey {
                kind: Kind::Job,
                name: job.name_any(),
            });
        self.resolution = Resolution::Running {
            message: "the model is going to be verified again".to_owned(),
            unschedulable: false,
        };
        self.target = None;
        self.retried = true;
    }

    /// The count to write into a spec that has none.
    pub(crate) fn replicas_to_set(&self) -> Option<i32> {
        if self.observed.model.spec.replicas.is_some() {
            return None;
        }
        let stable = self
            .state
            .stable()
            .and_then(|hash| self.observed.children.deployment(hash));
        let current = stable.and_then(|deployment| deployment.spec.as_ref()?.replicas);
        Some(current.unwrap_or(1))
    }

    /// What a human has to look at, the most fundamental first.
    pub(crate) fn problem(&self, building: Option<&Failure>) -> Option<Failure> {
        self.conflict()
            .or_else(|| self.source.clone().err())
            .or_else(|| self.observed.refusal.clone())
            .or_else(|| self.unreadable_record())
            .or_else(|| building.cloned())
            .or_else(|| match &self.resolution {
                Resolution::Failed(failure) => Some(failure.clone()),
                Resolution::Known(_) | Resolution::Running { .. } => None,
            })
            .or_else(|| self.failed_target())
            .or_else(|| self.troubled(self.state.canary()))
            .or_else(|| self.troubled(self.state.stable()))
    }

    fn conflict(&self) -> Option<Failure> {
        let key = self.observed.conflicts.first()?;
        let (kind, name) = (key.kind.as_str(), &key.name);
        Some(Failure::new(
            StalledReason::NameConflict,
            format!(
                "{kind} {name:?} exists and does not belong to this RewardModel: delete or rename it, or give the RewardModel another name"
            ),
        ))
    }

    fn unreadable_record(&self) -> Option<Failure> {
        let model = self.observed.model.name_any();
        let target = names::revision(&model, self.target.as_ref()?);
        let (name, why) = self.unreadable.iter().find(|(name, _)| *name == target)?;
        Some(Failure::new(
            StalledReason::NameConflict,
            format!(
                "{why}; it was written by another version: delete ControllerRevision {name} to have it made anew"
            ),
        ))
    }

    fn failed_target(&self) -> Option<Failure> {
        let record = self
            .record(self.target.as_ref()?)
            .filter(|r| r.role == Role::Failed)?;
        let outcome = record.outcome.as_deref().unwrap_or_default();
        let (word, message) = outcome.split_once(": ").unwrap_or(("", outcome));
        let reason = StalledReason::parse(word).unwrap_or(StalledReason::LoadFailed);
        Some(Failure::new(reason, message))
    }

    fn troubled(&self, hash: Option<&RevisionHash>) -> Option<Failure> {
        match self.health(hash) {
            Health::Failed(failure) => Some(failure),
            Health::Refused { message } => {
                Some(Failure::new(StalledReason::QuotaExceeded, message))
            }
            Health::Absent
            | Health::Starting { .. }
            | Health::Unschedulable { .. }
            | Health::Ready => None,
        }
    }
}

fn has_record(records: &[Record], key: &VerifyKey) -> bool {
    records.iter().any(|record| record.verified == key.as_str())
}
