//! Why evidence is not read, or not added.

use std::fmt;

use super::{MAX_BYTES, SCHEMA_VERSION, Subject};

/// Why evidence is refused. [`Refused::word`] names it for metrics and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has too many bytes.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// It is no evidence: broken off, or of other members.
    Shape {
        /// What the parser says.
        detail: String,
    },
    /// It has a schema that is not known here.
    Schema {
        /// Its version.
        found: u32,
    },
    /// A value is none that its member takes.
    Value {
        /// The member.
        member: String,
        /// What it may be.
        want: &'static str,
    },
    /// It is of another rollout, or of other revisions.
    AnotherRollout {
        /// Of which.
        found: Box<Subject>,
    },
    /// It is of another experiment or epoch, or of other variants or metrics.
    AnotherExperiment {
        /// The uid of its experiment.
        uid: String,
        /// Its epoch.
        epoch: u64,
    },
}

impl Refused {
    /// Every answer of [`Refused::word`].
    pub const WORDS: [&'static str; 6] = [
        "TooLong",
        "Shape",
        "Schema",
        "Value",
        "AnotherRollout",
        "AnotherExperiment",
    ];

    /// One word for each, of a closed set.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "TooLong",
            Self::Shape { .. } => "Shape",
            Self::Schema { .. } => "Schema",
            Self::Value { .. } => "Value",
            Self::AnotherRollout { .. } => "AnotherRollout",
            Self::AnotherExperiment { .. } => "AnotherExperiment",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(
                    f,
                    "the evidence has {bytes} bytes: at most {MAX_BYTES} are read"
                )
            }
            Self::Shape { detail } => write!(
                f,
                "it is no router's evidence ({detail}): ask the admin port of `inference-server route` of this version"
            ),
            Self::Schema { found } => write!(
                f,
                "the evidence has schema version {found}, and version {SCHEMA_VERSION} is known: run the operator and the routers in one version"
            ),
            Self::Value { member, want } => {
                write!(f, "the evidence's {member} is not {want}: it is not added")
            }
            Self::AnotherRollout { found } => write!(
                f,
                "the evidence is of the rollout {} from {} to {}: it is not added to that of another",
                found.rollout.as_deref().unwrap_or("without an id"),
                found.stable,
                found.canary
            ),
            Self::AnotherExperiment { uid, epoch } => write!(
                f,
                "the evidence is of epoch {epoch} of experiment {uid}, or of other variants or metrics: it is not added to that of another"
            ),
        }
    }
}

impl std::error::Error for Refused {}
