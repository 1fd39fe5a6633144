//! An `ABExperiment` out of a file.
//!
//! Invariant: whatever the text is, the answer is an experiment or a sentence that says what to write.

use crds::ABExperiment;
use crds::v1alpha1::reward_model::traffic::Key;
use operator_core::experiment::spec::Design;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;

/// The documents of a YAML or JSON text; those of a List one by one.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document)
            .map_err(|error| Failure::Usage(format!("this is no YAML: {error}")))?;
        let is_list = value
            .get("kind")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.ends_with("List"));
        match value.get("items").and_then(Value::as_array) {
            Some(items) if is_list => found.extend(items.iter().cloned()),
            Some(_) | None if value.is_null() => {}
            Some(_) | None => found.push(value),
        }
    }
    Ok(found)
}

/// The only `ABExperiment` among the documents of a text.
pub(crate) fn read(text: &str) -> Result<ABExperiment, Failure> {
    let kind = |value: &Value| value.get("kind").and_then(Value::as_str) == Some("ABExperiment");
    let mut all: Vec<Value> = documents(text)?.into_iter().filter(kind).collect();
    let one = match (all.pop(), all.is_empty()) {
        (Some(one), true) => one,
        (Some(_), false) => {
            return Err(Failure::Usage(
                "the manifest has several ABExperiments: give a file with one".to_owned(),
            ));
        }
        (None, _) => {
            return Err(Failure::Usage(
                "the manifest has no document of kind ABExperiment: give the file that you would apply"
                    .to_owned(),
            ));
        }
    };
    serde_json::from_value(one)
        .map_err(|error| Failure::Usage(format!("the ABExperiment cannot be read: {error}")))
}

/// What an experiment asks for. Where a request has its user's id matters to routers alone, so that none need
/// be written here.
pub(crate) fn design(experiment: &ABExperiment) -> Result<Design, Failure> {
    let any = Key {
        header: Some("x-user-id".to_owned()),
        ..Key::default()
    };
    let mut named = experiment.clone();
    // Users are hashed with it where no salt is written; a file that was not applied has none.
    named.metadata.uid.get_or_insert_with(|| "file".to_owned());
    Design::read(&named, Some(&any))
        .map_err(|why| Failure::Usage(format!("the ABExperiment is refused: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../manifests/samples/experiment.yaml");

    #[test]
    fn the_sample_is_read_among_other_documents() {
        let text =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\n---\n{SAMPLE}---\n");
        let experiment = read(&text).unwrap();
        assert_eq!(design(&experiment).unwrap().control(), "v1");
    }

    #[test]
    fn what_is_no_experiment_says_what_to_give() {
        for (text, part) in [
            ("", "no document of kind ABExperiment"),
            ("kind: ConfigMap", "no document of kind ABExperiment"),
            ("a: [", "no YAML"),
            (&format!("{SAMPLE}---\n{SAMPLE}"), "several ABExperiments"),
            ("kind: ABExperiment\nspec: {control: 3}", "cannot be read"),
        ] {
            let failure = read(text).unwrap_err();
            assert!(failure.to_string().contains(part), "{text:?}: {failure}");
            assert_eq!(failure.code(), 2);
        }
        let refused = SAMPLE.replace("control: v1", "control: v2");
        let failure = design(&read(&refused).unwrap()).unwrap_err();
        assert!(
            failure.to_string().contains("set control to v1"),
            "{failure}"
        );
    }
}
