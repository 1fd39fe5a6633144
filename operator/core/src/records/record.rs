//! A revision's record: the ControllerRevision that keeps what the revision is. Its content is
//! written once; its part in the rollout stands in annotations.

use crds::labels;
use crds::v1alpha1::reward_model::model::{Calibration, Model};
use crds::value::Digest;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::golden::{self, GoldenResult};
use super::report::ModelFacts;
use crate::identity::{RevisionHash, Verification};
use crate::observed::{RecordObject, annotation, revision_of};

/// The part of a revision in its rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients rely on it.
    Stable,
    /// It is on its way.
    Canary,
    /// It was the stable one before, and still drains.
    Previous,
    /// It has no part now.
    Retired,
    /// It failed and is not tried again.
    Failed,
}

impl Role {
    /// The word as it stands in the annotation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Previous => "previous",
            Self::Retired => "retired",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::Stable,
            Self::Canary,
            Self::Previous,
            Self::Retired,
            Self::Failed,
        ]
        .into_iter()
        .find(|role| role.as_str() == word)
    }
}

/// What a record holds. The pod template is kept as rendered, so that an operator with another pod
/// builder restarts no model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The part of the spec that the revision is made of.
    pub spec: Value,
    /// What is known of its model.
    pub model: ModelFacts,
    /// The rendered pod template, with the resolved image.
    pub template: PodTemplateSpec,
}

/// A record, without its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The revision's hash.
    pub hash: RevisionHash,
    /// Counts the revisions of one resource.
    pub number: i64,
    /// Its part in the rollout.
    pub role: Role,
    /// How its rollout ended, in words.
    pub outcome: Option<String>,
    /// The reading of its source that it came from.
    pub verified: Option<Verification>,
    /// What its source resolved to.
    pub digest: Option<Digest>,
    /// What it scores on golden sets.
    pub golden: Vec<GoldenResult>,
    /// How its scores become confidences.
    pub calibration: Option<Calibration>,
    /// The model of an experiment's winner, which no spec of this resource has said.
    pub promoted: Option<Model>,
}

/// Reads a record; `None` where the object is not one that this operator wrote.
pub fn read(object: &RecordObject) -> Option<Record> {
    let mark = |key| annotation(&object.metadata, key);
    Some(Record {
        hash: revision_of(&object.metadata)?,
        number: mark(labels::NUMBER)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        role: mark(labels::ROLE)
            .and_then(Role::parse)
            .unwrap_or(Role::Retired),
        outcome: mark(labels::OUTCOME).map(str::to_owned),
        verified: mark(labels::VERIFIED).and_then(Verification::parse),
        digest: mark(labels::DIGEST).map(Digest::from),
        golden: golden::kept(mark(labels::GOLDEN)),
        calibration: mark(labels::CALIBRATION).and_then(|text| serde_json::from_str(text).ok()),
        promoted: mark(labels::PROMOTED).and_then(|text| serde_json::from_str(text).ok()),
    })
}

/// Reads the content of a record.
///
/// # Errors
/// A sentence when it is not one that this operator wrote.
pub fn content(text: &str) -> Result<Content, String> {
    serde_json::from_str(text).map_err(|error| format!("data cannot be read: {error}"))
}
