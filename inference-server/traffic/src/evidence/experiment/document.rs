//! Evidence of an experiment as JSON.
//!
//! Owns the shape alone. Cells and sets are lists of numbers, and cells with nothing in them are left out.
//! Members that are not known are ignored: a newer router has written them.

mod convert;

use serde::{Deserialize, Serialize};

use super::super::Refused;
use super::super::check::require;
use super::{Evidence, MAX_BYTES, SCHEMA_VERSION, Subject};
use crate::table::experiment::{
    MOST_METRICS, MOST_VARIANTS, MetricDocument, Mode, read_metric, read_name, write_metric,
};

/// What is read first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    schema_version: u32,
}

/// What one router has seen of one epoch of an experiment since the epoch, or the router, began.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(
    test,
    schemars(title = "Evidence of an experiment", rename = "ExperimentEvidence")
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExperimentEvidenceDocument {
    /// The version of this schema: 1.
    #[cfg_attr(test, schemars(range(min = 1, max = 1)))]
    schema_version: u32,
    /// Another text for each start of a router.
    #[cfg_attr(test, schemars(length(min = 1, max = 253)))]
    instance: String,
    /// The name of its pod.
    pod: String,
    subject: SubjectDocument,
    /// Rises with each document of the instance.
    sequence: u64,
    /// Whether the router is about to go.
    #[serde(default)]
    leaving: bool,
    /// Whether the epoch is over.
    #[serde(default)]
    closed: bool,
    /// Endpoints that take requests, by variant.
    ready: Vec<u32>,
    /// By variant.
    arms: Vec<ArmDocument>,
    /// By metric, and then by variant.
    metrics: Vec<Vec<MetricSumsDocument>>,
    /// The first 32 bits of what a user's cell is made of, one bit for each variant that the user was seen
    /// in, one bit for each metric that the user had an event of.
    users: Vec<(u32, u8, u8)>,
    /// The same of users whom this router has not seen, the place of the metric, events, the sum of their
    /// values, whether one was above 0.
    unseen: Vec<(u32, u8, u64, f64, bool)>,
    rights: RightsDocument,
    counts: CountsDocument,
}

/// Of what it is.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentSubject"))]
#[serde(rename_all = "camelCase")]
pub(super) struct SubjectDocument {
    /// The uid of the experiment.
    uid: String,
    epoch: u64,
    salt: String,
    /// Split or Paired.
    #[cfg_attr(test, schemars(regex(pattern = "^(Split|Paired)$")))]
    mode: String,
    /// The control first.
    variants: Vec<String>,
    metrics: Vec<MetricDocument>,
}

impl SubjectDocument {
    fn of(subject: &Subject) -> Self {
        Self {
            uid: subject.uid.clone(),
            epoch: subject.epoch,
            salt: subject.salt.clone(),
            mode: match subject.mode {
                Mode::Split => "Split",
                Mode::Paired => "Paired",
            }
            .to_owned(),
            variants: subject.variants.iter().map(ToString::to_string).collect(),
            metrics: subject.metrics.iter().map(write_metric).collect(),
        }
    }

    /// As the binary form has it.
    pub(super) fn text(subject: &Subject) -> String {
        // Strings and numbers: there is nothing that JSON could not write.
        serde_json::to_string(&Self::of(subject)).unwrap_or_default()
    }

    /// The subject of a text that is the only one for it.
    pub(super) fn read(text: &str) -> Result<Subject, Refused> {
        let document: Self = serde_json::from_str(text).map_err(shape)?;
        let subject = document.subject()?;
        require(
            Self::text(&subject) == text,
            "subject",
            "as it is written here",
        )?;
        Ok(subject)
    }

