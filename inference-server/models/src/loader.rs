//! From a folder to a model that scores.
//!
//! Invariant: every file is read once; its bytes are hashed and used, and nothing is used before the
//! digest is checked.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use kernels::Isa;
use tokenizers::Tokenizer;

use crate::added_tokens::AddedTokens;
use crate::architectures::{self, Inputs, Kind};
use crate::chat::{ChatTemplate, Origin};
use crate::config::Config;
use crate::device::{self, DeviceChoice};
use crate::digest::Digest;
use crate::dtype::Dtype;
use crate::engine::{Engine, LocalEngine};
use crate::error::{LoadError, Reason};
use crate::files::Files;
use crate::input::Truncation;
use crate::leftover;
use crate::legacy_tokens::{self, ADDED_TOKENS};
use crate::memory::Need;
use crate::output::OutputActivation;
use crate::threads::Threads;
use crate::tokenizer::{InputTokenizer, Settings};
use crate::tokenizer_config::TokenizerConfig;
use crate::trial;
use crate::weights::Weights;

/// The most tokens of one input where a model sets no limit of its own.
const MAX_TOKENS: usize = 16_384;
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Files about text that a model may have.
struct Texts {
    config: Option<Vec<u8>>,
    special_tokens: Option<Vec<u8>>,
    chat_template: Option<Vec<u8>>,
}

/// How a model is to be loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What the files must be.
    pub digest: Option<Digest>,
    /// The most tokens of one input.
    pub max_tokens: Option<usize>,
    /// Which side of a long input is cut; `None` is the end of texts and pairs, and the beginning of
    /// rendered chats.
    pub truncation: Option<Truncation>,
    /// Renders conversations where the model has no chat template of its own.
    pub prompt_template: Option<String>,
    /// The date that chat templates see, as `2026-01-31`; `None` is today (UTC). It is fixed, because
    /// scores would change at midnight otherwise.
    pub special_date: Option<String>,
    /// Whether the token that begins a text is left out of a text that has it at its beginning
    /// already, as one that a chat template rendered elsewhere.
    pub single_bos: bool,
    /// In which format the weights are kept.
    pub dtype: Dtype,
    /// Where it is computed.
    pub device: DeviceChoice,
    /// The instruction set to compute with on the CPU; `None` is the best that the machine has.
    pub isa: Option<Isa>,
    /// Threads of the mathematics; 0 is one for each core.
    pub threads: usize,
}

/// A model that scores.
#[derive(Debug)]
pub struct Model {
    /// Computes logits.
    pub engine: Arc<dyn Engine>,
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
    /// How it reads a conversation.
    pub kind: Kind,
    /// Names of its labels, in the order of the logits.
    pub labels: Vec<String>,
    /// What its logits go through where an answer shows probabilities.
    pub activation: OutputActivation,
    /// Whether it has a form for two texts.
    pub has_pairs: bool,
    /// Whether it can read conversations of any number of turns.
    pub has_template: bool,
    /// The date that its chat template sees, where it asks for one.
    pub special_date: Option<String>,
    /// In which format its weights are kept; never `Auto`.
    pub dtype: Dtype,
    /// By what it is computed, as [`crate::backend::Backend::engine`] says.
    pub engine: String,
    /// Where it is computed: `cpu`, or `cuda:N`.
    pub device: String,
    /// Seconds that loading it took.
    pub load_seconds: f64,
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
    let texts = Texts {
        config: files.optional(TOKENIZER_CONFIG)?,
        special_tokens: files.optional(SPECIAL_TOKENS)?,
        chat_template: files.optional(CHAT_TEMPLATE)?,
    };
    if let Some(added) = files.beside(ADDED_TOKENS)? {
        legacy_tokens::refuse_others(&added, &tokenizer, texts.config.as_deref())?;
    }
    let threads = Arc::new(threads(options.threads)?);
    let backend = options.device.open(options.isa)?;
    device::check_dtype(&backend, options.dtype)?;
    let weights = files.weights(Weights::new(options.dtype, backend, threads.clone()))?;
    files.rest()?;
    let digest = files.digest();
    check_digest(&digest, options.digest.as_ref())?;

    let config = Config::parse(&config)?;
    let longest = options.max_tokens.unwrap_or(MAX_TOKENS);
    let need = need(&weights, &config, longest);
    let there = device::name(weights.backend().device());
    if let Some(free) = device::free_memory(weights.backend().device()) {
        need.check(&there, free)?;
    }
    let architecture = architectures::build(&weights, &config);
    let architecture = architecture.map_err(|error| need.explain(error, &there))?;
    let unread = weights.unread();
    let unread: Vec<&str> = unread.iter().map(String::as_str).collect();
    leftover::check(&unread)?;
    let (dtype, parameters) = (weights.dtype(), weights.parameters());
    let backend = weights.backend().clone();
    drop(weights);
    let inputs = architecture.inputs();
    let (mut tokenizer, side) = InputTokenizer::parse(&tokenizer, inputs.vocabulary)?;
    let texts = texts.read()?;
    texts.complete(&mut tokenizer)?;
    let (settings, date) = settings(&texts, side, options, inputs)?;
    let tokenizer = InputTokenizer::new(tokenizer, settings)?;
    let engine = backend.engine();
    let mut model = Model {
        facts: ModelFacts {
            digest,
            bytes: files.bytes(),
            parameters,
            architecture: config.architecture,
            kind: inputs.kind,
            labels: config.labels,
            activation: config.activation,
            has_pairs: tokenizer.has_pairs(),
            has_template: tokenizer.has_template(),
            special_date: date.map(|date| date.to_string()),
            dtype,
            engine,
            device: there.clone(),
            load_seconds: 0.0,
        },
        engine: Arc::new(LocalEngine::new(
            architecture.into(),
            backend.clone(),
            threads,
        )),
        tokenizer,
    };
    trial::run(&model, &backend).map_err(|error| need.explain(error, &there))?;
    model.facts.load_seconds = began.elapsed().as_secs_f64();
    Ok(model)
}

