//! The command line. Every flag has an environment variable.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

/// Ships reward models on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watches RewardModels and makes them so.
    Run(Run),
    /// Asks a running operator whether it is alive; exit code 1 if not.
    Health(Health),
    /// Prints the custom resource definitions.
    Crds,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// Image of the scoring server where a RewardModel names none.
    #[arg(long, env = "OPERATOR_SERVER_IMAGE", default_value = DEFAULT_SERVER_IMAGE)]
    pub(crate) server_image: String,
    /// The same where its pods ask for nvidia.com/gpu; --server-image when absent.
    #[arg(long, env = "OPERATOR_SERVER_IMAGE_CUDA")]
    pub(crate) server_image_cuda: Option<String>,
    /// The namespace that the operator runs in; by default that of its own account.
    #[arg(long, env = "OPERATOR_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Address of /health/live, /health/ready and /metrics.
    #[arg(long, env = "OPERATOR_LISTEN", default_value = "[::]:8080")]
    pub(crate) listen: SocketAddr,
    /// What is logged, such as `info` or `info,operator=debug`.
    #[arg(long, env = "OPERATOR_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How it is written.
    #[arg(long, env = "OPERATOR_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Health {
    /// What is asked.
    #[arg(
        long,
        env = "OPERATOR_HEALTH_URL",
        default_value = "http://127.0.0.1:8080/health/live"
    )]
    pub(crate) url: String,
}

/// Image of the scoring server that belongs to this version.
const DEFAULT_SERVER_IMAGE: &str = concat!(
    "docker.io/betterai/inference-server:",
    env!("CARGO_PKG_VERSION")
);
