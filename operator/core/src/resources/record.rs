//! The ControllerRevision that keeps what a revision is.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;

use super::metadata;
use crate::identity::names;
use crate::observed::record::Record;

/// The record as an object.
///
/// # Errors
/// Only when its content cannot be written as JSON.
pub fn build(
    model: &RewardModel,
    record: &Record,
) -> Result<ControllerRevision, serde_json::Error> {
    let name = names::revision(&model.name_any(), &record.hash);
    let mut metadata = metadata(model, name, labels::component::REVISION, Some(&record.hash));
    let mut annotations = BTreeMap::from([
        (labels::ROLE.to_owned(), record.role.as_str().to_owned()),
        (labels::VERIFIED.to_owned(), record.verified.clone()),
    ]);
    if let Some(outcome) = &record.outcome {
        annotations.insert(labels::OUTCOME.to_owned(), outcome.clone());
    }
    metadata.annotations = Some(annotations);
    Ok(ControllerRevision {
        metadata,
        revision: record.number,
        data: Some(RawExtension(serde_json::to_value(&record.content)?)),
    })
}
