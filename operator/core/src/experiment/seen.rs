//! What the shell has seen of an experiment's surroundings, as plain data.
//!
//! Owns the types, and which other experiment is in the way.

use std::collections::BTreeMap;

use crds::ABExperiment;
use crds::conditions::{ExperimentConditionType, ExperimentStalledReason};
use crds::v1alpha1::reward_model::model::Calibration;
use crds::v1alpha1::reward_model::traffic::Key;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::analysis::Look;
use super::standing::Promotion;
use super::state::Action;

/// A RewardModel, as far as an experiment needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Its stable revision.
    pub revision: Option<String>,
    /// The digest of that.
    pub digest: Option<String>,
    /// The headless Service of that.
    pub service: Option<String>,
    /// Whether that has a ready pod.
    pub ready: bool,
    /// Whether a rollout is in flight, or about to be.
    pub rolling: bool,
    /// Whether its spec asks for another revision, which waits for the end of an experiment.
    pub waits: bool,
    /// Its user key.
    pub key: Option<Key>,
    /// How its scores become confidences.
    pub calibration: Option<Calibration>,
    /// Requests that one of its pods may have in flight.
    pub capacity: Option<u32>,
}

/// Another experiment on the same endpoint that deals its users, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it has an epoch: it runs, or is paused.
    pub has_begun: bool,
}

impl Rival {
    /// `other`, where it deals the endpoint's users or is about to: not one that is over, nor one that cannot
    /// begin as it is. A verdict alone does not end it: users stay in their arms until what follows is done, and
    /// for ever where only a report was asked for.
    pub fn of(other: &ABExperiment) -> Option<Self> {
        let status = other.status.clone().unwrap_or_default();
        let decision = status.decision.as_ref();
        let is_over = decision.is_some_and(|decision| {
            decision.applied_at.is_some() && decision.action != Action::Report.as_str()
        });
        let has_begun = status.epoch.is_some();
        let stalled = other.condition(ExperimentConditionType::Stalled);
        let waits = ExperimentStalledReason::EndpointConflict.as_str();
        let cannot = other.spec.suspend || stalled.is_some_and(|stalled| stalled.reason != waits);
        let goes = other.metadata.deletion_timestamp.is_some();
        let is_one = !is_over && !goes && (has_begun || !cannot);
        is_one.then(|| Self {
            name: other.name_any(),
            created: other.creation_timestamp().map(|time| time.0),
            has_begun,
        })
    }
}

/// All that was seen.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// The resource.
    pub experiment: &'a ABExperiment,
    /// RewardModels of the namespace, by name: the endpoint and those of the variants that are there.
    pub models: &'a BTreeMap<String, Model>,
    /// Others on the endpoint.
    pub rivals: &'a [Rival],
    /// The look at the epoch that the status names. None where nothing was told of it yet.
    pub look: Option<&'a Look>,
    /// What has become of the revision that won, at the endpoint.
    pub promotion: &'a Promotion,
    /// Whether there is a Prometheus that metrics may ask.
    pub asks_prometheus: bool,
    /// Whether a live router still deals by this experiment.
    pub dealt: bool,
    /// The time.
    pub now: Timestamp,
}
