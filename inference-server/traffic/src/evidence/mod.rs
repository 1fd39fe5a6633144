//! What routers have seen of one rollout: the document of `GET /evidence`.
//!
//! Owns the sums that verdicts are made of: by arm and cell ([`Sums::arms`]), of pairs of scores of one
//! text ([`Shadow`]), and of labelled preferences ([`Preferences`]). They are cumulative for one start of
//! one router, and never contain a text, a score or a user. It must not know a verdict, a clock, nor how
//! it is fetched. Invariants: a user is in exactly one cell, so cells are independent clusters
//! (stats.md section 0); memory is bounded by constants; what was read is finite and adds up; snapshots
//! are folded in any order, any number of times ([`Together`]).

mod binary;
mod by_cell;
mod bytes;
mod check;
mod document;
pub mod experiment;
mod preferences;
mod record;
mod refused;
mod shadow;
mod sums;
#[cfg(test)]
mod tests;
mod together;

use serde::{Deserialize, Serialize};

pub use crate::assignment::CELLS;
pub use by_cell::{ByCell, Sum};
#[cfg(test)]
pub(crate) use document::EvidenceDocument;
pub use preferences::{Admission, Counts, MAX_UNITS, Preferences, Unit, Verdict};
pub use record::{Drop, Ended, Recorder};
pub use refused::Refused;
pub use shadow::{Dropped, Pair, PairCell, Shadow};
pub use sums::{ArmCell, ArmSums, SlowCell, Sums};
pub use together::Together;

use crate::Revision;

/// The schema version that is written and read.
pub const SCHEMA_VERSION: u32 = 1;
/// Bytes of a document that are read, in either form.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Thresholds of slowness that one router counts by.
pub const MAX_THRESHOLDS: usize = 4;

/// Whose evidence it is: that of others is never added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidenceSubject"))]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The rollout's id; absent where a table names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// The revision that serves.
    pub stable: Revision,
    /// The one that is being tried.
    pub canary: Revision,
}

/// What one router has seen of one rollout since the rollout, or the router, began.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Another text for each start of a router: counts begin anew with it. 1 to 253 bytes.
    pub instance: String,
    /// The name of its pod. At most 253 bytes.
    pub pod: String,
    /// Of which rollout.
    pub subject: Subject,
    /// Rises with each document of the instance: of two, the higher one has all that the other has.
    pub sequence: u64,
    /// Whether the router is about to go: no request comes to it any more.
    pub leaving: bool,
    /// What it counted.
    pub sums: Sums,
}

impl Evidence {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        document::parse(bytes)
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        binary::read(bytes)
    }

    /// The binary form: the same bytes for equal evidence. One that is full has less than 150 kB.
    pub fn to_bytes(&self) -> Vec<u8> {
        binary::write(self)
    }
}
