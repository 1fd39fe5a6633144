//! The command line. Every flag has an environment variable.

mod api;
mod edge;
mod model;
mod route;
mod serve;
mod tools;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub(crate) use api::{ApiArgs, LogFormat};
pub(crate) use edge::EdgeArgs;
pub(crate) use model::{ModelArgs, ModelOptions};
pub(crate) use route::Route;
pub(crate) use serve::Serve;
pub(crate) use tools::{Evaluate, Fetch, Health, Score, Verify};

/// Scores texts with reward models.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves a model over HTTP.
    Serve(Box<Serve>),
    /// Stands before the revisions of a model, and decides who is served by which.
    Route(Box<Route>),
    /// Scores a file of JSON lines.
    Score(Score),
    /// Says how often a model prefers what people prefer.
    Evaluate(Box<Evaluate>),
    /// Checks a model's files and scores once with it.
    Verify(Verify),
    /// Fetches a model's files into a folder.
    Fetch(Fetch),
    /// Asks a running server whether it is ready; exit code 1 if not.
    Health(Health),
    /// Prints the API as an `OpenAPI` document.
    Openapi,
}

impl Command {
    /// Threads of the engine, for those commands that have one; 0 is one for each core.
    pub(crate) fn threads(&self) -> Option<usize> {
        match self {
            Self::Serve(serve) => Some(serve.model.how.threads),
            Self::Score(score) => Some(score.model.how.threads),
            Self::Evaluate(evaluate) => Some(evaluate.options.threads),
            Self::Verify(verify) => Some(verify.model.how.threads),
            // What is put into a cache is scored with once.
            Self::Fetch(fetch) => fetch.cache.as_ref().map(|_| 0),
            Self::Route(_) | Self::Health(_) | Self::Openapi => None,
        }
    }
}

/// Reads `500ms`, `10s`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    units
        .into_iter()
        .find_map(|(unit, factor)| {
            let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
            count.checked_mul(factor).map(Duration::from_millis)
        })
        .ok_or_else(|| format!("{text:?} is no duration: write 500ms, 10s, 2m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_cache_is_swept_only_by_who_says_who_and_when() {
        let parse = |more: &str| {
            let words = format!("inference-server fetch s3://a/b {more}");
            Args::try_parse_from(words.split_whitespace()).is_ok()
        };
        let digest = format!("--keep sha256:{}", "a".repeat(64));
        let as_of = "--as-of 2026-01-31T12:00:00Z";
        assert!(parse("--cache c"));
        assert!(parse("--to d"));
        assert!(parse(&format!("--cache c --owner o {as_of} {digest}")));
        for bad in [
            "",
            "--cache c --to d",
            "--cache c --as-of yesterday --owner o",
            &format!("--cache c {as_of}"),
            &format!("--to d --owner o {as_of}"),
            &format!("--cache c --owner o {digest}"),
        ] {
            assert!(!parse(bad), "{bad}");
        }
    }

    #[test]
    fn a_device_that_this_build_lacks_says_what_to_do() {
        let parse = |device: &str| {
            let words = format!("inference-server serve --model m --device {device}");
            Args::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())
        };
        assert!(parse("cpu").is_ok());
        for device in ["cuda", "cuda:1"] {
            let why = parse(device).unwrap_err();
            assert!(why.contains("built without CUDA"), "{why}");
            assert!(why.contains("--device=cpu"), "{why}");
        }
        assert!(parse("tpu").is_err());
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_own_name() {
        use clap::CommandFactory;
        for command in Args::command().get_subcommands() {
            for flag in command.get_arguments() {
                let Some(long) = flag.get_long().filter(|long| *long != "help") else {
                    continue;
                };
                let env = flag.get_env().and_then(|env| env.to_str());
                let env = env.unwrap_or_default();
                // The one that every program with OpenTelemetry has.
                let standard = env == "OTEL_EXPORTER_OTLP_ENDPOINT";
                let known = env.starts_with("REWARD_") || standard;
                assert!(known, "--{long} has no variable");
            }
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1d",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
