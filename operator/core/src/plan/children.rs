//! Which objects a state takes, and which are to go.
//!
//! Invariant: what the stable revision has is never deleted, and a Deployment of a revision that
//! serves is changed in nothing but its size.

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::Strategy;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::Reading;
use crate::Failure;
use crate::identity::{self, RevisionHash};
use crate::observed::record::{Content, Record, Role};
use crate::observed::{Kind, ObjectKey, health, revision_of};
use crate::resolve::{self, Resolution};
use crate::resources::{
    Desired, deployment, disruption_budget, pod, record as record_object, service, verify_job,
};
use crate::rollout::State;

/// Objects that are wanted and objects that are to go.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) apply: Vec<Desired>,
    pub(super) delete: Vec<ObjectKey>,
    /// Why a wanted object could not be built.
    pub(super) failure: Option<Failure>,
}

/// The objects that the reading's state takes.
pub(super) fn of(reading: &Reading<'_>) -> Objects {
    let mut objects = Objects::default();
    verification(reading, &mut objects);
    let records = records(reading, &mut objects.failure);
    for record in &records {
        match record_object::build(&reading.observed.model, record) {
            Ok(object) => objects
                .apply
                .push(Desired::ControllerRevision(Box::new(object))),
            Err(error) => {
                objects.failure = Some(Failure::new(StalledReason::InvalidSpec, error.to_string()));
            }
        }
    }
    revisions(reading, &records, &mut objects);
    endpoint(reading, &mut objects);
    retire(reading, &mut objects);
    forget(reading, &records, &mut objects);
    let conflicts = &reading.observed.conflicts;
    objects
        .apply
        .retain(|object| !conflicts.contains(&object.key()));
    objects
}

fn verification(reading: &Reading<'_>, objects: &mut Objects) {
    let model = &reading.observed.model;
    let jobs = &reading.observed.children.jobs;
    let wanted = matches!(reading.resolution, Resolution::Running { .. })
        && !reading.held()
        && resolve::job(&reading.key, jobs).is_none();
    if let (true, Ok(source)) = (wanted, &reading.source) {
        let job = verify_job::build(model, source, &reading.key, &reading.observed.settings);
        objects.apply.push(Desired::Job(Box::new(job)));
    }
    let stale = jobs.iter().filter(|job| {
        crate::observed::annotation(&job.metadata, crds::labels::VERIFIED)
            != Some(reading.key.as_str())
            && job.metadata.deletion_timestamp.is_none()
    });
    objects.delete.extend(stale.map(|job| ObjectKey {
        kind: Kind::Job,
        name: job.name_any(),
    }));
}

/// All records with their part in the state, and the one of a canary that has none yet.
fn records(reading: &Reading<'_>, failure: &mut Option<Failure>) -> Vec<Record> {
    let mut records = reading.records.clone();
    for record in &mut records {
        record.role = role(&reading.state, &record.hash, record.role);
        if Some(&record.hash) == reading.target.as_ref() {
            record.verified = reading.key.to_string();
        }
    }
    let missing = reading
        .state
        .canary()
        .or_else(|| reading.state.stable())
        .filter(|hash| Some(*hash) == reading.target.as_ref() && reading.record(hash).is_none());
    if let Some(hash) = missing {
        match new_record(reading, hash) {
            Ok(record) => records.push(record),
            Err(why) => *failure = Some(why),
        }
    }
    records
}

fn role(state: &State, hash: &RevisionHash, before: Role) -> Role {
    if state.stable() == Some(hash) {
        Role::Stable
    } else if state.canary() == Some(hash) {
        Role::Canary
    } else if state.previous() == Some(hash) {
        Role::Previous
    } else if before == Role::Failed {
        Role::Failed
    } else {
        Role::Retired
    }
}

fn new_record(reading: &Reading<'_>, hash: &RevisionHash) -> Result<Record, Failure> {
    let observed = reading.observed;
    let source = reading.source.as_ref().map_err(Clone::clone)?;
    let Resolution::Known(facts) = &reading.resolution else {
        return Err(Failure::new(
            StalledReason::LoadFailed,
            "the model is not verified",
        ));
    };
    let template = pod::template(
        &observed.model,
        source,
        hash,
        &facts.digest,
        &observed.settings,
    )
    .map_err(|why| Failure::new(StalledReason::InvalidSpec, why))?;
    let newest = observed
        .children
        .revisions
        .iter()
        .map(|object| object.revision)
        .max();
    Ok(Record {
        hash: hash.clone(),
        number: newest.unwrap_or(0) + 1,
        role: role(&reading.state, hash, Role::Retired),
        outcome: None,
        verified: reading.key.to_string(),
        created: None,
        content: Content {
            spec: identity::revision_spec(&observed.model.spec),
            model: facts.clone(),
            template,
        },
    })
}

