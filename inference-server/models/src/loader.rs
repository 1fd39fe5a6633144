//! From a folder to a model that scores.
//!
//! Invariant: every file is read once; its bytes are hashed and used, and nothing is used before the
//! digest is checked.

use std::path::Path;
use std::time::Instant;

use serde::Deserialize;

use crate::architectures;
use crate::config::Config;
use crate::digest::{self, Digest, FileHashes};
use crate::engine::{CpuEngine, Engine, Packed};
use crate::error::{LoadError, Reason};
use crate::tokenizer::{EncodeOptions, InputTokenizer, TextInput, Truncation};
use crate::weights::Weights;

/// The most tokens of one input where a model sets no limit of its own.
const MAX_TOKENS: usize = 16_384;
const INDEX: &str = "model.safetensors.index.json";

/// How a model is to be loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What the files must be.
    pub digest: Option<Digest>,
    /// The most tokens of one input.
    pub max_tokens: Option<usize>,
    /// Which side of a long input is cut.
    pub truncation: Truncation,
    /// Threads of the mathematics; 0 is one for each core.
    pub threads: usize,
}

/// A model that scores.
#[derive(Debug)]
pub struct Model {
    /// Computes logits.
    pub engine: Box<dyn Engine>,
    /// Encodes inputs.
    pub tokenizer: InputTokenizer,
    /// What the model is.
    pub facts: ModelFacts,
}

/// What a model is.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    /// Digest of its files.
    pub digest: Digest,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its parameters.
    pub parameters: u64,
    /// Its architecture.
    pub architecture: String,
    /// Names of its labels, in the order of the logits.
    pub labels: Vec<String>,
    /// Seconds that loading it took.
    pub load_seconds: f64,
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    /// transformers writes 1e30 where there is no limit.
    #[serde(default)]
    model_max_length: Option<f64>,
    #[serde(default)]
    model_input_names: Option<Vec<String>>,
    #[serde(default)]
    tokenizer_class: Option<String>,
}

impl TokenizerConfig {
    fn parse(bytes: Option<&[u8]>) -> Result<Self, LoadError> {
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        serde_json::from_slice(bytes).map_err(|error| {
            LoadError::invalid(format!(
                "tokenizer_config.json cannot be read ({error}): copy it again"
            ))
        })
    }

    /// Whether the model was trained on the segment ids that `tokenizer.json` gives. transformers
    /// feeds them where the tokenizer's `model_input_names` has them; its generic class of version
    /// 5, `TokenizersBackend`, does not unless the file says so.
    fn feeds_segments(&self) -> bool {
        match (&self.model_input_names, self.tokenizer_class.as_deref()) {
            (Some(names), _) => names.iter().any(|name| name == "token_type_ids"),
            (None, Some("TokenizersBackend")) => false,
            (None, Some(_) | None) => true,
        }
    }
}

/// Loads the model of `folder` and scores once with it.
///
/// # Errors
/// What is wrong with the folder; see [`Reason`].
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
    let began = Instant::now();
    let mut files = Files::open(folder)?;
    let config = files.text("config.json")?;
    let tokenizer = files.text("tokenizer.json")?;
    let tokenizer_config = files.optional("tokenizer_config.json")?;
    let weights = files.weights()?;
    files.rest()?;
    let digest = files.hashes.digest();
    check_digest(&digest, options.digest.as_ref())?;

    let config = Config::parse(&config)?;
    let architecture = architectures::build(&weights, &config)?;
    let tokenizer = InputTokenizer::parse(&tokenizer, architecture.vocabulary())?;
    let tokenizer_config = TokenizerConfig::parse(tokenizer_config.as_deref())?;
    let max_tokens = max_tokens(
        options.max_tokens,
        &tokenizer_config,
        architecture.max_positions(),
    )?;
    let segments = tokenizer_config
        .feeds_segments()
        .then(|| architecture.segments());
    let tokenizer = InputTokenizer::new(tokenizer, max_tokens, options.truncation, segments)?;
    let parameters = weights.parameters();
    drop(weights);
    let engine = CpuEngine::new(architecture, options.threads)
        .map_err(|error| LoadError::new(Reason::LoadFailed, format!("--threads: {error}")))?;
    let model = Model {
        engine: Box::new(engine),
        tokenizer,
        facts: ModelFacts {
            digest,
            bytes: files.bytes,
            parameters,
            architecture: config.architecture,
            labels: config.labels,
            load_seconds: began.elapsed().as_secs_f64(),
        },
    };
    trial(&model)?;
    Ok(Model {
        facts: ModelFacts {
            load_seconds: began.elapsed().as_secs_f64(),
            ..model.facts
        },
        ..model
    })
}

