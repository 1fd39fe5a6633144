//! The checked-in JSON Schemas of the documents are those of their types.
//!
//! `UPDATE_SCHEMAS=1 cargo test --release --locked -p traffic schema` writes them anew.

use std::path::Path;

use schemars::Schema;

use crate::evidence::EvidenceDocument;
use crate::evidence::experiment::ExperimentEvidenceDocument;
use crate::status::Report;
use crate::table::Document;

fn checked_in(name: &str, schema: &Schema) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == text,
        "{name} is not that of the types: set UPDATE_SCHEMAS=1 once"
    );
}

#[test]
fn the_schema_of_the_table_is_that_of_its_type() {
    checked_in("table.json", &schemars::schema_for!(Document));
}

#[test]
fn the_schema_of_the_status_is_that_of_its_type() {
    checked_in("status.json", &schemars::schema_for!(Report));
}

#[test]
fn the_schema_of_the_evidence_is_that_of_its_type() {
    checked_in("evidence.json", &schemars::schema_for!(EvidenceDocument));
}

#[test]
fn the_schema_of_an_experiments_evidence_is_that_of_its_type() {
    let schema = schemars::schema_for!(ExperimentEvidenceDocument);
    checked_in("experiment-evidence.json", &schema);
}
