//! `compose.yaml` mounts what is there, and tells the server what it knows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documents, files, read, repository};

fn services() -> Vec<(String, Value)> {
    let compose = documents(&read("compose.yaml")).remove(0);
    let services = compose["services"].as_object().unwrap().clone();
    services.into_iter().collect()
}

#[test]
fn every_file_that_is_mounted_is_there() {
    let mut count = 0;
    for (name, service) in services() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"]
                .as_str()
                .or_else(|| volume.as_str()?.split(':').next());
            let source = source.unwrap();
            // A variable with a default.
            let source = source
                .split_once(":-")
                .map_or(source, |(_, default)| default.trim_end_matches('}'));
            if let Some(path) = source.strip_prefix("./") {
                assert!(
                    repository().join(path).exists(),
                    "{name}: {path} is not there"
                );
                count += 1;
            }
        }
    }
    assert!(count >= 4, "{count} files");
}

#[test]
fn the_servers_variables_are_those_of_its_flags() {
    let sources = files("inference-server/src/args", ".rs");
    let text: String = sources.iter().map(|file| read(file)).collect();
    let known: BTreeSet<_> = text
        .split("env = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let services = services();
    let (_, server) = services.iter().find(|(name, _)| name == "server").unwrap();
    let variables = server["environment"].as_object().unwrap();
    assert!(!variables.is_empty());
    for name in variables.keys() {
        assert!(
            known.contains(name.as_str()),
            "no flag has the variable {name}"
        );
    }
}

#[test]
fn nothing_of_it_can_be_reached_from_elsewhere_or_gain_rights() {
    for (name, service) in services() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        // The merge key is what all of them begin with.
        assert_eq!(service["<<"]["read_only"], true, "{name}");
        assert_eq!(service["<<"]["cap_drop"][0], "ALL", "{name}");
    }
}
