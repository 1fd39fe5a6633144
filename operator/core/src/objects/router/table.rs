//! The traffic table, as the routers read it (`inference-server/traffic` defines the document).
//!
//! Invariant: equal contents have equal bytes, so that a table is written only when something is new.

use std::collections::BTreeMap;

use crds::RewardModel;
use crds::v1alpha1::reward_model::rollout::{CutOff, Fallback};
use crds::value::{Digest, Duration};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use traffic::table::{self, Role, Table};

use super::own;
use crate::capacity::Percent;
use crate::identity::{RevisionHash, names};

/// A revision in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub revision: RevisionHash,
    /// What it is.
    pub role: Role,
    /// Its share.
    pub weight: Percent,
    /// What its files are.
    pub digest: Option<Digest>,
}

/// What a table is made of, beside what the spec says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its revisions.
    pub rows: Vec<Row>,
    /// The rollout that the routers know of.
    pub rollout: Option<String>,
    /// The revision that is cut off everywhere, and why.
    pub cut_off: Option<(RevisionHash, String)>,
    /// SHA-256 of the token of the admin port.
    pub token: Option<String>,
}

/// The table of a model at `generation`.
///
/// # Errors
/// A sentence when a router would refuse it.
pub fn table(model: &RewardModel, content: &Content, generation: u64) -> Result<Table, String> {
    let rollout = model.spec.rollout.clone().unwrap_or_default();
    let uid = model.uid().unwrap_or_default();
    let document = json!({
        "schemaVersion": table::SCHEMA_VERSION,
        "generation": generation,
        "model": {
            "namespace": model.namespace().unwrap_or_default(),
            "name": model.name_any(),
            "uid": uid,
        },
        "rollout": content.rollout,
        "salt": format!("{uid}/{}", content.rollout.as_deref().unwrap_or_default()),
        "revisions": content.rows.iter().map(|row| self::row(model, row)).collect::<Vec<_>>(),
        "key": model.spec.traffic.as_ref().and_then(|traffic| traffic.key.as_ref()),
        "fallback": fallback(&rollout.fallback),
        "cutOff": cut_off(&rollout.cut_off, content),
        "adminTokenSha256": content.token,
    });
    Table::parse(document.to_string().as_bytes()).map_err(|refusal| refusal.to_string())
}

fn row(model: &RewardModel, row: &Row) -> Value {
    json!({
        "revision": row.revision.as_str(),
        "role": row.role.as_str(),
        "weight": row.weight.get() * 100,
        "digest": row.digest.as_ref().map(ToString::to_string),
        "service": names::revision(&model.name_any(), &row.revision),
    })
}

fn fallback(written: &Fallback) -> Value {
    json!({
        "enabled": written.enabled,
        "hedgeAfterMs": milliseconds(&written.hedge_after),
        "budgetPercent": written.budget_percent,
    })
}

fn cut_off(written: &CutOff, content: &Content) -> Value {
    let confirmed = content
        .cut_off
        .as_ref()
        .map(|(revision, cause)| json!({"revision": revision.as_str(), "cause": cause}));
    json!({
        "windowMs": milliseconds(&written.window),
        "minRequests": written.min_requests,
        "errorRate": written.error_rate.to_string(),
        "nonFinite": written.non_finite,
        "constantScores": written.constant_scores,
        "slowFactor": written.slow_factor.to_string(),
        "confirmed": confirmed,
    })
}

fn milliseconds(duration: &Duration) -> Option<u64> {
    let read = duration.to_std().ok()?;
    u64::try_from(read.as_millis()).ok()
}

/// The object that holds a table.
pub fn object(model: &RewardModel, table: &Table) -> ConfigMap {
    ConfigMap {
        metadata: own(model, names::table(&model.name_any())),
        data: Some(BTreeMap::from([(table::KEY.to_owned(), table.to_json())])),
        ..ConfigMap::default()
    }
}

/// The table that an object holds, where a router would take it.
pub fn read(object: &ConfigMap) -> Option<Table> {
    let text = object.data.as_ref()?.get(table::KEY)?;
    Table::parse(text.as_bytes()).ok()
}

/// Whether two tables say the same, whatever their numbers are.
pub fn says_the_same(one: &Table, other: &Table) -> bool {
    let mut numbered = other.clone();
    numbered.generation = one.generation;
    *one == numbered
}
