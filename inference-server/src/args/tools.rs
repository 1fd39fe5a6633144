//! The other commands.

use std::path::PathBuf;

use super::ModelArgs;

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
