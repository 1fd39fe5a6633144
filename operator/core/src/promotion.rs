//! An experiment's winner as a revision of its endpoint, ahead of the spec.
//!
//! Owns what the annotation `betterai.dev/override: <revision>@<spec revision>` means, and the record that it
//! names. It must not know why a variant has won. Invariants: nothing of the spec is changed; an override holds
//! as long as the spec produces the revision that it was made at, and ends when the spec produces another; what
//! follows from it is a rollout like any other.

use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::model::Model;
use crds::{RewardModel, labels};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::Failure;
use crate::children;
use crate::identity::{self, RevisionHash, Verification};
use crate::observed::{Claim, Observed, Winner, annotation};
use crate::reading::Reading;
use crate::records::{Content, Record, Role};
use crate::spec;

/// What makes a winner a revision of its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Promotion {
    /// The record, where it is not there yet.
    pub(crate) record: Option<(Record, Content)>,
    /// The text of the annotation.
    pub(crate) annotation: String,
}

/// What the annotation says; `None` where there is none, or it names no revisions.
fn written(observed: &Observed) -> Option<(RevisionHash, RevisionHash)> {
    let text = annotation(&observed.model.metadata, labels::OVERRIDE)?;
    let (revision, at) = text.split_once('@')?;
    Some((RevisionHash::parse(revision)?, RevisionHash::parse(at)?))
}

/// What is observed, with the model that was promoted in the place of the spec's; `None` where nothing is.
pub(crate) fn ahead(own: &Reading<'_>) -> Option<Observed> {
    let (revision, at) = written(own.observed)?;
    if own.target.revision() != Some(&at) {
        return None;
    }
    let record = own.record(&revision)?;
    let mut model = record.promoted.clone()?;
    model.digest.clone_from(&record.digest);
    Some(with(own.observed, model))
}

/// The revision that the spec itself asks for, where an override is ahead of it.
pub(crate) fn below(reading: &Reading<'_>) -> Option<RevisionHash> {
    let (_, at) = written(reading.observed).filter(|_| reading.is_ahead)?;
    Some(at)
}

/// Whether an override was written that holds no more: the spec asks for what it names, or for another revision
/// than the one it was made at; or what it names was given up, and the spec's own serves. `reading` is of what is in
/// force.
pub(crate) fn has_ended(reading: &Reading<'_>) -> bool {
    let Some((revision, at)) = written(reading.observed) else {
        return false;
    };
    let moved = |asked: &RevisionHash| !reading.is_ahead && *asked != at;
    let given_up = reading.state.as_ref().is_ok_and(|state| {
        state.rollout.is_none()
            && state.stable() == Some(&at)
            && state.fleet.failed.contains(&revision)
    });
    given_up || reading.target.revision().is_some_and(moved)
}

/// The same with another model.
fn with(observed: &Observed, model: Model) -> Observed {
    let mut other = observed.clone();
    other.model.spec.model = model;
    let claim = |observed: &Observed| {
        spec::claim(&observed.model.spec).map(|(claim, field)| (claim.to_owned(), field))
    };
    other.claim = match claim(&other) {
        None => Claim::NotNeeded,
        same if same == claim(observed) => observed.claim,
        // The variant's own pods have it.
        Some(_) => Claim::Present {
            lost: false,
            one_pod_only: false,
        },
    };
    other
}

/// What is to be written, so that the winner of this endpoint's experiment is ahead of the spec; `None` where
/// there is no winner, or the spec is made of it or goes before it, or it was written, or given up before.
///
/// # Errors
/// Why no pod of it can be made.
pub(crate) fn of(own: &Reading<'_>, now: Timestamp) -> Result<Option<Promotion>, Failure> {
    let observed = own.observed;
    let winner = observed.experiment.as_ref();
    let winner = winner.and_then(|standing| standing.winner.as_ref());
    let (Some(winner), Some(at)) = (winner, own.target.revision()) else {
        return Ok(None);
    };
    let promoted = with(observed, winner.model.clone()).model;
    let hash = identity::revision_hash(&promoted.spec, &winner.facts.digest);
    let annotation = format!("{hash}@{at}");
    let is_written = annotation
        == self::annotation(&observed.model.metadata, labels::OVERRIDE).unwrap_or_default();
    let known = own.state.as_ref();
    let is_given_up = known.is_ok_and(|state| state.fleet.failed.contains(&hash));
    if &hash == at || is_written || is_given_up || is_overtaken(own, winner, &hash, at) {
        return Ok(None);
    }
    let is_there = own
        .record(&hash)
        .is_some_and(|record| record.promoted.is_some());
    let record = if is_there {
        None
    } else {
        Some(record(own, &promoted, winner, hash, now)?)
    };
    Ok(Some(Promotion { record, annotation }))
}

/// Whether something newer than the experiment goes before its winner: the endpoint serves another revision than the
/// one it was compared with, or its spec asks for another model and that was not tried yet. An override would keep
/// it from ever being served. Other changes of a spec go with the winner.
fn is_overtaken(
    own: &Reading<'_>,
    winner: &Winner,
    hash: &RevisionHash,
    at: &RevisionHash,
) -> bool {
    let Ok(state) = &own.state else {
        return false;
    };
    let Some(stable) = state.stable().filter(|stable| *stable != hash) else {
        return false;
    };
    let against = winner.against.as_ref();
    if against.is_some_and(|against| against != stable) {
        return true;
    }
    let model = |spec: &Value| spec.get("model").cloned();
    let served = own.content(stable).and_then(Result::ok);
    let served = served.and_then(|content| model(&content.spec));
    let asked = model(&identity::revision_spec(&own.observed.model.spec));
    let waits = stable != at && !state.fleet.failed.contains(at) && ahead(own).is_none();
    // What is served may not be looked up yet: then it is too early to promote.
    waits && served != asked
}

fn record(
    own: &Reading<'_>,
    promoted: &RewardModel,
    winner: &Winner,
    hash: RevisionHash,
    now: Timestamp,
) -> Result<(Record, Content), Failure> {
    // Whether its claim is there is asked when the rollout begins.
    let source = spec::source(&promoted.spec)
        .map_err(|why| Failure::new(StalledReason::InvalidSpec, why))?;
    let settings = &own.observed.settings;
    let template = children::template(promoted, &source, &hash, &winner.facts, settings, now)?;
    let newest = own.records.iter().map(|record| record.number).max();
    let known = own.record(&hash);
    let record = Record {
        number: known.map_or_else(|| newest.unwrap_or(0) + 1, |record| record.number),
        role: known.map_or(Role::Retired, |record| record.role),
        outcome: known.and_then(|record| record.outcome.clone()),
        verified: Some(Verification {
            source: identity::source_key(&promoted.spec),
            attempt: 0,
        }),
        digest: Some(winner.facts.digest.clone()),
        golden: known
            .map(|record| record.golden.clone())
            .unwrap_or_default(),
        calibration: winner.model.calibration.clone(),
        promoted: Some(winner.model.clone()),
        hash,
    };
    let content = Content {
        spec: identity::revision_spec(&promoted.spec),
        model: winner.facts.clone(),
        template,
    };
    Ok((record, content))
}
