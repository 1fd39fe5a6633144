//! Measures what many RewardModels cost a running operator; `hack/load/operator-scale` starts all
//! that it takes.

use std::time::Duration;

use clap::Parser;
use kube::Client;

#[derive(Parser)]
struct Args {
    /// The operator's process.
    #[arg(long)]
    pid: u32,
    /// How many RewardModels.
    #[arg(long, default_value_t = 200)]
    models: usize,
    /// Seconds that they may take to be Ready.
    #[arg(long, default_value_t = 900)]
    patience: u64,
    /// Seconds without work that are measured.
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = Client::try_default().await?;
    let figures = e2e::scale::measure(
        &client,
        args.pid,
        args.models,
        Duration::from_secs(args.patience),
        Duration::from_secs(args.idle),
    );
    let figures = tokio::select! {
        figures = figures => figures?,
        ended = e2e::scale::stand_in(client.clone()) => {
            ended?;
            anyhow::bail!("the stand-in has ended");
        }
    };
    #[expect(
        clippy::print_stdout,
        reason = "the figures are what this program is for"
    )]
    {
        println!("{}", serde_json::to_string(&figures)?);
    }
    Ok(())
}
