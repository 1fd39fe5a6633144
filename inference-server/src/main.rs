//! The server's program: reads its arguments and starts what they ask for.

mod args;
mod cli;
mod environment;
mod http;
mod judgement;
mod logging;
mod metrics;
mod route;
mod serve;
mod shell;
mod spans;
mod threads;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// glibc's allocator takes a sixth more memory under a flood of requests, and twice the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Args::parse().command;
    if let Some(threads) = command.threads() {
        environment::prepare(threads);
    }
    // What is built beside this program may bring another provider of cryptography along, and then
    // none is chosen by itself. An error means that one is chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let outcome = match command {
        Command::Serve(serve) => serve::run(*serve),
        Command::Route(route) => route::run(*route),
        Command::Score(score) => cli::score::run(&score),
        Command::Evaluate(evaluate) => cli::evaluate::run(&evaluate),
        Command::Fetch(fetch) => cli::fetch::run(&fetch),
        Command::Verify(verify) => cli::verify::run(&verify),
        Command::Health(health) => cli::health::run(&health),
        Command::Openapi => http::openapi::print(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

/// A source that may answer the next time is told from one that says no, as in `sysexits.h`: whoever
/// starts Jobs tries again.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<cli::fetch::Failure>() {
        Some(failure) if failure.passes => ExitCode::from(cli::fetch::TRY_AGAIN),
        Some(_) | None => ExitCode::FAILURE,
    }
}
