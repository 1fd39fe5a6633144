//! The samples in `manifests/samples` are what the resource accepts.

use std::path::Path;

use crds::{ABExperiment, RewardModel};

#[test]
fn every_sample_parses_passes_the_rules_and_is_written_back_equal() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let written: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        if written.get("kind").and_then(serde_json::Value::as_str) == Some("ABExperiment") {
            let experiment: ABExperiment = serde_json::from_value(written.clone())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let back = serde_json::to_value(&experiment).unwrap();
            let refusals = crate::refusals("ABExperiment", &back, None);
            assert!(refusals.is_empty(), "{}: {refusals:?}", path.display());
            assert_eq!(
                back.pointer("/spec/metrics"),
                written.pointer("/spec/metrics")
            );
            count += 1;
            continue;
        }
        let model: RewardModel = serde_json::from_value(written.clone())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let back = serde_json::to_value(&model).unwrap();
        let refusals = crate::refusals("RewardModel", &back, None);
        assert!(refusals.is_empty(), "{}: {refusals:?}", path.display());
        assert_eq!(back.pointer("/spec/model"), written.pointer("/spec/model"));
        assert_eq!(
            back.pointer("/spec/server"),
            written.pointer("/spec/server")
        );
        count += 1;
    }
    assert!(count >= 2);
}
