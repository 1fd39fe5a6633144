//! The ControllerRevision that keeps what a revision is.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;

use super::metadata;
use crate::identity::names;
use crate::records::{Content, Record, golden};

/// The record as an object. Its content is written once: where the record is there already, `content`
/// is absent and the marks alone are wanted.
///
/// # Errors
/// Only when its content cannot be written as JSON.
pub fn build(
    model: &RewardModel,
    record: &Record,
    content: Option<&Content>,
) -> Result<ControllerRevision, serde_json::Error> {
    let name = names::revision(&model.name_any(), &record.hash);
    let mut metadata = metadata(model, name, labels::component::REVISION, Some(&record.hash));
    let mut annotations = BTreeMap::from([
        (labels::ROLE.to_owned(), record.role.as_str().to_owned()),
        (labels::NUMBER.to_owned(), record.number.to_string()),
    ]);
    let mut mark = |key: &str, value: Option<String>| {
        annotations.extend(value.map(|value| (key.to_owned(), value)));
    };
    mark(
        labels::VERIFIED,
        record.verified.as_ref().map(ToString::to_string),
    );
    mark(
        labels::DIGEST,
        record.digest.as_ref().map(ToString::to_string),
    );
    mark(labels::OUTCOME, record.outcome.clone());
    mark(labels::GOLDEN, golden::annotation(&record.golden));
    let calibration = record.calibration.as_ref();
    let calibration = calibration.map(serde_json::to_string).transpose()?;
    mark(labels::CALIBRATION, calibration);
    let promoted = record.promoted.as_ref();
    let promoted = promoted.map(serde_json::to_string).transpose()?;
    mark(labels::PROMOTED, promoted);
    metadata.annotations = Some(annotations);
    Ok(ControllerRevision {
        metadata,
        revision: record.number,
        data: match content {
            Some(content) => Some(RawExtension(serde_json::to_value(content)?)),
            None => None,
        },
    })
}
