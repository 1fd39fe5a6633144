//! The traffic table, as the routers read it (`inference-server/traffic` defines the document).
//!
//! Invariant: equal contents have equal bytes, so that a table is written only when something is new.

use std::collections::BTreeMap;

use crds::RewardModel;
use crds::v1alpha1::reward_model::model::Calibration;
use crds::v1alpha1::reward_model::rollout::{CutOff, Fallback};
use crds::value::{Digest, Duration};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};
use traffic::table::{self, Role, Table, UserKey};

use super::own;
use crate::capacity::Percent;
use crate::gates::{Collection, PER_ROLLOUT};
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
    /// How its scores become confidences.
    pub calibration: Option<Calibration>,
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
    /// What the routers are to collect for the gates.
    pub collection: Option<Collection>,
    /// The experiment that splits the traffic of the stable revision.
    pub experiment: Option<Value>,
    /// Where a request's user key is.
    pub key: Keyed,
}

/// Where a request's user key is; the prompt is the key where it is nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keyed {
    /// Where the spec says.
    #[default]
    AsWritten,
    /// Where the table that holds says: it may not change now.
    AsGiven(Option<UserKey>),
}

/// The table of a model at `generation`.
///
/// # Errors
/// A sentence when a router would refuse it.
pub fn table(model: &RewardModel, content: &Content, generation: u64) -> Result<Table, String> {
    let rollout = model.spec.rollout.clone().unwrap_or_default();
    let document = json!({
        "schemaVersion": table::SCHEMA_VERSION,
        "model": {
            "namespace": model.namespace().unwrap_or_default(),
            "name": model.name_any(),
            "uid": model.uid().unwrap_or_default(),
        },
        "key": model.spec.traffic.as_ref().and_then(|traffic| traffic.key.as_ref()),
        "fallback": fallback(&rollout.fallback),
        "cutOff": cut_off(&rollout.cut_off, routers(model)),
        "adminTokenSha256": content.token,
    });
    let mut table = shared_out(document, model, content, generation)?;
    if let Keyed::AsGiven(key) = &content.key {
        table.key.clone_from(key);
    }
    Ok(table)
}

/// Whether routers would take what the spec says of them.
///
/// # Errors
/// Why they would not.
pub fn check(model: &RewardModel) -> Result<(), String> {
    let anyone = RevisionHash::parse("0000000000").map(|revision| Row {
        revision,
        role: Role::Stable,
        weight: Percent::ALL,
        digest: None,
        calibration: model.spec.model.calibration.clone(),
    });
    let content = Content {
        rows: anyone.into_iter().collect(),
        ..Content::default()
    };
    table(model, &content, 1).map(|_| ())
}

/// The table `given` with other revisions and shares: whoever harms is taken back whatever the spec says by
/// now.
///
/// # Errors
/// A sentence when a router would refuse it.
pub fn with_shares(
    model: &RewardModel,
    given: &Table,
    content: &Content,
    generation: u64,
) -> Result<Table, String> {
    let document = serde_json::from_str(&given.to_json()).map_err(|error| error.to_string())?;
    shared_out(document, model, content, generation)
}

/// The table of a `document` that says all but who has what.
fn shared_out(
    mut document: Value,
    model: &RewardModel,
    content: &Content,
    generation: u64,
) -> Result<Table, String> {
    let rows = content.rows.iter().map(|row| self::row(model, row));
    let salt = format!(
        "{}/{}",
        model.uid().unwrap_or_default(),
        content.rollout.as_deref().unwrap_or_default()
    );
    let members = [
        ("generation", json!(generation)),
        ("revisions", rows.collect()),
        ("rollout", json!(content.rollout)),
        ("salt", json!(salt)),
        (
            "shadow",
            json!(content.collection.as_ref().and_then(shadow)),
        ),
        (
            "evidence",
            json!(content.collection.as_ref().and_then(recorded)),
        ),
        ("experiment", json!(content.experiment)),
    ];
    if let Some(all) = document.as_object_mut() {
        all.extend(members.map(|(key, value)| (key.to_owned(), value)));
    }
    let confirmed = content.cut_off.as_ref();
    let confirmed =
        confirmed.map(|(revision, cause)| json!({"revision": revision.as_str(), "cause": cause}));
    if let Some(rules) = document.get_mut("cutOff").and_then(Value::as_object_mut) {
        rules.insert("confirmed".to_owned(), json!(confirmed));
    }
    Table::parse(document.to_string().as_bytes()).map_err(|refusal| refusal.to_string())
}

fn shadow(collection: &Collection) -> Option<Value> {
    let shadow = collection.shadow?;
    Some(json!({"percent": shadow.percent.get()}))
}

fn recorded(collection: &Collection) -> Option<Value> {
    let slow = collection.slower_than.iter();
    let slow: Vec<u64> = slow
        .filter_map(|time| u64::try_from(time.as_millis()).ok())
        .collect();
    (!slow.is_empty()).then(|| json!({"slowerThanMs": slow}))
}

fn row(model: &RewardModel, row: &Row) -> Value {
    json!({
        "revision": row.revision.as_str(),
        "role": row.role.as_str(),
        "weight": row.weight.get() * 100,
        "digest": row.digest.as_ref().map(ToString::to_string),
        "calibration": row.calibration,
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

/// The routers that a model is to have.
fn routers(model: &RewardModel) -> i32 {
    let traffic = model.spec.traffic.as_ref();
    let router = traffic.and_then(|traffic| traffic.router.as_ref());
    router.map_or(2, |router| router.replicas).max(1)
}

/// The level of the cut-off is half of a rollout's, and each router and the sum of all may decide it alone.
fn cut_off(written: &CutOff, routers: i32) -> Value {
    let alpha = PER_ROLLOUT / 2.0 / (f64::from(routers) + 1.0);
    json!({
        "alpha": format!("{alpha:.6}"),
        "windowMs": milliseconds(&written.window),
        "minRequests": written.min_requests,
        "errorRate": written.error_rate.to_string(),
        "nonFinite": written.non_finite,
        "constantScores": written.constant_scores,
        "slowFactor": written.slow_factor.to_string(),
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
