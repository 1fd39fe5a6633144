//! An experiment as a document.
//!
//! Invariant: equal experiments give equal documents, the control first and then by name.

use super::document::{
    ClipDocument, ExperimentDocument, MetricDocument, OverrideDocument, VariantDocument,
};
use super::{Experiment, Metric, Mode, OnMissingKey, Signal, Slots, Source, Variant};
use crate::table::write::{calibration, key, place};

pub(in crate::table) fn write(experiment: &Experiment) -> ExperimentDocument {
    let control = experiment.variants.first();
    let name = |place: usize| {
        let variant = experiment.variants.get(place);
        variant.map(|variant| variant.name.to_string())
    };
    ExperimentDocument {
        name: experiment.name.to_string(),
        uid: experiment.uid.clone(),
        epoch: experiment.epoch,
        salt: experiment.salt.clone(),
        mode: match experiment.mode {
            Mode::Split => "Split",
            Mode::Paired => "Paired",
        }
        .to_owned(),
        control: control
            .map(|control| control.name.to_string())
            .unwrap_or_default(),
        key: experiment.key.as_ref().map(key),
        on_missing_key: match experiment.on_missing_key {
            OnMissingKey::Control => "Control",
            OnMissingKey::Reject => "Reject",
        }
        .to_owned(),
        variants: experiment.variants.iter().map(variant).collect(),
        overrides: experiment
            .overrides
            .iter()
            .map(|rule| OverrideDocument {
                header: rule.header.clone(),
                value: rule.value.clone(),
                variant: name(rule.arm.place()).unwrap_or_default(),
            })
            .collect(),
        metrics: experiment.metrics.iter().map(metric).collect(),
    }
}

fn variant(variant: &Variant) -> VariantDocument {
    let target = variant.target.as_ref();
    let (service, endpoints) = target
        .map(|target| place(&target.place))
        .unwrap_or_default();
    let range = |slots: &Slots| [i64::from(slots.from), i64::from(slots.until)];
    VariantDocument {
        name: variant.name.to_string(),
        revision: target.map(|target| target.revision.to_string()),
        digest: target.and_then(|target| target.digest.clone()),
        service,
        endpoints,
        calibration: target.and_then(|target| target.calibration.as_ref().map(calibration)),
        capacity: target.and_then(|target| target.capacity),
        slots: variant.slots.iter().map(range).collect(),
    }
}

pub(crate) fn metric(metric: &Metric) -> MetricDocument {
    let (mut signal, mut slower_than_ms, mut event, mut preferences) = (None, None, None, false);
    match &metric.source {
        Source::Signal(of) => {
            signal = Some(of.word().to_owned());
            slower_than_ms = match of {
                Signal::SlowerThan(millis) => Some(u64::from(*millis)),
                Signal::Score | Signal::Latency | Signal::Errors => None,
            };
        }
        Source::Event(of) => event = Some(of.as_str().to_owned()),
        Source::Preferences => preferences = true,
    }
    MetricDocument {
        name: metric.name.to_string(),
        signal,
        slower_than_ms,
        event,
        preferences,
        clip: metric.clip.as_ref().map(|clip| ClipDocument {
            min: clip.min.to_string(),
            max: clip.max.to_string(),
        }),
    }
}
