//! `kubectl rewards`: what people ask of experiments and promotions from their own machine.
//!
//! Everything but [`shell`] is pure: text and objects in, text out. Here is only how a command's outcome
//! becomes output and an exit code.

mod args;
mod explain;
mod failure;
mod manifest;
mod plan;
mod replay;
mod shell;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    // What is built beside this program may bring another provider of cryptography along, and then none is
    // chosen by itself. An error means that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    let outcome = match args.command {
        Command::Plan(plan) => shell::plan(&plan),
        Command::Replay(replay) => shell::replay(&replay),
        Command::Explain(explain) => shell::explain(&explain, &args.cluster),
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
