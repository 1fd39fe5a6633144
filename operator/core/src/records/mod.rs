//! What is written into the cluster to be read again: a revision's record, and what a container says
//! at its end.
//!
//! Invariant: what is written is read back equal, and whatever else stands there becomes a sentence.

pub mod golden;
mod record;
mod report;

pub use record::{Content, Record, Role, content, read};
pub use report::{ModelFacts, Report, container, failure_of, last_end, parse};
