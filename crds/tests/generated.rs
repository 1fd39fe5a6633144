//! `yaml/` is what the types generate, and small enough for `kubectl apply`.

use std::path::{Path, PathBuf};

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
