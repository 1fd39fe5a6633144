//! From a loaded model to one that serves, at the start and for `POST /model/update`.
//!
//! Invariant: nothing outside `--models-root` is loaded for a client, whatever the path or its
//! symbolic links say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::future::BoxFuture;
use inference_api::tei::Token;
use inference_api::{Input, InputOptions, Problem};
use inference_engine::cache::{Scope, Store};
use inference_engine::{Capacity, LocalScorer, Tokeniser, Unreadable, description};
use inference_models::{Digest, LoadOptions, Model, ShownToken};
use inference_scoring::{Activation, Calibration, Description, Inputs, ScoreError};
use tokio::runtime::Handle;

use super::device::Listener;
use crate::args::Serve;
use crate::cli::model::require_label;
use crate::http::{Loader, ModelInfo, Served, Tokens, Wanted};

/// What every model of this server has in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    options: LoadOptions,
    capacity: Capacity,
    label: usize,
    activation: Activation,
    /// What answers say that they are of.
    revision: Option<String>,
    cache: Option<Arc<Store>>,
    observer: Arc<Listener>,
}

impl Common {
    pub(super) fn new(args: &Serve, cache: Option<Arc<Store>>, observer: Arc<Listener>) -> Self {
        Self {
            options: args.model.how.load(),
            capacity: Capacity {
                batch_tokens: args.api.max_batch_tokens,
                requests: args.api.max_concurrent_requests,
            },
            label: args.label,
            activation: args.activation.into(),
            revision: args.revision.clone(),
            cache,
            observer,
        }
    }

    /// Starts to serve a model.
    ///
    /// # Errors
    /// When it has no such label, or its thread cannot be started.
    pub(super) fn serve(
        &self,
        model: Model,
        version: Option<String>,
        calibration: Option<Calibration>,
    ) -> anyhow::Result<Served<LocalScorer>> {
        let facts = &model.facts;
        require_label(facts, self.label)?;
        let about = Arc::new(Description {
            revision: self.revision.clone(),
            label: self.label,
            native: self.activation,
            ..description(facts, version, calibration)
        });
        let info = ModelInfo {
            about: about.clone(),
            architecture: facts.architecture.clone(),
            parameters: facts.parameters,
            dtype: facts.dtype.as_str().to_owned(),
            device: facts.device.clone(),
            engine: facts.engine.clone(),
            max_tokens: model.tokenizer.max_tokens(),
            special_date: facts.special_date.clone(),
            loaded_at: jiff::Timestamp::now().as_second(),
        };
        let cache = self.cache.clone().map(|store| {
            let scope = Scope::new(&about.version, &about.digest, &info.dtype, &info.engine);
            (store, scope)
        });
        let (model, observer) = (Arc::new(model), self.observer.clone());
        let scorer = LocalScorer::start(model, about, self.capacity, cache, observer)?;
        Ok(Served {
            tokens: Some(Arc::new(ModelTokens(scorer.tokeniser().clone()))),
            scorer,
            model: info,
        })
    }
}

/// Shows a model's tokens, in turn with the requests that are scored.
struct ModelTokens(Tokeniser);

impl Tokens for ModelTokens {
    fn tokens(
        &self,
        inputs: Inputs,
        options: InputOptions,
        until: Instant,
    ) -> BoxFuture<'_, Result<Vec<Vec<Token>>, ScoreError>> {
        let special = options.add_special_tokens.unwrap_or(true);
        Box::pin(self.0.each(inputs, until, move |model, input| {
            show(model, input, special)
        }))
    }
}

fn show(model: &Model, input: &Input, special: bool) -> Result<Vec<Token>, Unreadable> {
    let Input::Text(text) = input else {
        return Err(Unreadable {
            message: "send one text".to_owned(),
            too_long: false,
        });
    };
    let tokens = model.tokenizer.show(text, special);
    let token = |shown: ShownToken| Token {
        id: shown.id,
        text: shown.text,
        special: shown.place.is_none(),
        start: shown.place.map(|place| place.0),
        stop: shown.place.map(|place| place.1),
    };
    Ok(tokens?.into_iter().map(token).collect())
}

/// Loads models from the folders of one folder.
pub(super) struct FolderLoader {
    root: PathBuf,
    common: Common,
    /// Whose threads load and begin to serve: threads of the engine that those of the requests
    /// started would step back as they do.
    threads: Handle,
}

impl FolderLoader {
    /// A loader on the threads of the runtime that this is called on.
    ///
    /// # Errors
    /// When the folder is not there.
    pub(super) fn new(root: &Path, common: Common) -> anyhow::Result<Self> {
        let root = root
            .canonicalize()
            .with_context(|| format!("--models-root {}", root.display()))?;
        Ok(Self {
            root,
            common,
            threads: Handle::current(),
        })
    }

