//! What a checkpoint says its logits go through where an answer shows probabilities.
//!
//! Owns the names that `config.json` has for it, and in which order they count: those of vLLM, which
//! follows transformers and sentence-transformers. Must not know of requests, which may ask for the
//! logits as they are, nor how the values are computed. Invariant: a name that is not known is refused when the model is loaded.

use serde_json::Value;

use crate::error::LoadError;

/// What logits go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputActivation {
    /// A sigmoid of one label, a softmax of several.
    #[default]
    ByLabels,
    /// Nothing.
    Identity,
    /// Each label by itself.
    Sigmoid,
    /// All labels against each other.
    Softmax,
    /// Each label by itself.
    Tanh,
}

impl OutputActivation {
    /// What `config.json` says: `problem_type`, else the activation of a cross-encoder of
    /// sentence-transformers.
    ///
    /// # Errors
    /// `ModelInvalid` for a problem type, and `UnsupportedFormat` for an activation, that is unknown.
    pub(crate) fn read(config: &Value) -> Result<Self, LoadError> {
        match config.get("problem_type") {
            None | Some(Value::Null) => {}
            Some(value) => return of_problem(value),
        }
        let own = config
            .get("sentence_transformers")
            .and_then(|own| own.get("activation_fn"));
        let old = config.get("sbert_ce_default_activation_function");
        let mut names = [own, old].into_iter().flatten();
        match names.find(|name| !name.is_null()) {
            None => Ok(Self::ByLabels),
            Some(name) => of_function(name),
        }
    }
}

fn of_problem(value: &Value) -> Result<OutputActivation, LoadError> {
    match value.as_str() {
        Some("regression") => Ok(OutputActivation::Identity),
        Some("single_label_classification") => Ok(OutputActivation::ByLabels),
        Some("multi_label_classification") => Ok(OutputActivation::Sigmoid),
        Some(_) | None => Err(LoadError::invalid(format!(
            "config.json: problem_type {value} is none that transformers knows: write regression, single_label_classification or multi_label_classification, or remove it"
        ))),
    }
}

fn of_function(value: &Value) -> Result<OutputActivation, LoadError> {
    let of_torch = value.as_str().filter(|name| name.starts_with("torch.nn."));
    match of_torch.and_then(|name| name.rsplit('.').next()) {
        Some("Identity") => Ok(OutputActivation::Identity),
        Some("Sigmoid") => Ok(OutputActivation::Sigmoid),
        Some("Softmax") => Ok(OutputActivation::Softmax),
        Some("Tanh") => Ok(OutputActivation::Tanh),
        Some(_) | None => Err(LoadError::unsupported(format!(
            "config.json: the activation {value} of sentence-transformers is not served; served are Identity, Sigmoid, Softmax and Tanh of torch.nn"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn read(text: &str) -> Result<OutputActivation, LoadError> {
        OutputActivation::read(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_checkpoint_says_what_its_logits_go_through() {
        for (text, expected) in [
            ("{}", OutputActivation::ByLabels),
            (r#"{"problem_type":null}"#, OutputActivation::ByLabels),
            (
                r#"{"problem_type":"regression"}"#,
                OutputActivation::Identity,
            ),
            (
                r#"{"problem_type":"multi_label_classification"}"#,
                OutputActivation::Sigmoid,
            ),
            (
                r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity"}}"#,
                OutputActivation::Identity,
            ),
            (
                r#"{"sentence_transformers":{"version":"5"},"sbert_ce_default_activation_function":"torch.nn.modules.activation.Sigmoid"}"#,
                OutputActivation::Sigmoid,
            ),
            (
                r#"{"sbert_ce_default_activation_function":"torch.nn.modules.activation.Softmax"}"#,
                OutputActivation::Softmax,
            ),
            (
                r#"{"sbert_ce_default_activation_function":null}"#,
                OutputActivation::ByLabels,
            ),
            (
                r#"{"problem_type":"single_label_classification","sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}"#,
                OutputActivation::ByLabels,
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_are_known() {
        let unknown =
            r#"{"sbert_ce_default_activation_function":"torch.nn.modules.activation.GELU"}"#;
        let error = read(unknown).unwrap_err();
        assert_eq!(error.reason, Reason::UnsupportedFormat);
        assert!(error.message.contains("GELU") && error.message.contains("Identity"));
        for text in [
            r#"{"problem_type":"ranking"}"#,
            r#"{"sentence_transformers":{"activation_fn":"os.system"}}"#,
            r#"{"sentence_transformers":{"activation_fn":1}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
