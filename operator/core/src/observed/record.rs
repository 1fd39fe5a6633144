//! A revision's record: the ControllerRevision that keeps what the revision is.
//!
//! Owns its format. Invariant: what is written is read back equal; a record that cannot be read is
//! reported, never overwritten or removed.

use crds::labels;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::ModelFacts;
use super::{annotation, revision_of};
use crate::identity::RevisionHash;

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

/// A record that was read.
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
    /// Key of the verification that it came from.
    pub verified: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What it holds.
    pub content: Content,
}

/// Reads a record.
///
/// # Errors
/// A sentence when the object is not one that this operator wrote.
pub fn read(object: &ControllerRevision) -> Result<Record, String> {
    let name = object.metadata.name.as_deref().unwrap_or("unnamed");
    let wrong = |what: &str| format!("ControllerRevision {name}: {what}");
    let hash = revision_of(&object.metadata).ok_or_else(|| wrong("no revision label"))?;
    let data = object.data.as_ref().ok_or_else(|| wrong("no data"))?;
    let content = serde_json::from_value(data.0.clone())
        .map_err(|error| wrong(&format!("data cannot be read: {error}")))?;
    Ok(Record {
        hash,
        number: object.revision,
        role: annotation(&object.metadata, labels::ROLE)
            .and_then(Role::parse)
            .unwrap_or(Role::Retired),
        outcome: annotation(&object.metadata, labels::OUTCOME).map(str::to_owned),
        verified: annotation(&object.metadata, labels::VERIFIED)
            .unwrap_or_default()
            .to_owned(),
        created: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0),
        content,
    })
}
