//! A hub and an object store of the demo's models: see `e2e::source`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use e2e::source::{Source, serve};

#[derive(Parser)]
struct Args {
    /// A folder of models.
    #[arg(long, default_value = "/demo-models")]
    models: PathBuf,
    /// Where it listens.
    #[arg(long, default_value = "[::]:8080")]
    listen: SocketAddr,
    /// The token that the hub asks for.
    #[arg(long, env = "SOURCE_TOKEN", hide_env_values = true)]
    token: String,
    /// The key id that the store asks for.
    #[arg(long, env = "SOURCE_KEY", hide_env_values = true)]
    key: String,
    /// The most bytes of one answer; then it breaks off.
    #[arg(long, default_value_t = usize::MAX)]
    most: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let source = Source {
        folder: args.models,
        token: args.token,
        key: args.key,
        most: args.most,
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(serve(source, args.listen))
}
