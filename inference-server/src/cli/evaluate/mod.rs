//! `evaluate`: how often a model prefers what people prefer, and how another one does on the same
//! pairs.
//!
//! Owns the reading of pairs and the output. Invariant: the JSON has the fields of `POST /evaluate`.

mod comparison;
mod document;
mod server;
mod source;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use inference_api::Limits;
use inference_api::evaluate::{EvaluateResponse, Pair};
use inference_models::Digest;
use inference_scoring::calibration::{Calibration, fit};
use inference_scoring::evaluation::{self, ScoredPair};
use serde::Serialize;
use sha2::Digest as _;

use self::comparison::Comparison;
use self::document::Document;
use self::source::Source;
use crate::args::Evaluate;
use crate::cli::lines;
use crate::judgement;

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    own: EvaluateResponse,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<EvaluateResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
}

/// Evaluates.
///
/// # Errors
/// When pairs, model or server cannot be read.
pub(crate) fn run(args: &Evaluate) -> anyhow::Result<()> {
    let outcome = evaluated(args);
    if let Some(file) = &args.output {
        let document = match &outcome {
            Ok((document, _)) => document,
            Err(error) => &Document::bad(error),
        };
        document.write(file)?;
    }
    let (_, report) = outcome?;
    let text = if args.json {
        format!("{}\n", serde_json::to_string(&report)?)
    } else {
        table::render(&report)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("the result cannot be written")
}

fn evaluated(args: &Evaluate) -> anyhow::Result<(Document, Report)> {
    let (pairs, set) = pairs(&args.pairs)?;
    let source = Source::open(args)?;
    let (scored, version, seconds) = score(&source, &pairs)?;
    let calibration = if args.calibrate {
        let calibration = fit(&scored).map_err(|error| anyhow::anyhow!("--calibrate: {error}"))?;
        write_calibration(args, calibration)?;
        Some(calibration)
    } else {
        None
    };
    let own = judgement::response(
        &evaluation::evaluate(&scored, calibration)?,
        seconds,
        version,
    );
    let known = args.against_known.as_ref() == Some(&set);
    let Some(url) = args.against.as_ref().filter(|_| !known) else {
        let report = Report {
            own,
            calibration,
            against: None,
            comparison: None,
        };
        return Ok((Document::scored(&set, &scored, None), report));
    };
    let (other, version, seconds) = score(&Source::server(url, args)?, &pairs)?;
    let comparison = comparison::of(&scored, &other);
    let found = evaluation::evaluate(&other, None)?;
    let document = Document::scored(&set, &scored, Some((&other, &comparison)));
    let report = Report {
        own,
        calibration,
        against: Some(judgement::response(&found, seconds, version)),
        comparison: Some(comparison),
    };
    Ok((document, report))
}

fn score(source: &Source, pairs: &[Pair]) -> anyhow::Result<(Vec<ScoredPair>, String, f64)> {
    let began = Instant::now();
    let (rows, version) = source.scores(pairs)?;
    let scored = pairs.iter().zip(rows).map(|(pair, row)| ScoredPair {
        chosen: row.0,
        rejected: row.1,
        weight: pair.weight.unwrap_or(1.0),
        category: pair.category.clone(),
    });
    Ok((scored.collect(), version, began.elapsed().as_secs_f64()))
}

/// The pairs of a file, and its SHA-256.
fn pairs(path: &Path) -> anyhow::Result<(Vec<Pair>, Digest)> {
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("--pairs {name}"))?;
    let mut pairs = Vec::new();
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let pair: Pair = lines::of_members(line, &Pair::MEMBERS).with_context(|| {
            format!(
                "{name}, line {}: write {{\"prompt\"?, \"chosen\", \"rejected\", \"category\"?}}",
                i + 1
            )
        })?;
        if let Err(problem) = pair.check(&Limits::UNLIMITED) {
            bail!("{name}, line {}: {}", i + 1, problem.detail);
        }
        pairs.push(pair);
    }
    if pairs.is_empty() {
        bail!("--pairs {name} has no line");
    }
    let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&bytes)));
    let digest = Digest::parse(&digest).map_err(anyhow::Error::msg)?;
    Ok((pairs, digest))
}

/// Beside the model, where `serve` is pointed to it; in this folder for a server elsewhere.
fn write_calibration(args: &Evaluate, calibration: Calibration) -> anyhow::Result<()> {
    let folder = args
        .source
        .model
        .clone()
        .unwrap_or_else(|| PathBuf::from("."));
    let path = folder.join("calibration.json");
    let text = serde_json::to_string_pretty(&calibration)?;
    std::fs::write(&path, text + "\n")
        .with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!(
        "scale {:.4}, shift {:.4}: serve with --calibration {}",
        calibration.scale(),
        calibration.shift(),
        path.display()
    );
    Ok(())
}
