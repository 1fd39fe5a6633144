//! The client of the demo and of the cluster tests: fills the claim, measures accuracy, sends load.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use e2e::http::Client;
use e2e::{accuracy, fill, load};
use serde::Serialize;

#[derive(Parser)]
enum Command {
    /// Copies the demo models into a volume.
    Fill {
        #[arg(long, default_value = "/demo-models")]
        from: PathBuf,
        #[arg(long)]
        to: PathBuf,
        /// A model of which spoiled copies are made too, named MODEL-WAY.
        #[arg(long)]
        spoil: Option<String>,
    },
    /// Scores preference pairs and prints the accuracy.
    Evaluate {
        #[arg(long)]
        url: String,
        #[arg(long, default_value = "/preferences-eval.jsonl")]
        pairs: PathBuf,
    },
    /// Sends open-loop load and prints what became of it.
    Load {
        #[arg(long)]
        url: String,
        #[arg(long, default_value = "/preferences-eval.jsonl")]
        pairs: PathBuf,
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// Seconds.
        #[arg(long)]
        duration: u64,
    },
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Fill { from, to, spoil } => fill::run(&from, &to, spoil.as_deref()),
        Command::Evaluate { url, pairs } => print(&accuracy::measure(
            &Client::new(&url)?,
            &accuracy::pairs(&pairs)?,
        )?),
        Command::Load {
            url,
            pairs,
            rate,
            duration,
        } => {
            let client = Arc::new(Client::new(&url)?);
            let stop = Arc::new(AtomicBool::new(false));
            let timer = stop.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(duration));
                timer.store(true, Ordering::Relaxed);
            });
            print(&load::run(&client, &accuracy::pairs(&pairs)?, rate, &stop))
        }
    }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(value)?)?;
    Ok(())
}
