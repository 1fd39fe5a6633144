//! The operator's program: reads its arguments and starts what they ask for.

mod args;
mod controllers;
mod metrics;
mod runtime;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    // What is built beside this program may bring another provider of cryptography along, and then
    // none is chosen by itself. An error means that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Args::parse().command {
        Command::Run(run) => block_on(controllers::run(*run)),
        Command::Health(health) => block_on(runtime::admin::ask(health.url)),
        Command::Crds => print_crds(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Two threads are plenty for a program that waits, and keep its memory small.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}

fn print_crds() -> anyhow::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(crds::to_yaml()?.as_bytes())?;
    Ok(())
}
