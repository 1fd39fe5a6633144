//! How a model is loaded, for all commands alike.

use std::path::PathBuf;

use clap::ValueEnum;
use inference_models::{Digest, LoadOptions, Truncation};

/// How a model is loaded, for all commands alike.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// The model's folder.
    #[arg(long, env = "REWARD_MODEL", value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// What the files must be, as `verify` prints it.
    #[arg(long, env = "REWARD_DIGEST", value_parser = Digest::parse)]
    pub(crate) digest: Option<Digest>,
    /// Tokens that an input is cut to [default: what the model can take].
    #[arg(long, env = "REWARD_MAX_TOKENS")]
    pub(crate) max_tokens: Option<usize>,
    /// Which side of a long input is cut.
    #[arg(long, env = "REWARD_TRUNCATION", default_value = "right")]
    pub(crate) truncation: Side,
    /// Number format of the weights.
    #[arg(long, env = "REWARD_DTYPE", default_value = "auto")]
    pub(crate) dtype: Dtype,
    /// Where it is computed.
    #[arg(long, env = "REWARD_DEVICE", default_value = "cpu")]
    pub(crate) device: Device,
    /// Threads of the engine; 0 is one for each core.
    #[arg(long, env = "REWARD_THREADS", default_value_t = 0)]
    pub(crate) threads: usize,
}

impl ModelArgs {
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            digest: self.digest.clone(),
            max_tokens: self.max_tokens,
            truncation: match self.truncation {
                Side::Left => Truncation::Left,
                Side::Right => Truncation::Right,
                Side::Reject => Truncation::Reject,
            },
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

/// Other formats come with their kernels; until then they are refused here, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    Auto,
    F32,
}

impl Dtype {
    /// What is computed in: f32 on the CPU.
    pub(crate) const fn resolved(self) -> &'static str {
        match self {
            Self::Auto | Self::F32 => "f32",
        }
    }
}

/// This build computes on the CPU; a pod that asks for a GPU must not fall back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    Cpu,
}

impl Device {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}
