//! A model here, as its scores are described.
//!
//! Must not know how scores are shown. Invariant: what a checkpoint says of its scores is kept.

use inference_models::{Kind, ModelFacts, OutputActivation};
use inference_scoring::{Activation, Backbone, Calibration, Description};

/// Who gives the scores of a model of these facts; without a version it is named by its digest.
pub fn description(
    facts: &ModelFacts,
    version: Option<String>,
    calibration: Option<Calibration>,
) -> Description {
    Description {
        revision: None,
        version: version.unwrap_or_else(|| facts.digest.short().to_owned()),
        digest: facts.digest.to_string(),
        backbone: match facts.kind {
            Kind::Encoder => Backbone::Encoder,
            Kind::Decoder => Backbone::Decoder,
        },
        labels: facts.labels.clone(),
        activation: activation(facts.activation, facts.labels.len()),
        label: 0,
        native: Activation::Identity,
        calibration,
    }
}

fn activation(activation: OutputActivation, labels: usize) -> Activation {
    match activation {
        OutputActivation::ByLabels => Activation::of_labels(labels),
        OutputActivation::Identity => Activation::Identity,
        OutputActivation::Sigmoid => Activation::Sigmoid,
        OutputActivation::Softmax => Activation::Softmax,
        OutputActivation::Tanh => Activation::Tanh,
    }
}
