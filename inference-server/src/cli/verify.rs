//! `verify`: what a model is, or why it cannot be served.
//!
//! Owns the document that the operator reads from a container's end, of `verify`, `fetch` and `serve`
//! alike. Invariant: it fits the 4,096 bytes of a termination message.

use std::path::Path;

use anyhow::Context;
use inference_models::loader::ModelFacts;
use inference_models::{LoadError, Model};
use serde::Serialize;

use crate::args::Verify;

/// Room for the other fields beside a message.
const MESSAGE_CHARACTERS: usize = 900;

/// What is said of a model.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum Document {
    Sound {
        ok: bool,
        digest: String,
        bytes: u64,
        parameters: u64,
        architecture: String,
        engine: String,
        labels: Vec<String>,
        max_tokens: usize,
        load_seconds: f64,
    },
    Bad {
        ok: bool,
        reason: String,
        message: String,
    },
}

impl Document {
    pub(crate) fn sound(model: &Model) -> Self {
        let ModelFacts {
            digest,
            bytes,
            parameters,
            architecture,
            engine,
            labels,
            load_seconds,
            ..
        } = model.facts.clone();
        let labels = labels
            .into_iter()
            .take(16)
            .map(|label| cut(&label, 64))
            .collect();
        Self::Sound {
            ok: true,
            digest: digest.to_string(),
            bytes,
            parameters,
            architecture: cut(&architecture, 128),
            engine,
            labels,
            max_tokens: model.tokenizer.max_tokens(),
            load_seconds,
        }
    }

    pub(crate) fn bad(error: &LoadError) -> Self {
        Self::failed(&error.reason.to_string(), &error.message)
    }

    pub(crate) fn failed(reason: &str, message: &str) -> Self {
        Self::Bad {
            ok: false,
            reason: reason.to_owned(),
            message: cut(message, MESSAGE_CHARACTERS),
        }
    }

    /// Leaves the document where a container's last words are looked for.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self)?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// Verifies a model.
///
/// # Errors
/// When it cannot be served, with why.
pub(crate) fn run(args: &Verify) -> anyhow::Result<()> {
    let outcome = inference_models::load(&args.model.model, &args.model.how.load());
    let document = match &outcome {
        Ok(model) => Document::sound(model),
        Err(error) => Document::bad(error),
    };
    if let Some(file) = &args.output {
        document.write(file)?;
    }
    if args.json {
        print(&serde_json::to_string(&document)?)?;
    } else if let Ok(model) = &outcome {
        print(&in_words(model))?;
    }
    outcome
        .map(|_| ())
        .map_err(|error| anyhow::anyhow!("{}: {error}", error.reason))
}

fn in_words(model: &Model) -> String {
    let facts = &model.facts;
    format!(
        "{}\narchitecture  {}\nengine        {}\nparameters    {}\nbytes         {}\nlabels        {}\nmax tokens    {}\nloaded in     {:.3} s",
        facts.digest,
        facts.architecture,
        facts.engine,
        facts.parameters,
        facts.bytes,
        facts.labels.join(", "),
        model.tokenizer.max_tokens(),
        facts.load_seconds
    )
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use inference_models::Reason;

    use super::*;

    #[test]
    fn the_longest_failure_fits_a_termination_message() {
        let error = LoadError::new(Reason::ModelInvalid, "€".repeat(10_000));
        assert!(serde_json::to_string(&Document::bad(&error)).unwrap().len() <= 4_096);
    }
}
