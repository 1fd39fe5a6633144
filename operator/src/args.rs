//! The command line. Every flag has an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    Run(Box<Run>),
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
    /// The same where its pods ask for nvidia.com/gpu; without it one that does has to name its own. Where
    /// --server-image computes on GPUs too, name it in both.
    #[arg(long, env = "OPERATOR_SERVER_IMAGE_CUDA")]
    pub(crate) server_image_cuda: Option<String>,
    /// How many RewardModels may load a new revision or exchange their routers at once in the cluster;
    /// the others wait and say so. Going back to what is warm waits for nobody.
    #[arg(long, env = "OPERATOR_MAX_LOADING", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) max_loading: usize,
    /// Labels of the namespaces that it acts in, as for `kubectl -l`; all without it. Of
    /// `kubernetes.io/metadata.name=NAME` it needs no right beyond that namespace.
    #[arg(long, env = "OPERATOR_NAMESPACE_SELECTOR")]
    pub(crate) namespace_selector: Option<String>,
    /// The Prometheus that gates and experiments ask, such as `http://prometheus.monitoring:9090`.
    #[arg(long, env = "OPERATOR_PROMETHEUS_URL", value_parser = http_url)]
    pub(crate) prometheus_url: Option<String>,
    /// File with the certificates, as PEM, that its https is checked with, where not with those of the system.
    #[arg(long, env = "OPERATOR_PROMETHEUS_CA", requires = "prometheus_url")]
    pub(crate) prometheus_ca: Option<PathBuf>,
    /// File with the bearer token that is shown to it; read anew for each question.
    #[arg(
        long,
        env = "OPERATOR_PROMETHEUS_TOKEN_FILE",
        requires = "prometheus_url"
    )]
    pub(crate) prometheus_token_file: Option<PathBuf>,
    /// The namespace that the operator runs in; by default that of its own account.
    #[arg(long, env = "OPERATOR_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Name of the Lease that the election is about.
    #[arg(long, env = "OPERATOR_LEASE", default_value = "betterai-operator")]
    pub(crate) lease: String,
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

fn http_url(text: &str) -> Result<String, String> {
    let parsed: hyper::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (parsed.scheme_str(), parsed.authority(), parsed.query()) {
        (Some("http" | "https"), Some(_), None) => Ok(text.to_owned()),
        (_, _, _) => {
            Err("write it as http(s)://HOST:PORT, with a path where it has one".to_owned())
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("with 0 nothing would ever start: write at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// Image of the scoring server that belongs to this version.
const DEFAULT_SERVER_IMAGE: &str = concat!(
    "docker.io/betterai/inference-server:",
    env!("CARGO_PKG_VERSION")
);