fn check_digest(found: &Digest, wanted: Option<&Digest>) -> Result<(), LoadError> {
    match wanted {
        Some(wanted) if wanted != found => Err(LoadError::new(
            Reason::DigestMismatch,
            format!(
                "the files are {found}, not the pinned {wanted}: restore the files, or pin the new digest if the change was meant"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn max_tokens(
    wanted: Option<usize>,
    config: &TokenizerConfig,
    positions: usize,
) -> Result<usize, LoadError> {
    if let Some(wanted) = wanted {
        return if wanted <= positions {
            Ok(wanted)
        } else {
            Err(LoadError::new(
                Reason::LoadFailed,
                format!(
                    "--max-tokens {wanted} is more than the model's {positions} positions: lower it"
                ),
            ))
        };
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is cast to the nearest representable count, and 1e30 to the largest"
    )]
    let own = config
        .model_max_length
        .filter(|length| *length >= 1.0)
        .map_or(usize::MAX, |length| length as usize);
    Ok(own.min(positions).min(MAX_TOKENS))
}

/// One score with the whole of it, so that what is broken shows before traffic comes.
fn trial(model: &Model) -> Result<(), LoadError> {
    let failed = |why: String| LoadError::invalid(format!("a trial score failed: {why}"));
    let encoded = model
        .tokenizer
        .encode(&TextInput::Text("Hello, world".to_owned()), EncodeOptions::default())
        .map_err(|error| failed(error.to_string()))?;
    let mut batch = Packed::default();
    batch.push(&encoded.ids, &encoded.type_ids);
    let logits = model
        .engine
        .forward(&batch)
        .map_err(|error| failed(error.to_string()))?;
    if logits.iter().flatten().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(failed(
            "the score is not finite; the weights are damaged".to_owned(),
        ))
    }
}

/// The files of a folder, read once each.
struct Files<'a> {
    folder: &'a Path,
    names: Vec<String>,
    hashes: FileHashes,
    bytes: u64,
}

impl<'a> Files<'a> {
    fn open(folder: &'a Path) -> Result<Self, LoadError> {
        let names = digest::files(folder)?;
        Ok(Self {
            folder,
            names,
            hashes: FileHashes::default(),
            bytes: 0,
        })
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, LoadError> {
        let bytes = std::fs::read(self.folder.join(name)).map_err(|error| {
            LoadError::new(
                Reason::LoadFailed,
                format!("{name} cannot be read: {error}"),
            )
        })?;
        self.hashes.add(name, &bytes);
        self.bytes += bytes.len() as u64;
        self.names.retain(|other| other != name);
        Ok(bytes)
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn optional(&mut self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        if self.has(name) {
            self.read(name).map(Some)
        } else {
            Ok(None)
        }
    }

    fn text(&mut self, name: &str) -> Result<Vec<u8>, LoadError> {
        self.optional(name)?.ok_or_else(|| {
            LoadError::invalid(format!("{name} is missing: copy it beside the weights"))
        })
    }

    fn weights(&mut self) -> Result<Weights, LoadError> {
        let shards = self.shards()?;
        let mut weights = Weights::default();
        for shard in shards {
            let bytes = self.read(&shard)?;
            weights.add_shard(&shard, &bytes)?;
        }
        Ok(weights)
    }

    fn shards(&mut self) -> Result<Vec<String>, LoadError> {
        let Some(index) = self.optional(INDEX)? else {
            return self.single();
        };
        let index: Index = serde_json::from_slice(&index).map_err(|error| {
            LoadError::invalid(format!("{INDEX} cannot be read ({error}): copy it again"))
        })?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        let missing: Vec<_> = shards
            .iter()
            .filter(|shard| !self.has(shard))
            .cloned()
            .collect();
        if missing.is_empty() && !shards.is_empty() {
            Ok(shards)
        } else {
            Err(LoadError::invalid(format!(
                "shards are missing: {}; copy the model again",
                missing.join(", ")
            )))
        }
    }

    fn single(&self) -> Result<Vec<String>, LoadError> {
        let found: Vec<_> = self
            .names
            .iter()
            .filter(|name| name.ends_with(".safetensors"))
            .cloned()
            .collect();
        match found.len() {
            1 => Ok(found),
            0 => Err(self.no_weights()),
            _ => Err(LoadError::invalid(format!(
                "there are several safetensors files and no {INDEX}: copy the index too"
            ))),
        }
    }

    /// Pickles run code when they are read; they are named and refused.
    fn no_weights(&self) -> LoadError {
        let pickle = |name: &String| {
            [".bin", ".pt", ".pth", ".pkl", ".ckpt"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let entries = std::fs::read_dir(self.folder)
            .into_iter()
            .flatten()
            .flatten();
        let found = entries
            .filter_map(|e| e.file_name().into_string().ok())
            .find(pickle);
        match found {
            Some(name) => LoadError::unsupported(format!(
                "{name} is a pickle, which runs code when it is read; convert it with transformers: model.save_pretrained(DIR, safe_serialization=True)"
            )),
            None => LoadError::invalid(
                "there is no safetensors file in the model's folder: copy the weights",
            ),
        }
    }

    /// Hashes what counts but is not used.
    fn rest(&mut self) -> Result<(), LoadError> {
        for name in self.names.clone() {
            self.read(&name)?;
        }
        Ok(())
    }
}
