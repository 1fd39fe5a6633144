//! What `serve` and `route` have in common: where they listen, how they answer, how they leave.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use inference_api::Limits;

use super::{EdgeArgs, duration};
use crate::http;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    pub(crate) edge: EdgeArgs,
    /// Scores in the dialects of TEI, vLLM and Cohere: as they do, or raw.
    #[arg(long, env = "REWARD_DIALECT_SCORES", default_value = "peer")]
    pub(crate) dialect_scores: DialectScores,
    /// Tokens of one batch of the engine.
    #[arg(long, env = "REWARD_MAX_BATCH_TOKENS", default_value_t = 16_384)]
    pub(crate) max_batch_tokens: usize,
    /// Requests that are worked on at once.
    #[arg(long, env = "REWARD_MAX_CONCURRENT_REQUESTS", default_value_t = 512)]
    pub(crate) max_concurrent_requests: usize,
    /// Items of one request.
    #[arg(long, env = "REWARD_MAX_BATCH", default_value_t = 256)]
    pub(crate) max_batch: usize,
    /// Pairs of one evaluation.
    #[arg(long, env = "REWARD_MAX_PAIRS", default_value_t = 10_000)]
    pub(crate) max_pairs: usize,
    /// Unicode scalars of one text. A text that the request itself cuts, as with
    /// `truncate_prompt_tokens`, may have more: `--max-body-bytes` bounds it.
    #[arg(long, env = "REWARD_MAX_CHARACTERS", default_value_t = 10_000)]
    pub(crate) max_characters: usize,
    /// Bytes of one body, decompressed.
    #[arg(long, env = "REWARD_MAX_BODY_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub(crate) max_body_bytes: usize,
    /// The longest that a request may take, such as 10s.
    #[arg(long, env = "REWARD_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// The longest that an evaluation may take.
    #[arg(long, env = "REWARD_EVALUATE_TIMEOUT", default_value = "10m", value_parser = duration)]
    pub(crate) evaluate_timeout: Duration,
    /// How long requests are still taken after SIGTERM, until everybody knows.
    #[arg(long, env = "REWARD_DRAIN_DELAY", default_value = "5s", value_parser = duration)]
    pub(crate) drain_delay: Duration,
    /// How long requests that are under way may still take after that; evaluations and long lists, too,
    /// which have more time than --timeout. Never less than --timeout.
    #[arg(long, env = "REWARD_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
    /// Address of the API.
    #[arg(long, env = "REWARD_LISTEN", default_value = "[::]:8000")]
    pub(crate) listen: SocketAddr,
    /// Another address for health and metrics alone, out of the way of the API's clients.
    #[arg(long, env = "REWARD_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// A collector that takes the traces of requests over OTLP/HTTP, such as `http://HOST:4318`.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
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

impl ApiArgs {
    /// How requests are answered.
    pub(crate) fn settings(&self) -> http::Settings {
        http::Settings {
            limits: Limits {
                max_characters: self.max_characters,
                max_batch: self.max_batch,
            },
            max_pairs: self.max_pairs,
            max_body_bytes: self.max_body_bytes,
            max_batch_tokens: self.max_batch_tokens,
            max_concurrent_requests: self.max_concurrent_requests,
            timeout: self.timeout,
            evaluate_timeout: self.evaluate_timeout,
            dialect_scores: self.dialect_scores.into(),
        }
    }
}

/// Scores in the dialects of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectScores {
    /// As the peer's own defaults and the request say.
    Peer,
    /// Logits, always.
    Raw,
}

impl From<DialectScores> for http::DialectScores {
    fn from(scores: DialectScores) -> Self {
        match scores {
            DialectScores::Peer => Self::Peer,
            DialectScores::Raw => Self::Raw,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
