//! `kubectl rewards`: what people ask of rollouts and experiments, and tell them, from their own machine.
//!
//! Everything but [`shell`] is pure: text and objects in, text out. Here is only how a command's outcome
//! becomes output and an exit code.

mod args;
mod explain;
mod failure;
mod history;
mod manifest;
mod order;
mod plan;
mod replay;
mod shell;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;
use operator_core::rollout::commands::Verb;

fn main() -> ExitCode {
    // What is built beside this program may bring another provider of cryptography along, and then none is
    // chosen by itself. An error means that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    let outcome = match args.command {
        Command::Plan(plan) => shell::plan(&plan),
        Command::Replay(replay) => shell::replay(&replay),
        Command::Explain(explain) => shell::explain(&explain, &args.cluster),
        Command::History(history) => shell::history(&history, &args.cluster),
        Command::Promote(order) => shell::order(Verb::Promote, &order, &args.cluster),
        Command::Abort(order) => shell::order(Verb::Abort, &order, &args.cluster),
        Command::Rollback(order) => shell::order(Verb::Rollback, &order, &args.cluster),
        Command::Retry(order) => shell::order(Verb::Retry, &order, &args.cluster),
        Command::Pause(order) => shell::order(Verb::Pause, &order, &args.cluster),
        Command::Resume(order) => shell::order(Verb::Resume, &order, &args.cluster),
        Command::Approve(order) => shell::order(Verb::Approve, &order, &args.cluster),
        Command::SkipStep(order) => shell::order(Verb::SkipStep, &order, &args.cluster),
    };
    match outcome.and_then(|text| print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads no further has read enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
