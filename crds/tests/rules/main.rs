//! The rules of the schemas that are shipped, asked as an API server asks them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod experiment;
mod model;
mod samples;

use kube::CustomResourceExt;
use serde_json::Value;

/// Why the schema of a kind refuses an object; nothing where it takes it. `old` is what the object was
/// before an update.
fn refusals(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut all = crds::all().into_iter();
    let definition = all.find(|definition| definition.spec.names.kind == kind);
    let version = definition.unwrap().spec.versions.remove(0);
    let schema = version.schema.unwrap().open_api_v3_schema;
    let schema = serde_json::to_value(schema).unwrap();
    match kube_cel::Validator::new().validate(&schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => vec![errors.to_string()],
    }
}

/// It is refused, and the message says what to do.
fn assert_refused(rule: &str, message: &str, refusals: &[String]) {
    let refusals = refusals.join("\n");
    assert!(refusals.contains(message), "{rule}: {refusals:?}");
}

fn assert_accepted(rule: &str, refusals: &[String]) {
    assert!(refusals.is_empty(), "{rule}: {refusals:?}");
}

/// Each `x-kubernetes-validations` rule of a kind has a case.
fn assert_cases<K: CustomResourceExt>(cases: usize) {
    let schema = serde_json::to_string(&K::crd()).unwrap();
    let rules = schema.matches("\"rule\":").count();
    assert_eq!(
        rules, cases,
        "give each x-kubernetes-validations rule a case"
    );
}
