//! The client of the demo and of the cluster tests: fills the claim, measures accuracy, sends load.

use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use e2e::http::Client;
use e2e::{accuracy, feedback, fill, load, users};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

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
    /// Sends preference pairs as feedback to a rollout.
    Feedback {
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
        /// So many users ask, instead of the prompts alone.
        #[arg(long)]
        users: Option<NonZero<u32>>,
        /// Seconds, where nobody stops it before.
        #[arg(long)]
        duration: u64,
    },
    /// Ends the load of the container that it is run in: what it was sent is in its report.
    Stop,
    /// Has users ask, and say what they think of the variant that has answered.
    Users {
        #[arg(long)]
        url: String,
        #[arg(long, default_value = "/preferences-eval.jsonl")]
        pairs: PathBuf,
        #[arg(long, default_value_t = 1_000)]
        users: usize,
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// Seconds.
        #[arg(long)]
        duration: u64,
        #[arg(long, default_value = "accepted")]
        event: String,
        /// VARIANT=CHANCE, of each user who is content.
        #[arg(long, value_parser = chance)]
        chance: Vec<(String, f64)>,
    },
}

fn chance(text: &str) -> anyhow::Result<(String, f64)> {
    let (variant, chance) = text.split_once('=').context("write VARIANT=CHANCE")?;
    Ok((variant.to_owned(), chance.parse()?))
}

/// Is set after so many seconds, or when the process is asked to end.
fn stopping(after: u64) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    std::thread::spawn(move || {
        let within = Duration::from_secs(after);
        // An error is the end of the time.
        let _ = runtime.block_on(async { tokio::time::timeout(within, terminate.recv()).await });
        set.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// The first process of a container is its load.
fn stop() -> anyhow::Result<()> {
    let first = Pid::from_raw(1).context("no first process")?;
    Ok(kill_process(first, Signal::TERM)?)
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Fill { from, to, spoil } => fill::run(&from, &to, spoil.as_deref()),
        Command::Evaluate { url, pairs } => print(&accuracy::measure(
            &Client::new(&url)?,
            &accuracy::pairs(&pairs)?,
        )?),
        Command::Feedback { url, pairs } => print(&feedback::send(
            &Client::new(&url)?,
            &accuracy::pairs(&pairs)?,
        )?),
        Command::Load {
            url,
            pairs,
            rate,
            users,
            duration,
        } => {
            let client = Arc::new(Client::new(&url)?);
            client.until_reached();
            let stop = stopping(duration)?;
            let pairs = accuracy::pairs(&pairs)?;
            print(&load::run(&client, &pairs, (rate, users), &stop))
        }
        Command::Stop => stop(),
        Command::Users {
            url,
            pairs,
            users: count,
            rate,
            duration,
            event,
            chance,
        } => {
            let client = Client::new(&url)?;
            client.until_reached();
            let stop = stopping(duration)?;
            print(&users::run(
                &client,
                &accuracy::pairs(&pairs)?,
                (count, rate),
                (&event, &chance.into_iter().collect()),
                &stop,
            )?)
        }
    }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(value)?)?;
    Ok(())
}
