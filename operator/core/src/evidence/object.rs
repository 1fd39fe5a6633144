//! The ledger as the ConfigMap `NAME-evidence`, so that an operator that starts goes on where the last one was.
//!
//! Owns the form alone. Invariants: it stays below 1 MiB whatever the routers told, because what does not fit
//! is left out, and is asked of the routers again; what is kept is read back as it was.

use std::collections::BTreeMap;

use crds::{RewardModel, labels};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use traffic::evidence::{Evidence, Subject, Sums};

use super::{Ledger, Over};
use crate::capacity::Percent;
use crate::identity::names;
use crate::objects::metadata;

/// Bytes of documents that one object keeps; an API server takes 1 MiB.
pub const KEPT_BYTES: usize = 900_000;
const HEAD: &str = "ledger.json";
const ROUTER: &str = "router-";
const OVER: &str = "until-";

/// What else is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    subject: Subject,
    share: i32,
    /// The shares that are over.
    shares: Vec<i32>,
}

/// Why an object is no ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Ledger {
    /// The object that keeps it.
    pub fn object(&self, model: &RewardModel) -> ConfigMap {
        let shares = self.over.iter().map(|over| over.share.get()).collect();
        let head = Head {
            subject: self.subject().clone(),
            share: self.share.get(),
            shares,
        };
        let over = self.over.iter().enumerate().map(|(index, over)| {
            let kept = Evidence {
                instance: format!("{OVER}{index}"),
                pod: String::new(),
                subject: self.subject().clone(),
                sequence: 1,
                leaving: false,
                sums: Sums {
                    arms: over.until.clone(),
                    ..Sums::default()
                },
            };
            (format!("{OVER}{index}"), kept.to_bytes())
        });
        let routers = self.together.snapshots().enumerate();
        let routers = routers.map(|(index, kept)| (format!("{ROUTER}{index}"), kept.to_bytes()));
        let mut left = KEPT_BYTES;
        let mut kept = BTreeMap::new();
        for (key, bytes) in over.chain(routers) {
            if let Some(rest) = left.checked_sub(bytes.len()) {
                left = rest;
                kept.insert(key, ByteString(bytes));
            }
        }
        let name = names::evidence(&model.name_any());
        let mut metadata = metadata(model, name, labels::component::ROUTER, None);
        let progress = (labels::KEPT.to_owned(), self.progress());
        metadata.annotations = Some(BTreeMap::from([progress]));
        ConfigMap {
            metadata,
            // Texts and numbers: there is nothing that JSON could not write.
            data: serde_json::to_string(&head)
                .ok()
                .map(|text| BTreeMap::from([(HEAD.to_owned(), text)])),
            binary_data: Some(kept).filter(|kept| !kept.is_empty()),
            ..ConfigMap::default()
        }
    }

    /// What an object has kept.
    ///
    /// # Errors
    /// Where it is not one that was made by [`Self::object`].
    pub fn read(object: &ConfigMap) -> Result<Self, Unreadable> {
        let wrong = |what: String| Unreadable(format!("{}: {what}", object.name_any()));
        let head = object.data.as_ref().and_then(|data| data.get(HEAD));
        let head = head.ok_or_else(|| wrong(format!("there is no {HEAD}")))?;
        let head: Head =
            serde_json::from_str(head).map_err(|error| wrong(format!("{HEAD}: {error}")))?;
        let mut ledger = Self::new(head.subject);
        let mut ends = BTreeMap::new();
        for (key, bytes) in object.binary_data.iter().flatten() {
            let document = Evidence::from_bytes(&bytes.0)
                .map_err(|refused| wrong(format!("{key}: {refused}")))?;
            if let Some(index) = key.strip_prefix(OVER) {
                ends.insert(index.to_owned(), document.sums.arms);
            } else if !ledger.take(document) {
                return Err(wrong(format!(
                    "{key} is of another rollout, or there twice"
                )));
            }
        }
        for (index, share) in head.shares.iter().enumerate() {
            // One that had no room: its share counts with the next one.
            if let Some(until) = ends.remove(&index.to_string()) {
                let share = Percent::clamped(*share);
                ledger.over.push(Over { share, until });
            }
        }
        ledger.share = Percent::clamped(head.share);
        Ok(ledger)
    }
}
