//! What a router says of itself: the document of `GET /status`.
//!
//! Owns the document, and how several of them are read together: who has acknowledged a table, what
//! share each revision has, what was counted. It must not know how it is fetched. Invariants: nothing in
//! it is a time of day or of a clock, only ages; members that are not known are ignored, so an operator
//! reads the reports of a newer router.

mod together;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use together::{
    Acknowledged, acknowledged, counted, highest_generation, is_released, lowest_schema, observed,
};

use crate::cutoff::Counters;
use crate::cutoff::Subject;
use crate::{Revision, Weight};

/// Bytes of a report that are read: sets of a rollout's users are the most of it.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The state of one router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Router status", rename = "RouterStatus"))]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The highest schema version of a table that it reads.
    pub schema_version: u32,
    /// The name of its pod.
    pub pod: String,
    /// Another text for each start: counts begin anew with it.
    pub instance: String,
    /// Rises with each change: `GET /status?since=N` waits for a higher one.
    pub sequence: u64,
    /// Whether it knows its table, and the endpoints of all revisions in it.
    pub synced: bool,
    /// The table that it acts upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Applied>,
    /// The table that it refused last, until it accepts one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The revisions of its table.
    #[serde(default)]
    pub revisions: Vec<RevisionReport>,
    /// What was counted of the rollout in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// The cut-off that it decided by itself, while it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOffReport>,
}

/// A table that is acted upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The uid of its model.
    pub model_uid: String,
    /// Its number.
    pub generation: u64,
}

/// A table that is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// One word for why ([`crate::table::Refusal::word`]).
    pub reason: String,
    /// A sentence that says what to do.
    pub message: String,
}

/// One revision, as the router sees it. Counts are of the requests since it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RevisionReport {
    /// Its name.
    pub revision: Revision,
    /// Endpoints that are known.
    pub endpoints: u32,
    /// Those that take requests.
    pub ready: u32,
    /// The weight that is acted upon.
    pub effective_weight: Weight,
    /// Requests whose key's slot is the revision's.
    #[serde(default)]
    pub assigned: u64,
    /// Requests that it answered, those that another one did not answer included.
    #[serde(default)]
    pub answered: u64,
    /// Requests that it did not answer.
    #[serde(default)]
    pub failures: Failures,
    /// Requests of its keys that stable answered in its place.
    #[serde(default)]
    pub fallbacks: u64,
}

/// Requests that were not answered, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Failures {
    /// Answered with a failure.
    pub failed: u64,
    /// Not answered within the deadline.
    pub late: u64,
    /// Refused for want of room.
    pub refused: u64,
    /// Nobody to connect to.
    pub unreachable: u64,
    /// Answered with a score that is no number.
    pub non_finite: u64,
    /// Answered by what is not the revision that was meant.
    pub misdelivered: u64,
}

/// Counts of one rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// Of which.
    pub subject: Subject,
    /// What was counted.
    #[cfg_attr(test, schemars(with = "crate::cutoff::CountersDocument"))]
    pub counters: Counters,
}

/// A cut-off that one router decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CutOffReport {
    /// The canary.
    pub revision: Revision,
    /// One word for why ([`crate::cutoff::Cause::word`]).
    pub cause: String,
    /// A sentence with what was counted.
    pub message: String,
    /// How long ago, in milliseconds.
    pub age_ms: u64,
}

/// Why a report is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReport {
    /// It has too many bytes.
    TooLong,
    /// It is no report.
    Shape {
        /// What the parser says.
        detail: String,
    },
}

impl fmt::Display for BadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the report has more than {MAX_BYTES} bytes"),
            Self::Shape { detail } => write!(
                f,
                "it is no router's report ({detail}): ask the admin port of `inference-server route`"
            ),
        }
    }
}

