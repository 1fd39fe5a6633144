//! `yaml/` is what the types generate, and small enough for `kubectl apply`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml")
}

#[test]
fn the_committed_yaml_is_what_the_types_generate() {
    for definition in crds::all() {
        let name = format!("{}.yaml", definition.metadata.name.as_deref().unwrap());
        let committed = std::fs::read_to_string(folder().join(&name)).unwrap();
        let generated = crds::document(&definition).unwrap();
        assert!(
            committed == generated,
            "{name} is stale: run `make generate`"
        );
    }
}

#[test]
fn the_folder_holds_nothing_else() {
    let files = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, crds::all().len());
}

#[test]
fn the_yaml_stays_under_200_kilobytes() {
    assert!(crds::to_yaml().unwrap().len() < 200_000);
}

/// Every schema under `schema` with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), field, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
}

/// That part of each kind, `RewardModel` first.
fn parts(name: &str) -> Vec<Value> {
    let all = crds::all().into_iter().map(|definition| {
        let definition = serde_json::to_value(&definition).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][name].clone()
    });
    all.collect()
}

#[test]
fn items_of_lists_have_no_defaults_so_that_a_live_object_stays_what_git_says() {
    for part in parts("spec") {
        walk("spec", &part, &mut |path, schema| {
            assert!(
                !path.contains("[]") || schema.get("default").is_none(),
                "{path}"
            );
        });
    }
}

#[test]
fn model_and_server_have_no_defaults_but_calibration_so_that_a_new_one_changes_no_revision() {
    walk("spec", &parts("spec")[0], &mut |path, schema| {
        let frozen = path.starts_with("spec.model") || path.starts_with("spec.server");
        let free = !frozen || path.starts_with("spec.model.calibration");
        assert!(free || schema.get("default").is_none(), "{path}");
    });
}

#[test]
fn words_of_a_newer_status_pass_this_definition() {
    for part in parts("status") {
        walk("status", &part, &mut |path, schema| {
            for check in ["enum", "pattern", "minimum", "maximum", "maxLength"] {
                assert!(schema.get(check).is_none(), "{path}: {check}");
            }
            assert!(
                path == "status" || schema.get("default").is_none(),
                "{path}"
            );
        });
    }
}

#[test]
fn what_no_operator_has_seen_is_not_taken_for_done_by_those_who_wait_for_the_observed_generation() {
    for status in parts("status") {
        assert_eq!(
            status["default"],
            serde_json::json!({"observedGeneration": -1})
        );
    }
}
