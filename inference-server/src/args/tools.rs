//! The other commands.

use std::path::PathBuf;

use inference_models::Digest;

use super::{ModelArgs, ModelOptions};

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

/// Where the scores of an evaluation come from.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// The model's folder.
    #[arg(long, env = "REWARD_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// A scoring server.
    #[arg(long, env = "REWARD_URL")]
    pub(crate) url: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Another scoring server that is held against it.
    #[arg(long, env = "REWARD_AGAINST", value_name = "URL")]
    pub(crate) against: Option<String>,
    /// Does not ask the other server where the pairs' file has this digest: what it scores on it is known.
    #[arg(long, env = "REWARD_AGAINST_KNOWN", value_name = "DIGEST", requires = "against", value_parser = Digest::parse)]
    pub(crate) against_known: Option<Digest>,
    /// JSON lines with `chosen` and `rejected`, and `prompt` and `category` where there are any.
    #[arg(long, env = "REWARD_PAIRS", value_name = "FILE")]
    pub(crate) pairs: PathBuf,
    /// Fits the confidence to the pairs, and writes calibration.json beside the model (here, for a
    /// server).
    #[arg(long, env = "REWARD_CALIBRATE")]
    pub(crate) calibrate: bool,
    /// Prints JSON.
    #[arg(long, env = "REWARD_JSON")]
    pub(crate) json: bool,
    /// Writes what an operator reads of it to this file too: counts, means and the digest of the pairs' file,
    /// or why there are none.
    #[arg(long, env = "REWARD_OUTPUT", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A file with the token that servers ask for.
    #[arg(long, env = "REWARD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Index of the label whose logit is the score.
    #[arg(long, env = "REWARD_LABEL", default_value_t = 0)]
    pub(crate) label: usize,
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fetch {
    /// `hf://OWNER/NAME@REVISION`, `s3://`, `gs://` or `az://BUCKET/FOLDER`, or `https://HOST/FOLDER`.
    #[arg(env = "REWARD_SOURCE")]
    pub(crate) source: String,
    /// The folder that the files are put into.
    #[arg(
        long,
        env = "REWARD_TO",
        value_name = "DIR",
        required_unless_present = "cache",
        conflicts_with = "cache"
    )]
    pub(crate) to: Option<PathBuf>,
    /// A folder of models by their digests: the model is put there as `sha256-HEX`, once, when it was
    /// checked as `verify` does.
    #[arg(long, env = "REWARD_FETCH_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// What the files must be; their digest is printed.
    #[arg(long, env = "REWARD_DIGEST", value_parser = Digest::parse)]
    pub(crate) digest: Option<Digest>,
    /// Models of the cache that are in use. With --as-of, others are removed.
    #[arg(long, env = "REWARD_KEEP", value_delimiter = ',', value_parser = Digest::parse, requires = "as_of", value_name = "DIGEST")]
    pub(crate) keep: Vec<Digest>,
    /// When those to keep were counted, as `2026-01-31T12:00:00Z`: what was put there or asked for
    /// since stays too. Without it nothing is removed.
    #[arg(long, env = "REWARD_AS_OF", requires_all = ["cache", "owner"], conflicts_with = "to", value_name = "TIME")]
    pub(crate) as_of: Option<jiff::Timestamp>,
    /// Who has counted them. Whoever comes first to a cache removes what is no more in use, and nobody
    /// else does.
    #[arg(long, env = "REWARD_OWNER", value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Writes what came of it to this file, as `verify` does.
    #[arg(long, env = "REWARD_OUTPUT", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
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