impl std::error::Error for BadReport {}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadReport> {
        if bytes.len() > MAX_BYTES {
            return Err(BadReport::TooLong);
        }
        serde_json::from_slice(bytes).map_err(|error| BadReport::Shape {
            detail: error.to_string(),
        })
    }

    /// The document.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that JSON could not write.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cutoff::{Arm, Outcome, Recorder, Start};
    use crate::{Millis, Weight};

    /// A report with everything in it.
    pub(crate) fn full(pod: &str) -> Report {
        let revision = |name: &str| Revision::parse(name).unwrap();
        let mut recorder = Recorder::new(std::time::Duration::from_secs(5));
        for (user, arm) in [(1, Arm::Canary), (2, Arm::Stable)] {
            let start = Start {
                arm,
                user,
                weight: Weight::new(2_500),
                limit: None,
            };
            let ticket = recorder.begin(start, Millis(0));
            recorder.scored(&ticket, user, 9);
            recorder.end(ticket, Outcome::NonFinite(1), Millis(1));
        }
        Report {
            schema_version: 1,
            pod: pod.to_owned(),
            instance: "9f1".to_owned(),
            sequence: 12,
            synced: true,
            table: Some(Applied {
                model_uid: "6f1c1d3e".to_owned(),
                generation: 7,
            }),
            refused: Some(Refused {
                reason: "Sum".to_owned(),
                message: "the weights sum to 9000".to_owned(),
            }),
            revisions: vec![RevisionReport {
                revision: revision("bbbbbbbbbb"),
                endpoints: 2,
                ready: 1,
                effective_weight: Weight::new(2_500).unwrap(),
                assigned: 10,
                answered: 8,
                failures: Failures {
                    failed: 2,
                    ..Failures::default()
                },
                fallbacks: 2,
            }],
            counted: Some(Counted {
                subject: Subject {
                    rollout: Some("3".to_owned()),
                    canary: revision("bbbbbbbbbb"),
                },
                counters: recorder.counters(Millis(2)),
            }),
            cut_off: Some(CutOffReport {
                revision: revision("bbbbbbbbbb"),
                cause: "NonFinite".to_owned(),
                message: "1 scores were no numbers".to_owned(),
                age_ms: 40,
            }),
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = full("router-a");
        assert_eq!(Report::parse(report.to_json().as_bytes()), Ok(report));
    }

    #[test]
    fn what_is_no_report_is_refused_with_what_to_ask() {
        let torn = full("a").to_json();
        for bytes in ["", "{}", "[]", "<html>", &torn[..200]] {
            let error = Report::parse(bytes.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("admin port"), "{error}");
        }
        assert_eq!(
            Report::parse(&vec![b' '; MAX_BYTES + 1]),
            Err(BadReport::TooLong)
        );
    }

    #[test]
    fn the_report_of_a_newer_router_is_read() {
        let mut document: serde_json::Value = serde_json::from_str(&full("a").to_json()).unwrap();
        document["weather"] = "fine".into();
        document["cutOff"]["cause"] = "Boredom".into();
        document["counted"]["counters"]["total"]["canary"]["bored"] = 3.into();
        let report = Report::parse(document.to_string().as_bytes()).unwrap();
        assert_eq!(report.cut_off.unwrap().cause, "Boredom");
    }

    #[test]
    fn a_full_report_is_far_below_what_is_read() {
        let mut recorder = Recorder::new(std::time::Duration::from_secs(5));
        for user in 0..10_000_u64 {
            let start = Start {
                arm: if user % 2 == 0 {
                    Arm::Canary
                } else {
                    Arm::Stable
                },
                user,
                weight: Weight::new(5_000),
                limit: Some(std::time::Duration::ZERO),
            };
            let ticket = recorder.begin(start, Millis(0));
            recorder.end(ticket, Outcome::Failed, Millis(9));
        }
        let mut report = full("a");
        report.counted.as_mut().unwrap().counters = recorder.counters(Millis(9));
        assert!(report.to_json().len() < 64 * 1024);
    }
}
