//! The command line. Every flag has an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use inference_models::{Digest, LoadOptions, Truncation};
use inference_scoring::Calibration;

/// Scores texts with reward models.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves a model over HTTP.
    Serve(Box<Serve>),
    /// Scores a file of JSON lines.
    Score(Score),
    /// Checks a model's files and scores once with it.
    Verify(Verify),
    /// Asks a running server whether it is ready; exit code 1 if not.
    Health(Health),
}

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
    /// Which side of a long input is cut [default: the end of texts, the beginning of chats].
    #[arg(long, env = "REWARD_TRUNCATION")]
    pub(crate) truncation: Option<Side>,
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
            truncation: self.truncation.map(|side| match side {
                Side::Left => Truncation::Left,
                Side::Right => Truncation::Right,
                Side::Reject => Truncation::Reject,
            }),
            threads: self.threads,
            ..LoadOptions::default()
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Name of the version in answers [default: the digest's first 12 digits].
    #[arg(long, env = "REWARD_MODEL_VERSION")]
    pub(crate) model_version: Option<String>,
    /// Scale and shift of the confidence, such as scale=1.5,shift=-0.25.
    #[arg(long, env = "REWARD_CALIBRATION")]
    pub(crate) calibration: Option<Calibration>,
    /// Index of the label whose logit is the score.
    #[arg(long, env = "REWARD_LABEL", default_value_t = 0)]
    pub(crate) label: usize,
    /// What is done to the logit.
    #[arg(long, env = "REWARD_ACTIVATION", default_value = "none")]
    pub(crate) activation: Activation,
    /// Tokens of one batch of the engine.
    #[arg(long, env = "REWARD_MAX_BATCH_TOKENS", default_value_t = 16_384)]
    pub(crate) max_batch_tokens: usize,
    /// Requests that are worked on at once.
    #[arg(long, env = "REWARD_MAX_CONCURRENT_REQUESTS", default_value_t = 512)]
    pub(crate) max_concurrent_requests: usize,
    /// Items of one request.
    #[arg(long, env = "REWARD_MAX_BATCH", default_value_t = 256)]
    pub(crate) max_batch: usize,
    /// Unicode scalars of one text.
    #[arg(long, env = "REWARD_MAX_CHARACTERS", default_value_t = 10_000)]
    pub(crate) max_characters: usize,
    /// Bytes of one body.
    #[arg(long, env = "REWARD_MAX_BODY_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub(crate) max_body_bytes: usize,
    /// The longest that a request may take, such as 10s.
    #[arg(long, env = "REWARD_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How long requests are still taken after SIGTERM, until everybody knows.
    #[arg(long, env = "REWARD_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub(crate) drain_delay: Duration,
    /// Address of the API.
    #[arg(long, env = "REWARD_LISTEN", default_value = "[::]:8000")]
    pub(crate) listen: SocketAddr,
    /// Where the reason is left when the model cannot be served.
    #[arg(long, env = "REWARD_TERMINATION_LOG", value_name = "FILE")]
    pub(crate) termination_log: Option<PathBuf>,
    /// What is logged, such as info,model=debug,api=info.
    #[arg(long, env = "REWARD_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How it is written.
    #[arg(long, env = "REWARD_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Where it is written too; at 10 MB the file is put aside, and five of them are kept.
    #[arg(long, env = "REWARD_LOG_FILE", value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Score {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// JSON lines with `text`, `text` and `text_pair`, or `messages`; - is standard input.
    #[arg(long, env = "REWARD_INPUT", value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The same lines with their scores; - is standard output.
    #[arg(long, env = "REWARD_OUTPUT", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Name of the field that the score is written to.
    #[arg(
        long = "score-field",
        env = "REWARD_SCORE_FIELD",
        default_value = "score"
    )]
    pub(crate) field: String,
    /// Index of the label whose logit is the score.
    #[arg(long, env = "REWARD_LABEL", default_value_t = 0)]
    pub(crate) label: usize,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Prints JSON.
    #[arg(long, env = "REWARD_JSON")]
    pub(crate) json: bool,
    /// Writes the JSON to this file too.
    #[arg(long, env = "REWARD_OUTPUT", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Health {
    /// What is asked.
    #[arg(
        long,
        env = "REWARD_HEALTH_URL",
        default_value = "http://127.0.0.1:8000/health/ready"
    )]
    pub(crate) url: String,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activation {
    None,
    Sigmoid,
}

impl Activation {
    pub(crate) fn apply(self, logit: f32) -> f32 {
        match self {
            Self::None => logit,
            Self::Sigmoid => 1.0 / (1.0 + (-logit).exp()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Reads `500ms`, `10s` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    units
        .into_iter()
        .find_map(|(unit, factor)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(factor).map(Duration::from_millis)
        })
        .ok_or_else(|| format!("{text:?} is no duration: write 500ms, 10s or 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1h",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