    fn subject(self) -> Result<Subject, Refused> {
        let mode = match self.mode.as_str() {
            "Split" => Mode::Split,
            "Paired" => Mode::Paired,
            _ => {
                return Err(Refused::Value {
                    member: "subject.mode".to_owned(),
                    want: "Split or Paired",
                });
            }
        };
        let (variants, metrics) = (self.variants.len(), self.metrics.len());
        require(
            (1..=MOST_VARIANTS).contains(&variants) && metrics <= MOST_METRICS,
            "subject",
            "one to four variants and at most eight metrics",
        )?;
        let wrong = |refusal: crate::table::Refusal| Refused::Shape {
            detail: refusal.to_string(),
        };
        let names: Result<Vec<_>, _> = self
            .variants
            .iter()
            .map(|name| read_name(name, "subject.variants"))
            .collect();
        let metrics: Result<Vec<_>, _> = self.metrics.into_iter().map(read_metric).collect();
        Ok(Subject {
            uid: self.uid,
            epoch: self.epoch,
            salt: self.salt,
            mode,
            variants: names.map_err(wrong)?,
            metrics: metrics.map_err(wrong)?,
        })
    }
}

/// What is summed of a variant, whatever is measured.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentArm"))]
#[serde(rename_all = "camelCase")]
struct ArmDocument {
    /// Cell, requests, errors.
    cells: Vec<(u16, u64, u64)>,
    /// Requests that stable answered in its place.
    fallbacks: u64,
    /// Requests that it was to score after the control had (Paired).
    eligible: u64,
    /// Those that it scored.
    paired: u64,
    /// Those that it did not: no room, failed, late.
    missing: [u64; 3],
}

/// What is summed of a metric and a variant.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentMetricSums"))]
#[serde(rename_all = "camelCase")]
struct MetricSumsDocument {
    /// Cell, values, their sum.
    cells: Vec<(u16, u64, f64)>,
    /// The sum of their squares; 0 of events.
    squares: f64,
    /// Requests by latency: up to 0.5 ms, then by edges with the ratio 2^(1/16), above 65 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latencies: Option<Vec<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pairs: Option<PairsDocument>,
}

/// Scores of texts that the control and a variant scored.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentPairs"))]
#[serde(rename_all = "camelCase")]
struct PairsDocument {
    /// Cell, texts, the sum of the variant's score less the control's.
    cells: Vec<(u16, u64, f64)>,
    /// Texts with a difference.
    differ: u64,
    /// Texts in the sums.
    pairs: u64,
    /// Sums of a, b, a squared, b squared and a times b: a is the control's score, b the variant's.
    sums: [f64; 5],
}

/// Labelled pairs that all variants scored.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentRights"))]
#[serde(rename_all = "camelCase")]
struct RightsDocument {
    /// The first 32 bits of a unit's hash, one bit for each variant that was right.
    units: Vec<(u32, u8)>,
    repeated: u64,
    beyond: u64,
    failed: u64,
    missing: [u64; MOST_VARIANTS],
}

/// What is counted beside.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "ExperimentCounts"))]
#[serde(rename_all = "camelCase")]
struct CountsDocument {
    missing_key: u64,
    refused_key: u64,
    overridden: u64,
    beyond: u64,
    in_another: u64,
    events: u64,
    late_events: u64,
    events_after: u64,
    unknown_users: u64,
    unknown_events: u64,
    repeated_events: u64,
}

fn shape(error: serde_json::Error) -> Refused {
    Refused::Shape {
        detail: error.to_string(),
    }
}

pub(super) fn to_json(evidence: &Evidence) -> String {
    // Strings, finite numbers and lists of them: there is nothing that JSON could not write.
    serde_json::to_string(&convert::written(evidence)).unwrap_or_default()
}

pub(super) fn parse(bytes: &[u8]) -> Result<Evidence, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(Refused::TooLong { bytes: bytes.len() });
    }
    let schema: Schema = serde_json::from_slice(bytes).map_err(shape)?;
    if schema.schema_version != SCHEMA_VERSION {
        return Err(Refused::Schema {
            found: schema.schema_version,
        });
    }
    convert::read(serde_json::from_slice(bytes).map_err(shape)?)
}