    /// The folder that is meant: the same answer whether it is missing or not ours to read.
    fn folder(&self, path: &str) -> Result<PathBuf, Problem> {
        let folder = self.root.join(path).canonicalize().ok();
        folder
            .filter(|folder| folder.starts_with(&self.root) && self.holds(folder))
            .ok_or_else(|| {
                Problem::unprocessable("model_path: there is no such folder under --models-root")
            })
    }

    /// Whether it is a folder, none of whose files is a link to outside the root.
    fn holds(&self, folder: &Path) -> bool {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return false;
        };
        entries.flatten().all(|entry| {
            let place = entry.path().canonicalize();
            // A link to nowhere is nobody's file; where it is one of the model's, loading says so.
            place.map_or(true, |place| place.starts_with(&self.root))
        })
    }
}

impl Loader<LocalScorer> for FolderLoader {
    fn check(&self, wanted: &Wanted) -> Result<(), Problem> {
        self.folder(&wanted.model_path)?;
        digest(wanted)?;
        Ok(())
    }

    fn load(&self, wanted: Wanted) -> BoxFuture<'static, Result<Served<LocalScorer>, String>> {
        let (common, folder) = (self.common.clone(), self.folder(&wanted.model_path));
        let threads = self.threads.clone();
        Box::pin(async move {
            let folder = folder.map_err(|problem| problem.detail)?;
            let options = LoadOptions {
                digest: digest(&wanted).map_err(|problem| problem.detail)?,
                ..common.options.clone()
            };
            let load = move || {
                let model = inference_models::load(&folder, &options)
                    .map_err(|error| format!("{}: {error}", error.reason))?;
                common
                    .serve(model, wanted.version, wanted.calibration)
                    .map_err(|error| error.to_string())
            };
            let loaded = threads.spawn_blocking(load).await;
            loaded.map_err(|_| "the model could not be loaded".to_owned())?
        })
    }
}

fn digest(wanted: &Wanted) -> Result<Option<Digest>, Problem> {
    let digest = wanted.digest.as_deref().map(Digest::parse).transpose();
    digest.map_err(|error| Problem::unprocessable(format!("digest: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shown_with_their_places_in_the_text() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../e2e/fixtures/demo-models/tiny-reward-v1");
        let model = inference_models::load(&folder, &LoadOptions::default()).unwrap();
        let text = Input::Text("Où est Tokyo?".to_owned());
        let shown = |special| show(&model, &text, special);
        let (with, without) = (shown(true).unwrap(), shown(false).unwrap());
        assert!(with[0].special && with[0].text.as_deref() == Some("[CLS]"));
        assert_eq!(with[0].start, None);
        assert_eq!(with.len(), without.len() + 2);
        assert!(without.iter().all(|token| !token.special));
        let last = without.last().unwrap();
        assert_eq!(
            (last.text.as_deref(), last.start, last.stop),
            (Some("?"), Some(12), Some(13))
        );
    }

    #[tokio::test]
    async fn nothing_outside_the_root_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        for inside in ["models/a", "models/b/c", "secret"] {
            std::fs::create_dir_all(folder.path().join(inside)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        let link = |to: &str, from: &str| {
            std::os::unix::fs::symlink(folder.path().join(to), root.join(from)).unwrap();
        };
        link("secret", "link");
        std::fs::create_dir(root.join("sly")).unwrap();
        std::fs::write(folder.path().join("secret/config.json"), "{}").unwrap();
        link("secret/config.json", "sly/config.json");
        std::fs::write(root.join("a/config.json"), "{}").unwrap();
        link("models/a/config.json", "b/config.json");
        let loader = FolderLoader {
            root: root.canonicalize().unwrap(),
            common: Common {
                options: LoadOptions::default(),
                capacity: Capacity {
                    batch_tokens: 1,
                    requests: 1,
                },
                label: 0,
                activation: Activation::Identity,
                revision: None,
                cache: None,
                observer: Arc::default(),
            },
            threads: Handle::current(),
        };
        for path in [
            "a",
            "b",
            "b/c",
            "./a",
            "b/../a",
            root.join("a").to_str().unwrap(),
        ] {
            assert!(loader.folder(path).is_ok(), "{path}");
        }
        let mut answers = Vec::new();
        for path in [
            "..",
            "../secret",
            "link",
            "sly",
            "/etc",
            "missing",
            "file",
            "a/../../secret",
        ] {
            answers.push(loader.folder(path).unwrap_err().detail);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}
