//! What ships beside the definitions (manifests, samples, dashboards, pages for people) agrees with them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod compose;
mod conditions;
mod dashboards;
mod manifests;
mod rights;
mod samples;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn read(path: &str) -> String {
    let whole = repository().join(path);
    assert!(whole.exists(), "{path} is not there");
    std::fs::read_to_string(whole).unwrap()
}

/// The documents of a YAML file, or of a text that is one.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// All files below a folder that end so.
fn files(folder: &str, end: &str) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![repository().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let relative = path.strip_prefix(repository()).unwrap();
                found.push(relative.display().to_string());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no {end}");
    found
}

/// A list of strings in a document; empty where there is none.
fn words(value: &Value) -> Vec<&str> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}
