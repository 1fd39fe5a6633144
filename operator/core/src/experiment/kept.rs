//! What an experiment's status is made anew of, where it was lost: a verdict must not be forgotten, and nobody
//! dealt anew, because a status was wiped.
//!
//! Owns the form of the ConfigMap that keeps it. Invariants: only what cannot be found out again is kept; what is
//! another resource's, also of the same name, is never read.

use std::collections::BTreeMap;

use crds::v1alpha1::ab_experiment::status::VariantStatus;
use crds::{ABExperiment, ABExperimentStatus, labels};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

const KEY: &str = "status.json";

/// The name of the ConfigMap.
pub fn name(experiment: &ABExperiment) -> String {
    format!("{}-experiment", experiment.name_any())
}

/// The part of a status that cannot be found out again.
pub fn part(status: &ABExperimentStatus) -> ABExperimentStatus {
    let variants = status.variants.as_ref().map(|variants| {
        let part = |variant: &VariantStatus| VariantStatus {
            name: variant.name.clone(),
            model: variant.model.clone(),
            revision: variant.revision.clone(),
            rolled_back: variant.rolled_back.clone(),
            ..VariantStatus::default()
        };
        variants.iter().map(part).collect()
    });
    ABExperimentStatus {
        phase: status.phase.clone(),
        started_at: status.started_at.clone(),
        paused: status.paused,
        epoch: status.epoch.clone(),
        variants,
        decision: status.decision.clone(),
        last_command: status.last_command.clone(),
        ..ABExperimentStatus::default()
    }
}

/// The metadata of an object that keeps something of an experiment, and goes with it.
pub(super) fn metadata(experiment: &ABExperiment, name: String) -> ObjectMeta {
    let own = [
        (labels::EXPERIMENT, experiment.name_any()),
        (labels::MANAGED_BY, labels::OPERATOR.to_owned()),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value));
    ObjectMeta {
        name: Some(name),
        namespace: experiment.namespace(),
        labels: Some(BTreeMap::from(own)),
        owner_references: experiment
            .controller_owner_ref(&())
            .map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// The object that keeps `part`.
pub fn object(experiment: &ABExperiment, part: &ABExperimentStatus) -> ConfigMap {
    ConfigMap {
        metadata: metadata(experiment, name(experiment)),
        data: serde_json::to_string(part)
            .ok()
            .map(|text| BTreeMap::from([(KEY.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// Whether an object is this experiment's.
pub fn is_own(experiment: &ABExperiment, metadata: &ObjectMeta) -> bool {
    let uid = experiment.uid();
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// What was kept; `None` where the object is another's, or cannot be read.
pub fn read(experiment: &ABExperiment, object: &ConfigMap) -> Option<ABExperimentStatus> {
    let text = object.data.as_ref()?.get(KEY)?;
    let part = serde_json::from_str(text).ok()?;
    is_own(experiment, &object.metadata).then_some(part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::state::State;
    use super::super::testing::{World, design, users};
    use super::*;

    fn decided() -> World {
        let patch = json!({});
        let mut world = World::new(&patch);
        world.experiment.metadata.uid = Some("u".to_owned());
        world.step();
        world.dealt = true;
        world.totals = Some(users(&[(5_000, 500), (5_000, 700)]).totals(&design(&patch)));
        world.now = 7_200;
        world.step();
        world
    }

    #[test]
    fn a_state_is_made_anew_of_what_was_kept() {
        let mut world = decided();
        let status = world.experiment.status.clone().unwrap();
        let state = State::read(Some(&status)).unwrap();
        assert!(state.conclusion.is_some() && state.epoch.is_some());
        let object = object(&world.experiment, &part(&status));
        world.experiment.status = None;
        let restored = read(&world.experiment, &object).unwrap();
        assert_eq!(State::read(Some(&restored)).unwrap(), state);
        world.experiment.status = Some(restored);
        // With its verdict it goes on from there: nothing is compared again.
        let step = world.step();
        assert_eq!(step.state.epoch.unwrap().id, 1);
        assert!(step.state.conclusion.is_some());
    }

    #[test]
    fn what_another_of_this_name_has_left_is_not_read() {
        let mut world = decided();
        let status = world.experiment.status.clone().unwrap();
        let object = object(&world.experiment, &part(&status));
        world.experiment.metadata.uid = Some("another".to_owned());
        assert_eq!(read(&world.experiment, &object), None);
        let mut broken = object.clone();
        broken.data = Some([(KEY.to_owned(), "{".to_owned())].into());
        world.experiment.metadata.uid = Some("u".to_owned());
        assert_eq!(read(&world.experiment, &broken), None);
        assert!(read(&world.experiment, &object).is_some());
    }
}