fn threads(count: usize) -> Result<Threads, LoadError> {
    Threads::new(count)
        .map_err(|error| LoadError::new(Reason::LoadFailed, format!("--threads: {error}")))
}

/// What the model takes on a device, for sequences of at most `longest` tokens.
fn need(weights: &Weights, config: &Config, longest: usize) -> Need {
    // What is wrong with a width, its family says.
    let widths = config.part().unwrap_or_default();
    let tokens = (weights.backend().most_tokens(), longest);
    Need::of(
        weights.parameters(),
        weights.dtype().bytes(),
        widths,
        tokens,
    )
}

/// What the files about text say.
struct Read {
    config: TokenizerConfig,
    tokens: AddedTokens,
    chat_template: Option<Vec<u8>>,
}

impl Texts {
    fn read(self) -> Result<Read, LoadError> {
        let config = TokenizerConfig::parse(self.config.as_deref())?;
        let tokens = config.added_tokens(self.special_tokens.as_deref())?;
        Ok(Read {
            config,
            tokens,
            chat_template: self.chat_template,
        })
    }
}

impl Read {
    /// Gives the tokenizer what only these files have.
    fn complete(&self, tokenizer: &mut Tokenizer) -> Result<(), LoadError> {
        self.tokens.complete(tokenizer)?;
        if self.config.splits_special_tokens() {
            tokenizer.set_encode_special_tokens(true);
        }
        Ok(())
    }
}

/// How inputs are encoded, and the date that the chat template sees. `side` is the one that
/// `tokenizer.json` cuts.
fn settings(
    texts: &Read,
    side: Option<Truncation>,
    options: &LoadOptions,
    inputs: Inputs,
) -> Result<(Settings, Option<Date>), LoadError> {
    let config = &texts.config;
    let special_tokens = texts.tokens.named();
    let chat = match inputs.kind {
        // Encoders read pairs; what their files say of chats is left unread.
        Kind::Encoder => {
            if options.prompt_template.is_some() {
                return Err(LoadError::new(
                    Reason::LoadFailed,
                    "--prompt-template is for decoders, and this model reads a conversation as two texts: remove it",
                ));
            }
            None
        }
        Kind::Decoder => chat(texts, &special_tokens, options)?,
    };
    let date = chat.as_ref().and_then(ChatTemplate::date);
    let settings = Settings {
        max_tokens: max_tokens(
            options.max_tokens,
            config.max_length(),
            inputs.max_positions,
        )?,
        truncation: options.truncation,
        own_side: config.truncation_side()?.or(side),
        segments: config
            .feeds_segments()
            .then_some(inputs.segments)
            .filter(|segments| *segments > 0),
        vocabulary: inputs.vocabulary,
        kind: inputs.kind,
        chat,
        bos: special_tokens.get("bos_token").cloned(),
        eos: special_tokens.get("eos_token").cloned(),
        pad: special_tokens.get("pad_token").cloned(),
        single_bos: options.single_bos,
    };
    Ok((settings, date))
}

/// The model's chat template, else that of `--prompt-template`.
fn chat(
    texts: &Read,
    special_tokens: &std::collections::BTreeMap<String, String>,
    options: &LoadOptions,
) -> Result<Option<ChatTemplate>, LoadError> {
    let date = match &options.special_date {
        None => jiff::Timestamp::now().to_zoned(TimeZone::UTC).date(),
        Some(text) => text.parse().map_err(|error| {
            LoadError::new(
                Reason::LoadFailed,
                format!("--special-date {text:?} is no date such as 2026-01-31: {error}"),
            )
        })?,
    };
    let file = texts
        .chat_template
        .as_ref()
        .map(|bytes| {
            String::from_utf8(bytes.clone()).map_err(|_| {
                LoadError::invalid(format!("{CHAT_TEMPLATE} is not UTF-8: copy it again"))
            })
        })
        .transpose()?;
    let (source, origin) = match (file, texts.config.chat_template(), &options.prompt_template) {
        (Some(source), _, _) => (source, Origin::Model(CHAT_TEMPLATE)),
        (None, Some(source), _) => (source, Origin::Model(TOKENIZER_CONFIG)),
        (None, None, Some(source)) => (source.clone(), Origin::Flag),
        (None, None, None) => return Ok(None),
    };
    let template = ChatTemplate::parse(&source, origin, special_tokens, date)?;
    template.try_out()?;
    Ok(Some(template))
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
    own: Option<usize>,
    positions: usize,
) -> Result<usize, LoadError> {
    match wanted {
        Some(wanted) if wanted > positions => Err(LoadError::new(
            Reason::LoadFailed,
            format!(
                "--max-tokens {wanted} is more than the model's {positions} positions: lower it"
            ),
        )),
        Some(wanted) => Ok(wanted),
        None => Ok(own.unwrap_or(MAX_TOKENS).min(positions).min(MAX_TOKENS)),
    }
}
