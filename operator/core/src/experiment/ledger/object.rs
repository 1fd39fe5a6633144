//! A ledger as one ConfigMap, so that an operator that starts goes on where the last one was.
//!
//! Owns the form alone. Invariants: it stays below 1 MiB whatever the routers told: those that are gone come
//! first, because nobody can ask them again, and of the others what has no room is left out; what is kept is
//! read back as it was.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use stats::Scale;
use traffic::evidence::experiment::{Evidence, Subject};

use super::super::kept::metadata;
use super::{Ledger, Track};

/// Bytes of documents that one object keeps; an API server takes 1 MiB.
pub const KEPT_BYTES: usize = 900_000;
/// Instances that are gone and remembered.
const MOST_RETIRED: usize = 1_000;
const HEAD: &str = "ledger.json";
pub(super) const GONE: &str = "gone";
const ROUTER: &str = "router-";

/// What else is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    retired: BTreeMap<String, u64>,
    lost: u64,
    tracks: BTreeMap<String, Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    tau: Option<f64>,
    harm: f64,
    beyond: u32,
}

/// Why an object is no ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Ledger {
    /// The name of the object that keeps the evidence of a metric.
    pub fn name(experiment: &str, metric: &str) -> String {
        format!("{experiment}-evidence-{metric}")
    }

    /// The object that keeps it.
    pub fn object(&self, experiment: &crds::ABExperiment, metric: &str) -> ConfigMap {
        let tracks = self.tracks.iter().map(|(name, track)| {
            let kept = Kept {
                tau: track.tau.map(Scale::get),
                // No sum of evidence that JSON could not write.
                harm: track.harm.clamp(0.0, f64::MAX),
                beyond: track.beyond,
            };
            (name.clone(), kept)
        });
        let retired = self.retired.iter().take(MOST_RETIRED);
        let head = Head {
            retired: retired.map(|(name, last)| (name.clone(), *last)).collect(),
            lost: self.lost,
            tracks: tracks.collect(),
        };
        let gone = Evidence {
            instance: GONE.to_owned(),
            pod: String::new(),
            subject: self.subject().clone(),
            sequence: 1,
            leaving: true,
            closed: false,
            ready: vec![0; self.subject().variants.len()],
            sums: self.gone.clone(),
        };
        let live = self.live.snapshots().enumerate();
        let live = live.map(|(index, kept)| (format!("{ROUTER}{index}"), kept.to_bytes()));
        let mut left = KEPT_BYTES;
        let mut kept = BTreeMap::new();
        for (key, bytes) in std::iter::once((GONE.to_owned(), gone.to_bytes())).chain(live) {
            if let Some(rest) = left.checked_sub(bytes.len()) {
                left = rest;
                kept.insert(key, ByteString(bytes));
            }
        }
        let name = Self::name(&experiment.name_any(), metric);
        ConfigMap {
            metadata: metadata(experiment, name),
            data: serde_json::to_string(&head)
                .ok()
                .map(|text| BTreeMap::from([(HEAD.to_owned(), text)])),
            binary_data: Some(kept),
            ..ConfigMap::default()
        }
    }

    /// What an object has kept of `subject`; `None` where it is of another epoch.
    ///
    /// # Errors
    /// Where it is not one that was made by [`Self::object`].
    pub fn read(object: &ConfigMap, subject: &Subject) -> Result<Option<Self>, Unreadable> {
        let wrong = |what: String| Unreadable(format!("{}: {what}", object.name_any()));
        let head = object.data.as_ref().and_then(|data| data.get(HEAD));
        let head = head.ok_or_else(|| wrong(format!("there is no {HEAD}")))?;
        let head: Head =
            serde_json::from_str(head).map_err(|error| wrong(format!("{HEAD}: {error}")))?;
        let mut ledger = Self::new(subject.clone());
        for (key, bytes) in object.binary_data.iter().flatten() {
            let document = Evidence::from_bytes(&bytes.0)
                .map_err(|refused| wrong(format!("{key}: {refused}")))?;
            if document.subject != *subject {
                return Ok(None);
            }
            if key == GONE {
                ledger.gone = document.sums;
            } else if !ledger.take(document) {
                return Err(wrong(format!("{key} is there twice")));
            }
        }
        ledger.retired = head.retired;
        ledger.lost = head.lost;
        let tracks = head.tracks.into_iter().map(|(name, kept)| {
            let track = Track {
                tau: kept.tau.and_then(Scale::new),
                harm: kept.harm,
                beyond: kept.beyond,
            };
            (name, track)
        });
        ledger.tracks = tracks.collect();
        Ok(Some(ledger))
    }
}
