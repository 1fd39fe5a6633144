//! The samples name every field there is, so that nobody has to read a schema to find one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documents, files, read};

/// The paths of all fields of a kind's spec, without indices. Below what is the cluster's own (tolerations,
/// Secrets' names of a registry) a sample need not go.
fn fields(kind: &str) -> BTreeSet<String> {
    let mut all = crds::all().into_iter();
    let definition = all.find(|definition| definition.spec.names.kind == kind);
    let definition = serde_json::to_value(definition.unwrap()).unwrap();
    let schema =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = BTreeSet::new();
    walk("spec", schema, &mut found);
    assert!(found.len() > 40, "{found:?}");
    found
}

fn walk(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    if ["tolerations", "imagePullSecrets"]
        .iter()
        .any(|name| path.ends_with(name))
    {
        return;
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        walk(&path, field, found);
    }
    if schema["items"].is_object() {
        walk(path, &schema["items"], found);
    }
}

fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone());
        paths(&path, value, found);
    }
    for item in value.as_array().into_iter().flatten() {
        paths(path, item, found);
    }
}

/// The comments that would be fields if they were none: `# name: ...`, and all that is in them.
fn uncommented(text: &str) -> String {
    let is_field = |comment: &str| {
        let name = comment.trim_start().trim_start_matches("- ");
        let (name, rest) = name.split_once(':').unwrap_or(("", ""));
        let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric());
        is_name
            && name.starts_with(|letter: char| letter.is_ascii_lowercase())
            && (rest.is_empty() || rest.starts_with(' '))
    };
    let lines = text.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix("# ") {
            Some(comment) if is_field(comment) => format!("{}{comment}", " ".repeat(indent)),
            Some(_) => String::new(),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn missing(kind: &str, samples: &[&str]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for sample in samples {
        let document =
            documents(&uncommented(&read(&format!("manifests/samples/{sample}")))).remove(0);
        assert_eq!(document["kind"], kind, "{sample}");
        paths("spec", &document["spec"], &mut found);
    }
    fields(kind).difference(&found).cloned().collect()
}

#[test]
fn the_full_sample_names_every_field_of_a_reward_model() {
    let missing = missing("RewardModel", &["full.yaml"]);
    assert!(missing.is_empty(), "full.yaml says nothing of {missing:?}");
}

#[test]
fn the_samples_of_experiments_name_every_field_together() {
    let samples = [
        "experiment.yaml",
        "experiment-paired.yaml",
        "experiment-prometheus.yaml",
    ];
    let missing = missing("ABExperiment", &samples);
    // One of three places of a key; the others are in a comment beside it.
    let told: Vec<_> = missing
        .iter()
        .filter(|path| !path.starts_with("spec.assignment.key."))
        .collect();
    assert!(told.is_empty(), "no sample says anything of {told:?}");
}

#[test]
fn every_sample_says_what_it_is_for() {
    for file in files("manifests/samples", ".yaml") {
        assert!(
            read(&file).starts_with("# "),
            "{file} begins with no comment"
        );
    }
}
