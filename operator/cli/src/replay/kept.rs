//! Evidence as the operator keeps it: objects `NAME-evidence-METRIC`.
//!
//! Invariants: sums of another design are refused by name; what was latched from look to look is used only where
//! the manifest's status says that it is of the same design.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::ABExperiment;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use operator_core::experiment::ledger::Ledger;
use traffic::evidence::experiment::{Evidence, Subject};

use super::run::{Looked, Replay};
use crate::failure::Failure;
use crate::manifest;

pub(super) fn replay(
    experiment: &ABExperiment,
    files: &[&(String, String)],
    elapsed: Duration,
) -> Result<Looked, Failure> {
    let name = experiment.name_any();
    let mut objects: BTreeMap<String, ConfigMap> = BTreeMap::new();
    for (file, text) in files {
        for value in manifest::documents(text)? {
            let object: ConfigMap = serde_json::from_value(value).map_err(|error| {
                Failure::Usage(format!("{file}: this is no ConfigMap: {error}"))
            })?;
            objects.insert(object.name_any(), object);
        }
    }
    let kept: Vec<&ConfigMap> = objects
        .values()
        .filter(|of| of.name_any().starts_with(&format!("{name}-evidence-")))
        .collect();
    let told: Vec<Subject> = kept.iter().filter_map(|object| subject(object)).collect();
    let Some(newest) = told.iter().max_by_key(|subject| subject.epoch) else {
        return Err(Failure::Usage(format!(
            "no evidence of {name} is there: get it with kubectl get configmap -l betterai.dev/experiment={name} -o yaml"
        )));
    };
    let mut replay = Replay::new(experiment, &newest.uid, newest.epoch, Timestamp::UNIX_EPOCH)?;
    let same = experiment
        .status
        .as_ref()
        .and_then(|status| status.epoch.as_ref());
    let is_same = same.is_some_and(|epoch| epoch.fingerprint == replay.fingerprint());
    let names: Vec<String> = replay.ledgers.keys().cloned().collect();
    for metric in names {
        let object = kept
            .iter()
            .find(|of| of.name_any() == Ledger::name(&name, &metric));
        let object = object.ok_or_else(|| {
            Failure::Usage(format!(
                "there is no evidence of the metric {metric}: give the ConfigMap {}, or take the metric out of the manifest",
                Ledger::name(&name, &metric)
            ))
        })?;
        let Some(ledger) = replay.ledgers.get_mut(&metric) else {
            continue;
        };
        let read = Ledger::read(object, ledger.subject());
        let read =
            read.map_err(|why| Failure::Usage(format!("the evidence cannot be read: {why}")))?;
        let mut read = read.ok_or_else(|| other(object, ledger.subject(), &metric))?;
        if !is_same {
            read.tracks = BTreeMap::new();
        }
        *ledger = read;
    }
    replay.look(elapsed)
}

/// Whose the evidence of an object is.
fn subject(object: &ConfigMap) -> Option<Subject> {
    let documents = object.binary_data.iter().flatten();
    let mut subjects =
        documents.filter_map(|(_, bytes)| Some(Evidence::from_bytes(&bytes.0).ok()?.subject));
    subjects.next()
}

/// Why evidence is of another design.
fn other(object: &ConfigMap, wanted: &Subject, metric: &str) -> Failure {
    let Some(found) = subject(object) else {
        return Failure::Usage(format!("{} holds no evidence", object.name_any()));
    };
    let names = |subject: &Subject| {
        let names = subject.variants.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    };
    let why = if found.epoch != wanted.epoch || found.uid != wanted.uid {
        format!(
            "it is of epoch {} and others are of epoch {}: get them anew, all at once",
            found.epoch, wanted.epoch
        )
    } else if found.variants != wanted.variants {
        format!(
            "it is of the variants {}, and the manifest has {}",
            names(&found),
            names(wanted)
        )
    } else if found.salt != wanted.salt || found.mode != wanted.mode {
        "assignment.salt or mode of the manifest is another".to_owned()
    } else {
        "source, kind or clip of the manifest is another: margins, roles, effects and levels may differ from what was recorded, what is counted may not".to_owned()
    };
    Failure::Usage(format!(
        "the evidence of the metric {metric} is of another design: {why}"
    ))
}
