//! How a model is loaded, for all commands alike.

use std::path::PathBuf;

use clap::ValueEnum;
use inference_models::{DeviceChoice, Digest, Dtype as ModelDtype, Isa, LoadOptions, Truncation};

/// A model and how it is loaded.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// The model's folder.
    #[arg(long, env = "REWARD_MODEL", value_name = "DIR")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) how: ModelOptions,
}

/// How a model is loaded.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelOptions {
    /// What the files must be, as `verify` prints it.
    #[arg(long, env = "REWARD_DIGEST", value_parser = Digest::parse)]
    pub(crate) digest: Option<Digest>,
    /// Tokens that an input is cut to [default: what the model can take].
    #[arg(long, env = "REWARD_MAX_TOKENS")]
    pub(crate) max_tokens: Option<usize>,
    /// Which side of a long input is cut [default: the end of texts, the beginning of chats].
    #[arg(long, env = "REWARD_TRUNCATION")]
    pub(crate) truncation: Option<Side>,
    /// Renders conversations where the model has no chat template: Jinja over messages, prompt and
    /// response.
    #[arg(long, env = "REWARD_PROMPT_TEMPLATE", value_name = "TEMPLATE")]
    pub(crate) prompt_template: Option<String>,
    /// Leaves out the token that begins a text where a plain text has it at its beginning already,
    /// as texts do that a chat template rendered elsewhere.
    #[arg(long, env = "REWARD_SINGLE_BOS")]
    pub(crate) single_bos: bool,
    /// The date that chat templates see, such as 2026-01-31 [default: the day of the start].
    #[arg(long, env = "REWARD_SPECIAL_DATE", value_name = "DATE")]
    pub(crate) special_date: Option<String>,
    /// Number format of the weights.
    #[arg(long, env = "REWARD_DTYPE", default_value = "auto")]
    pub(crate) dtype: Dtype,
    /// Where it is computed: cpu, cuda, cuda:N for the GPU of that number, or auto for a GPU where there is one.
    #[arg(long, env = "REWARD_DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
    /// The instruction set to compute with, such as avx2 [default: the best that the machine has]. Scores of two
    /// of them differ in their last bits.
    #[arg(long, env = "REWARD_ISA", value_name = "NAME", value_parser = isa)]
    pub(crate) isa: Option<Wanted>,
    /// Threads of the engine; 0 is one for each core.
    #[arg(long, env = "REWARD_THREADS", default_value_t = 0)]
    pub(crate) threads: usize,
}

impl ModelOptions {
    /// The name of an option that changes scores and is set: a server has its own.
    pub(crate) fn any(&self) -> Option<&'static str> {
        let set = [
            ("--digest", self.digest.is_some()),
            ("--max-tokens", self.max_tokens.is_some()),
            ("--truncation", self.truncation.is_some()),
            ("--prompt-template", self.prompt_template.is_some()),
            ("--single-bos", self.single_bos),
            ("--special-date", self.special_date.is_some()),
            ("--dtype", self.dtype != Dtype::Auto),
            ("--device", self.device != DeviceChoice::Cpu),
            ("--isa", self.isa.is_some()),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }

    pub(crate) fn load(&self) -> LoadOptions {
        LoadOptions {
            digest: self.digest.clone(),
            max_tokens: self.max_tokens,
            truncation: self.truncation.map(|side| match side {
                Side::Left => Truncation::Left,
                Side::Right => Truncation::Right,
                Side::Reject => Truncation::Reject,
            }),
            prompt_template: self.prompt_template.clone(),
            special_date: self.special_date.clone(),
            single_bos: self.single_bos,
            dtype: match self.dtype {
                Dtype::Auto => ModelDtype::Auto,
                Dtype::F32 => ModelDtype::F32,
                Dtype::Bf16 => ModelDtype::Bf16,
                Dtype::F16 => ModelDtype::F16,
                Dtype::Int8 => ModelDtype::Int8,
            },
            device: self.device,
            isa: self.isa.and_then(|Wanted(isa)| isa),
            threads: self.threads,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Left,
    Right,
    Reject,
}

/// Number formats of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    Auto,
    F32,
    Bf16,
    F16,
    Int8,
}

/// An instruction set, or none: the best that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(Option<Isa>);

fn isa(name: &str) -> Result<Wanted, String> {
    if name == "auto" {
        return Ok(Wanted(None));
    }
    let isa = name.parse::<Isa>().map_err(|error| error.to_string())?;
    Ok(Wanted(Some(isa)))
}
