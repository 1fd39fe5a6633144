//! Why a table is refused. The last good one stays.

use std::fmt;

use super::Generation;

/// Why a table is refused, and what to do. [`Refusal::word`] names it for metrics and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has more bytes than a ConfigMap may have.
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// It is no JSON, or a member is missing or of another type.
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
    /// A revision has a role that is not known here.
    Role {
        /// The revision.
        revision: String,
        /// The role.
        role: String,
    },
    /// Two revisions have one role or one name.
    Twice {
        /// What both have.
        what: String,
    },
    /// The weights do not sum to 10,000.
    Sum {
        /// What they sum to.
        sum: i64,
    },
    /// It is older than the one that is held.
    Stale {
        /// The generation that is held.
        held: Generation,
        /// That of the table.
        offered: Generation,
    },
    /// It differs from the one that is held, and has the same generation.
    Reused {
        /// The generation.
        generation: Generation,
    },
}

impl Refusal {
    /// Every answer of [`Refusal::word`].
    pub const WORDS: [&'static str; 9] = [
        "TooLong", "Shape", "Schema", "Value", "Role", "Twice", "Sum", "Stale", "Reused",
    ];

    /// One word for each, of a closed set.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "TooLong",
            Self::Shape { .. } => "Shape",
            Self::Schema { .. } => "Schema",
            Self::Value { .. } => "Value",
            Self::Role { .. } => "Role",
            Self::Twice { .. } => "Twice",
            Self::Sum { .. } => "Sum",
            Self::Stale { .. } => "Stale",
            Self::Reused { .. } => "Reused",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => write!(
                f,
                "the table has {bytes} bytes: at most {} are read",
                super::MAX_BYTES
            ),
            Self::Shape { detail } => {
                write!(
                    f,
                    "the table is not of schema version 1 ({detail}): write it as inference-server/traffic/schema/table.json says"
                )
            }
            Self::Schema { found } => write!(
                f,
                "the table has schema version {found}, and this router knows version {}: update the router, or let an operator of its version write the table",
                super::SCHEMA_VERSION
            ),
            Self::Value { member, want } => write!(f, "{member}: write {want}"),
            Self::Role { revision, role } => write!(
                f,
                "revision {revision:?} has the role {role:?}: write Stable, Canary or Previous, or update the router"
            ),
            Self::Twice { what } => write!(f, "there are two of {what}: keep one"),
            Self::Sum { sum } => write!(
                f,
                "the weights sum to {sum}: let them sum to 10000, in hundredths of a percent"
            ),
            Self::Stale { held, offered } => write!(
                f,
                "the table's generation {offered} is older than {held}, which is held: raise it above {held}"
            ),
            Self::Reused { generation } => write!(
                f,
                "the table differs from the one that is held, and has its generation {generation}: raise it"
            ),
        }
    }
}

impl std::error::Error for Refusal {}
