//! A model that a command loads, and which of its labels is the score.

use std::path::Path;

use anyhow::{anyhow, ensure};
use inference_models::loader::ModelFacts;
use inference_models::{LoadOptions, Model};

/// Loads the model of `folder`, whose score is to be `label`.
///
/// # Errors
/// When it cannot be loaded, or has no such label.
pub(crate) fn open(folder: &Path, options: &LoadOptions, label: usize) -> anyhow::Result<Model> {
    let model = inference_models::load(folder, options)
        .map_err(|error| anyhow!("{}: {error}", error.reason))?;
    require_label(&model.facts, label)?;
    Ok(model)
}

/// # Errors
/// When the model has no such label.
pub(crate) fn require_label(facts: &ModelFacts, label: usize) -> anyhow::Result<()> {
    let labels = facts.labels.len();
    ensure!(
        label < labels,
        "--label {label}: the model has {labels} labels"
    );
    Ok(())
}