fn revisions(reading: &Reading<'_>, records: &[Record], objects: &mut Objects) {
    let wanted = reading.scale.replicas;
    let recreates = reading.strategy == Strategy::Recreate;
    let template_of = |hash: &RevisionHash| {
        records
            .iter()
            .find(|record| &record.hash == hash)
            .map(|record| &record.content.template)
    };
    if let Some(stable) = reading.state.stable() {
        let stands_aside = recreates && reading.state.canary().is_some();
        let size = if stands_aside { 0 } else { wanted };
        revision(reading, stable, template_of(stable), size, objects);
    }
    if let Some(canary) = reading.state.canary() {
        let in_the_way = recreates
            && reading
                .state
                .stable()
                .is_some_and(|stable| is_there(reading, stable));
        if !in_the_way {
            revision(reading, canary, template_of(canary), wanted, objects);
        }
    }
}

/// Whether a revision still has pods.
fn is_there(reading: &Reading<'_>, hash: &RevisionHash) -> bool {
    let children = &reading.observed.children;
    children.pods_of(hash).next().is_some()
        || children.deployment(hash).is_some_and(|object| {
            health::replicas(object) > 0
                || object.spec.as_ref().and_then(|spec| spec.replicas) != Some(0)
        })
}

fn revision(
    reading: &Reading<'_>,
    hash: &RevisionHash,
    template: Option<&PodTemplateSpec>,
    size: i32,
    objects: &mut Objects,
) {
    let model = &reading.observed.model;
    // Without its record nobody knows its pods; what runs is left as it is.
    if let Some(template) = template {
        let deadline = reading.scale.progress_deadline_seconds;
        let object = deployment::of_revision(model, hash, template, size, deadline);
        objects.apply.push(Desired::Deployment(Box::new(object)));
    }
    let service = service::of_revision(model, hash);
    objects.apply.push(Desired::Service(Box::new(service)));
    let budget = disruption_budget::of_revision(model, hash);
    objects
        .apply
        .push(Desired::PodDisruptionBudget(Box::new(budget)));
}

fn endpoint(reading: &Reading<'_>, objects: &mut Objects) {
    let stable = reading.state.stable();
    if stable.is_some() || reading.source.is_ok() {
        let service = service::endpoint(&reading.observed.model, stable);
        objects.apply.push(Desired::Service(Box::new(service)));
    }
}

/// What belongs to a revision without a part in the state goes.
fn retire(reading: &Reading<'_>, objects: &mut Objects) {
    let (state, children) = (&reading.state, &reading.observed.children);
    let gone = |metadata: &ObjectMeta| {
        let hash = revision_of(metadata)?;
        let parts = [state.stable(), state.canary(), state.previous()];
        let idle = !parts.contains(&Some(&hash)) && metadata.deletion_timestamp.is_none();
        idle.then(|| metadata.name.clone().unwrap_or_default())
    };
    let mut remove = |kind, name| objects.delete.push(ObjectKey { kind, name });
    for object in &children.deployments {
        if let Some(name) = gone(&object.metadata) {
            remove(Kind::Deployment, name);
        }
    }
    for object in &children.services {
        if let Some(name) = gone(&object.metadata) {
            remove(Kind::Service, name);
        }
    }
    for object in &children.budgets {
        if let Some(name) = gone(&object.metadata) {
            remove(Kind::PodDisruptionBudget, name);
        }
    }
}

/// Records beyond the limit go, the oldest first; those with a part in the state, and those that
/// failed, stay.
fn forget(reading: &Reading<'_>, records: &[Record], objects: &mut Objects) {
    let retired = records.iter().filter(|record| record.role == Role::Retired);
    let mut retired: Vec<&Record> = retired
        // The record of what the spec asks for spares a verification.
        .filter(|record| Some(&record.hash) != reading.target.as_ref())
        .collect();
    retired.sort_by_key(|record| record.number);
    let excess = retired
        .len()
        .saturating_sub(reading.scale.revision_history_limit);
    let model = reading.observed.model.name_any();
    for record in retired.into_iter().take(excess) {
        let name = identity::names::revision(&model, &record.hash);
        let key = ObjectKey {
            kind: Kind::ControllerRevision,
            name,
        };
        objects.apply.retain(|object| object.key() != key);
        objects.delete.push(key);
    }
}
