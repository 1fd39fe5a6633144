//! What the cluster claims and the benches are judged by: one program, for the scripts of `e2e/claims`,
//! `e2e/bench` and `hack/load`. Each answer is JSON on the last line.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use e2e::claims::{audit, pods};
use e2e::rollback::{Case, Outcome, Plan, Row, measure, table};
use e2e::{accuracy, scale};
use kube::Client;
use serde::Serialize;
use serde_json::json;

#[derive(Parser)]
enum Command {
    /// The steps of rollouts by the audit log; exit code 1 where one was entered twice or a share fell.
    Audit {
        #[arg(long)]
        log: PathBuf,
        /// Bytes of the log that were there before.
        #[arg(long, default_value_t = 0)]
        skip: usize,
        #[arg(long, default_value = "demo")]
        namespace: String,
        #[arg(long, default_value = "helpfulness")]
        model: String,
    },
    /// Watches the scoring pods of a model until the file is there, and prints what was seen.
    Pods {
        #[arg(long, default_value = "demo")]
        namespace: String,
        #[arg(long, default_value = "helpfulness")]
        model: String,
        #[arg(long)]
        until: PathBuf,
    },
    /// What many RewardModels cost a running operator; `hack/load/operator-scale` starts all that it takes.
    Scale(Scale),
    /// How long a canary that turns bad has traffic; it runs where pods can be reached.
    Rollback(Rollback),
}

#[derive(clap::Args)]
struct Scale {
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

#[derive(clap::Args)]
struct Rollback {
    /// A namespace with a claim `models` that has the demo models.
    #[arg(long, default_value = "bench")]
    namespace: String,
    /// The image of the faulty server.
    #[arg(long, default_value = "docker.io/betterai/faulty:dev")]
    image: String,
    #[arg(long, default_value = "/preferences-eval.jsonl")]
    pairs: PathBuf,
    /// How often each case.
    #[arg(long, env = "RUNS", default_value_t = 3)]
    runs: usize,
    /// `FAULT/RATE/WEIGHT/on` or `off`, again and again; all by default.
    #[arg(long = "case")]
    cases: Vec<Case>,
    /// Fails where a run took longer than so many seconds, or somebody was harmed.
    #[arg(long)]
    at_most: Option<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    // Another provider of cryptography may be linked in too; an error means that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::Audit {
            log,
            skip,
            namespace,
            model,
        } => {
            let bytes = std::fs::read(&log).with_context(|| format!("read {}", log.display()))?;
            let text = String::from_utf8_lossy(bytes.get(skip..).unwrap_or_default());
            let rollouts = audit::read(text.lines(), &namespace, &model);
            print(&rollouts)?;
            anyhow::ensure!(rollouts.wrong.is_empty(), "{}", rollouts.wrong.join("; "));
            anyhow::ensure!(
                !rollouts.entered.is_empty(),
                "the log has no rollout of {model}"
            );
            Ok(())
        }
        Command::Pods {
            namespace,
            model,
            until,
        } => {
            let end = async {
                while !until.exists() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            print(&pods::watch(&namespace, &model, end).await?)
        }
        Command::Scale(args) => scale(&args).await,
        Command::Rollback(args) => rollback(args).await,
    }
}

async fn scale(args: &Scale) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let figures = scale::measure(
        &client,
        args.pid,
        args.models,
        Duration::from_secs(args.patience),
        Duration::from_secs(args.idle),
    );
    let figures = tokio::select! {
        figures = figures => figures?,
        ended = scale::stand_in(client.clone()) => {
            ended?;
            anyhow::bail!("the stand-in has ended");
        }
    };
    print(&figures)
}

async fn rollback(args: Rollback) -> anyhow::Result<()> {
    let cluster = Client::try_default().await?;
    let plan = Plan {
        namespace: args.namespace,
        image: args.image,
        cases: if args.cases.is_empty() {
            Case::all()
        } else {
            args.cases
        },
        runs: args.runs,
    };
    let pairs = accuracy::pairs(&args.pairs)?;
    let mut tell = |case: Case, outcome: &anyhow::Result<Outcome>| {
        let words = match outcome {
            Ok(outcome) => json!(outcome).to_string(),
            Err(error) => format!("NOT MEASURED: {error:#}"),
        };
        // Nobody who reads is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{case} {words}");
    };
    let outcomes = measure(cluster, &plan, &pairs, &mut tell).await?;
    let rows: Vec<Row> = outcomes
        .iter()
        .map(|(case, runs)| Row::of(*case, runs))
        .collect();
    write!(std::io::stdout(), "\n{}", table(&rows))?;
    print(&rows)?;
    let Some(most) = args.at_most else {
        return Ok(());
    };
    let bad = |row: &&Row| row.harmed > 0 || row.worst_s.is_none_or(|worst| worst > most);
    anyhow::ensure!(
        rows.iter().find(bad).is_none(),
        "above {most} s, or somebody was harmed"
    );
    Ok(())
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(value)?)?;
    Ok(())
}
