//! Which objects a decision takes, and which are to go.
//!
//! Invariant: what the stable revision has is never deleted, and a Deployment of a revision that
//! serves is changed in nothing but its size.

mod golden_set;
mod traffic;

use crds::conditions::StalledReason;
use crds::{RewardModel, labels};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::Failure;
use crate::evidence::Ledger;
use crate::golden;
use crate::identity::{self, RevisionHash, names};
use crate::objects::{
    Desired, Write, deployment, disruption_budget, pod, record as record_object, serve_args,
    service,
};
use crate::observed::{Kind, ObjectKey, Settings, annotation, revision_of};
use crate::promotion::{self, Promotion};
use crate::reading::resolution::{self, Resolution};
use crate::reading::{Reading, health};
use crate::records::{Content, ModelFacts, Record, Role};
use crate::rollout::{self, Decision, Ending, Signals, Sizes};
use crate::spec::Source;
use crate::state::State;

/// Objects that are wanted and objects that are to go.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) apply: Vec<Desired>,
    pub(crate) delete: Vec<ObjectKey>,
    /// Whether pods that serve are stopped, for a while, on purpose.
    pub(crate) stops_pods: bool,
    /// Why a wanted object could not be built.
    pub(crate) failure: Option<Failure>,
}

impl Objects {
    fn want<K: Resource + Serialize>(&mut self, kind: Kind, object: &K, write: Write) {
        match Desired::new(kind, object, write) {
            Ok(desired) => self.apply.push(desired),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, message: String) {
        self.failure = Some(Failure::new(StalledReason::InvalidSpec, message));
    }

    fn remove(&mut self, kind: Kind, name: String) {
        self.delete.push(ObjectKey { kind, name });
    }
}

/// The objects that a decision takes.
pub(crate) fn of(
    reading: &Reading<'_>,
    decision: &Decision,
    signals: &Signals,
    now: Timestamp,
) -> Objects {
    let mut objects = Objects::default();
    let state = &decision.state;
    // Whoever harms is sent nothing more before anything else is done.
    traffic::table(reading, decision, &mut objects, now);
    // The name that clients know comes next: where it is taken, nothing is started.
    traffic::endpoint(reading, state, &mut objects);
    verification(reading, decision, &mut objects);
    golden_set::job(reading, decision, now, &mut objects);
    let records = records(reading, decision);
    for record in &records {
        match record_object::build(&reading.observed.model, record, None) {
            Ok(object) => objects.want(Kind::ControllerRevision, &object, Write::Marks),
            Err(error) => objects.fail(error.to_string()),
        }
    }
    let born = birth(reading, state, now, &mut objects);
    let sizes = sizes(reading, state, signals);
    revisions(reading, state, &sizes, born.as_ref(), &mut objects);
    traffic::routers(reading, state, &mut objects);
    evidence(reading, &mut objects);
    retire(reading, state, &mut objects);
    forget(reading, &records, &mut objects);
    // Nothing rests on it: should it be refused, all else is there.
    traffic::route(reading, &mut objects);
    let conflicts = &reading.observed.conflicts;
    objects
        .apply
        .retain(|object| !conflicts.contains(&object.key));
    objects
}

/// What the routers have told is kept with each look at it, and where a share of the traffic ends or a router
/// goes: what came before could not be told from what comes later, or not at all. The object stays until the next rollout writes it
/// anew: we may delete no `ConfigMap`.
fn evidence(reading: &Reading<'_>, objects: &mut Objects) {
    let observed = reading.observed;
    let looks = !observed.gathered.measurements.is_empty();
    let name = names::evidence(&observed.model.name_any());
    let mut kept = observed.children.tables.iter();
    let kept = kept.find(|map| map.name_any() == name);
    let kept = kept.and_then(|map| annotation(&map.metadata, labels::KEPT));
    let is_wanted = |ledger: &&Ledger| {
        !ledger.is_empty() && (looks || kept != Some(ledger.progress().as_str()))
    };
    if let Some(ledger) = observed.ledger.as_deref().filter(is_wanted) {
        let object = ledger.object(&observed.model);
        objects.want(Kind::ConfigMap, &object, Write::Replace);
    }
}

fn verification(reading: &Reading<'_>, decision: &Decision, objects: &mut Objects) {
    let children = &reading.observed.children;
    let running = matches!(
        reading.resolution,
        Resolution::Running { .. } | Resolution::Late(_)
    );
    let name = reading.job.as_ref().map(ResourceExt::name_any);
    let is_there = children
        .jobs
        .iter()
        .any(|job| Some(job.name_any()) == name && job.metadata.deletion_timestamp.is_none());
    // After a command the next plan knows better what is to be read.
    let wanted = running && !reading.held() && !decision.moved;
    if let (true, false, Some(job)) = (wanted, is_there, &reading.job) {
        objects.want(Kind::Job, job, Write::Replace);
    }
    for job in children.jobs.iter().filter(|job| !golden::is_one(job)) {
        let answers =
            resolution::verification(job).is_some_and(|verified| verified.answers(&reading.wanted));
        let current = Some(job.name_any()) == name;
        let spent = running && resolution::is_spent(job, &children.pods);
        // While the source is known, the Job that has read it stays to be looked at.
        let kept = answers && !spent && (current || !running);
        if !kept && job.metadata.deletion_timestamp.is_none() {
            objects.remove(Kind::Job, job.name_any());
        }
    }
}

/// All records with their part in the state.
fn records(reading: &Reading<'_>, decision: &Decision) -> Vec<Record> {
    let mut records = reading.records.clone();
    for record in &mut records {
        record.role = role(&decision.state, &record.hash);
        record.golden = golden::learned(&record.golden, &record.hash, &reading.observed.children);
        let known = match &reading.resolution {
            Resolution::Known { digest, .. } => Some(digest),
            Resolution::Running { .. } | Resolution::Late(_) | Resolution::Failed(_) => None,
        };
        if Some(&record.hash) == reading.target.revision() {
            record
                .calibration
                .clone_from(&reading.observed.model.spec.model.calibration);
        }
        // The hash of a revision has its digest in it, so they are one.
        if let (Some(digest), true) = (known, Some(&record.hash) == reading.target.revision()) {
            record.verified = Some(reading.wanted.clone());
            record.digest = Some(digest.clone());
        }
        match &decision.ending {
            Some(Ending::Failed(hash, failure)) if hash == &record.hash => {
                record.outcome = Some(failure.to_string());
            }
            Some(Ending::Promoted { revision, .. } | Ending::Returned { revision, .. })
                if revision == &record.hash =>
            {
                record.outcome = Some("Promoted".to_owned());
            }
            Some(
                Ending::Failed(..)
                | Ending::Promoted { .. }
                | Ending::Returned { .. }
                | Ending::Superseded(_)
                | Ending::Aborted(_),
            )
            | None => {}
        }
    }
    records
}

fn role(state: &State, hash: &RevisionHash) -> Role {
    if state.stable() == Some(hash) {
        Role::Stable
    } else if state.fleet.failed.contains(hash) {
        Role::Failed
    } else if state.canary() == Some(hash) {
        Role::Canary
    } else if state.previous() == Some(hash) {
        Role::Previous
    } else {
        Role::Retired
    }
}

/// The record of a revision that has none yet, and its content.
fn birth(
    reading: &Reading<'_>,
    state: &State,
    now: Timestamp,
    objects: &mut Objects,
) -> Option<(RevisionHash, Content)> {
    let hash = state.canary().or_else(|| state.stable()).filter(|hash| {
        Some(*hash) == reading.target.revision() && reading.record(hash).is_none()
    })?;
    let (record, content) = match new_record(reading, state, hash, now) {
        Ok(new) => new,
        Err(failure) => {
            objects.failure = Some(failure);
            return None;
        }
    };
    match record_object::build(&reading.observed.model, &record, Some(&content)) {
        Ok(object) => objects.want(Kind::ControllerRevision, &object, Write::Marks),
        Err(error) => objects.fail(error.to_string()),
    }
    Some((hash.clone(), content))
}

fn new_record(
    reading: &Reading<'_>,
    state: &State,
    hash: &RevisionHash,
    now: Timestamp,
) -> Result<(Record, Content), Failure> {
    let observed = reading.observed;
    let source = reading.source.as_ref().map_err(Clone::clone)?;
    let facts = reading
        .facts()
        .ok_or_else(|| Failure::new(StalledReason::LoadFailed, "the model is not read yet"))?;
    let (model, settings) = (&observed.model, &observed.settings);
    let template = template(model, source, hash, &facts, settings, now)?;
    // A record that somebody has deleted is made of what runs.
    let template = match observed
        .children
        .deployment(hash)
        .and_then(|object| object.spec.clone())
    {
        Some(spec) => spec.template,
        None => template,
    };
    let newest = reading.records.iter().map(|record| record.number).max();
    let record = Record {
        hash: hash.clone(),
        number: newest.unwrap_or(0) + 1,
        role: role(state, hash),
        outcome: None,
        verified: Some(reading.wanted.clone()),
        digest: Some(facts.digest.clone()),
        golden: Vec::new(),
        calibration: observed.model.spec.model.calibration.clone(),
        promoted: None,
    };
    let content = Content {
        spec: identity::revision_spec(&observed.model.spec),
        model: facts,
        template,
    };
    Ok((record, content))
}

/// The pods of a new revision.
pub(crate) fn template(
    model: &RewardModel,
    source: &Source,
    hash: &RevisionHash,
    facts: &ModelFacts,
    settings: &Settings,
    now: Timestamp,
) -> Result<PodTemplateSpec, Failure> {
    let frozen = pod::Frozen {
        digest: facts.digest.clone(),
        bytes: facts.bytes,
        date: now.strftime("%Y-%m-%d").to_string(),
        revision: hash.clone(),
    };
    pod::template(model, source, hash, &frozen, settings)
        .map_err(|why| Failure::new(StalledReason::InvalidSpec, why))
}

/// What makes an experiment's winner a revision of this endpoint; answers the annotation that follows.
pub(crate) fn promotion(
    reading: &Reading<'_>,
    promotion: Result<Option<Promotion>, Failure>,
    objects: &mut Objects,
) -> Option<String> {
    let promotion = match promotion {
        Ok(promotion) => promotion?,
        Err(failure) => {
            objects.failure.get_or_insert(failure);
            return None;
        }
    };
    if let Some((record, content)) = &promotion.record {
        match record_object::build(&reading.observed.model, record, Some(content)) {
            Ok(object) => objects.want(Kind::ControllerRevision, &object, Write::Marks),
            Err(error) => objects.fail(error.to_string()),
        }
    }
    Some(promotion.annotation)
}

fn revisions(
    reading: &Reading<'_>,
    state: &State,
    sizes: &Sizes,
    born: Option<&(RevisionHash, Content)>,
    objects: &mut Objects,
) {
    let shrinks = |hash: Option<&RevisionHash>, size: Option<i32>| {
        let deployment = hash.and_then(|hash| reading.observed.children.deployment(hash));
        deployment.and_then(health::size) > size
    };
    objects.stops_pods = [
        (state.stable(), sizes.stable),
        (state.canary(), sizes.canary),
    ]
    .into_iter()
    .any(|(hash, size)| size.is_some() && shrinks(hash, size));
    let parts = [
        (state.stable(), sizes.stable),
        (state.canary(), sizes.canary),
        (state.previous(), sizes.previous),
    ];
    for (hash, size) in parts {
        if let (Some(hash), Some(size)) = (hash, size) {
            let own = born.filter(|(born, _)| born == hash);
            let template = match own {
                Some((_, content)) => Some(Ok(content.clone())),
                None => reading.content(hash),
            };
            revision(reading, hash, template, size, objects);
        }
    }
}

/// How many pods each revision has. A model that is read from a claim that one pod at a time may use
/// is left to the verify Job by whoever has it.
fn sizes(reading: &Reading<'_>, state: &State, signals: &Signals) -> Sizes {
    let sizes = rollout::sizes(state, signals);
    let is_read_alone = reading.one_pod_only()
        && !reading.held()
        && matches!(reading.resolution, Resolution::Running { .. });
    let size = |size: Option<i32>| size.map(|size| if is_read_alone { 0 } else { size });
    Sizes {
        stable: size(sizes.stable),
        canary: size(sizes.canary),
        previous: size(sizes.previous),
    }
}

fn revision(
    reading: &Reading<'_>,
    hash: &RevisionHash,
    content: Option<Result<Content, String>>,
    size: i32,
    objects: &mut Objects,
) {
    let model = &reading.observed.model;
    let record = names::revision(&model.name_any(), hash);
    match content {
        Some(Ok(mut content)) => {
            // What runs keeps its form; what is made anew knows the routers.
            let children = &reading.observed.children;
            if children.deployment(hash).is_none() || reading.knows_routers(hash) {
                serve_args::tell(&mut content.template, hash);
            }
            let deadline = reading.scale.progress_deadline.as_secs();
            let seconds = i32::try_from(deadline).unwrap_or(i32::MAX);
            let object = deployment::of_revision(model, hash, &content.template, size, seconds);
            objects.want(Kind::Deployment, &object, Write::Replace);
        }
        Some(Err(why)) => {
            objects.failure = Some(Failure::new(
                StalledReason::UnknownState,
                format!(
                    "ControllerRevision {record}: {why}; it was written by another version: delete it to have it made anew"
                ),
            ));
        }
        // Without its record nobody knows its pods; what runs is left as it is.
        None => {}
    }
    let service = service::of_revision(model, hash);
    objects.want(Kind::Service, &service, Write::Replace);
    let budget = disruption_budget::of_revision(model, hash);
    objects.want(Kind::PodDisruptionBudget, &budget, Write::Replace);
}

/// What belongs to a revision without a part in the state goes.
fn retire(reading: &Reading<'_>, state: &State, objects: &mut Objects) {
    let children = &reading.observed.children;
    let gone = |metadata: &ObjectMeta| {
        let hash = revision_of(metadata)?;
        let idle = !state.has(&hash) && metadata.deletion_timestamp.is_none();
        idle.then(|| metadata.name.clone().unwrap_or_default())
    };
    for object in &children.deployments {
        if let Some(name) = gone(&object.metadata) {
            objects.remove(Kind::Deployment, name);
        }
    }
    for object in &children.services {
        if let Some(name) = gone(&object.metadata) {
            objects.remove(Kind::Service, name);
        }
    }
    for object in &children.budgets {
        if let Some(name) = gone(&object.metadata) {
            objects.remove(Kind::PodDisruptionBudget, name);
        }
    }
}

/// Records beyond the limit go, the oldest first; those with a part in the state, and those that
/// failed, stay.
fn forget(reading: &Reading<'_>, records: &[Record], objects: &mut Objects) {
    let below = promotion::below(reading);
    let mut retired: Vec<&Record> = records
        .iter()
        .filter(|record| record.role == Role::Retired)
        // So does that of the spec itself, where a winner is ahead of it.
        .filter(|record| Some(&record.hash) != below.as_ref())
        // The record of what the spec asks for spares a reading.
        .filter(|record| Some(&record.hash) != reading.target.revision())
        .collect();
    retired.sort_by_key(|record| record.number);
    let excess = retired
        .len()
        .saturating_sub(reading.scale.revision_history_limit);
    let model = reading.observed.model.name_any();
    for record in retired.into_iter().take(excess) {
        let key = ObjectKey {
            kind: Kind::ControllerRevision,
            name: names::revision(&model, &record.hash),
        };
        objects.apply.retain(|object| object.key != key);
        objects.delete.push(key);
    }
}
