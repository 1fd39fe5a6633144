//! What routers have seen of one epoch of an experiment: the document of `GET /evidence/experiment`.
//!
//! Owns the sums that the operator decides on: who was seen in which arm ([`Users`]), what was measured of
//! them by metric, arm and cell ([`MetricSums`]), what was said of users whom this router has not seen
//! ([`Unseen`]), and labelled pairs ([`Rights`]). They are cumulative for one start of one router, and never
//! contain a text or an id. It must not know a verdict, a clock, nor how it is fetched. Invariants: what is
//! of one user is merged by union, so that a user of two routers is one; memory is bounded by constants;
//! what was read is finite and adds up; snapshots are folded in any order, any number of times
//! ([`Together`]).

mod binary;
mod check;
mod document;
mod latencies;
mod record;
mod rights;
mod sums;
#[cfg(test)]
mod tests;
mod together;
mod unseen;
mod users;

#[cfg(test)]
pub(crate) use document::ExperimentEvidenceDocument;
pub use latencies::{LATENCY_EDGES, Latencies};
pub use record::{Admission, Ended, Happened, Happening, Lacking, Recorder};
pub use rights::{Rights, RightsCounts};
pub use sums::{ArmSums, Cell, Counts, Exposure, MetricSums, Missing, PairSums, Sums};
pub use together::Together;
pub use unseen::{MAX_UNSEEN, Told, Unseen};
pub use users::{MAX_USERS, Seen, Users};

use super::Refused;
use crate::table::Experiment;
use crate::table::experiment::{Arm, Metric, Mode, Name};

/// The schema version that is written and read.
pub const SCHEMA_VERSION: u32 = 1;
/// Bytes of a document that are read, in either form. One metric of one router takes less than 640 kB in the
/// binary form, whatever was measured.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Whose evidence it is, and of which metrics: that of others is never added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The uid of the experiment.
    pub uid: String,
    /// Its epoch.
    pub epoch: u64,
    /// What users were hashed with.
    pub salt: String,
    /// Who answers.
    pub mode: Mode,
    /// The arms, the control first.
    pub variants: Vec<Name>,
    /// The metrics of the document: all of the experiment's, or the one that was asked for.
    pub metrics: Vec<Metric>,
}

impl Subject {
    /// That of an experiment, with all its metrics.
    pub fn of(experiment: &Experiment) -> Self {
        let variants = experiment.variants().iter();
        Self {
            uid: experiment.uid.clone(),
            epoch: experiment.epoch,
            salt: experiment.salt.clone(),
            mode: experiment.mode,
            variants: variants.map(|variant| variant.name.clone()).collect(),
            metrics: experiment.metrics().to_vec(),
        }
    }

    /// The place of a metric.
    pub fn place(&self, metric: &str) -> Option<usize> {
        let is_it = |of: &Metric| of.name.as_str() == metric;
        self.metrics.iter().position(is_it)
    }

    /// All arms, the control first.
    pub fn arms(&self) -> impl Iterator<Item = Arm> + use<> {
        (0..self.variants.len()).filter_map(Arm::new)
    }
}

/// What one router has seen of one epoch since the epoch, or the router, began.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Another text for each start of a router: counts begin anew with it. 1 to 253 bytes.
    pub instance: String,
    /// The name of its pod. At most 253 bytes.
    pub pod: String,
    /// Of what.
    pub subject: Subject,
    /// Rises with each document of the instance: of two, the higher one has all that the other has.
    pub sequence: u64,
    /// Whether the router is about to go: no request comes to it any more.
    pub leaving: bool,
    /// Whether the epoch is over: what still comes are events of its users.
    pub closed: bool,
    /// Endpoints that take requests, by arm: whether a variant can be asked here.
    pub ready: Vec<u32>,
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

    /// The binary form: the same bytes for equal evidence.
    pub fn to_bytes(&self) -> Vec<u8> {
        binary::write(self)
    }

    /// The same of one metric alone; `None` where the experiment has none of the name.
    #[must_use]
    pub fn only(self, metric: &str) -> Option<Self> {
        let place = self.subject.place(metric)?;
        let kept = self.subject.metrics.get(place)?.clone();
        Some(Self {
            sums: self.sums.only(place, &kept),
            subject: Subject {
                metrics: vec![kept],
                ..self.subject
            },
            ..self
        })
    }
}
