//! `score`: JSON lines in, the same lines with their scores out.
//!
//! Invariants: one line out for each line in, in their order; fields that are not ours are kept; a
//! line that cannot be scored gets an `error` and the run goes on.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use inference_api::Limits;
use inference_api::native::PredictRequest;
use inference_models::{EncodeOptions, Model, Packed};
use inference_scoring::text_input;
use serde_json::{Map, Value};

use crate::args::Score;

/// Lines that are scored together.
const CHUNK: usize = 256;
/// A file has no limits but those of memory.
const UNLIMITED: Limits = Limits {
    max_characters: usize::MAX,
    max_batch: usize::MAX,
};

/// Scores a file.
///
/// # Errors
/// When a file or the model cannot be read, or at the end when a line could not be scored.
pub(crate) fn run(args: &Score) -> anyhow::Result<()> {
    let model = inference_models::load(&args.model.model, &args.model.options())
        .map_err(|error| anyhow::anyhow!("{}: {error}", error.reason))?;
    let labels = model.facts.labels.len();
    anyhow::ensure!(
        args.label < labels,
        "--label {}: the model has {labels} labels",
        args.label
    );
    let input = reader(&args.input)?;
    let mut output = writer(&args.output)?;
    let progress = progress();
    let (mut bad, mut chunk) = (0_usize, Vec::new());
    for line in input.lines() {
        chunk.push(line.with_context(|| format!("{} cannot be read", args.input.display()))?);
        if chunk.len() == CHUNK {
            bad += score(&model, args, &chunk, &mut output)?;
            progress.inc(chunk.len() as u64);
            chunk.clear();
        }
    }
    bad += score(&model, args, &chunk, &mut output)?;
    output.flush().context("the output cannot be written")?;
    progress.finish_and_clear();
    if bad > 0 {
        bail!("{bad} lines could not be scored: look for \"error\" in the output");
    }
    Ok(())
}

fn reader(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("--input {}", path.display()))?)
    };
    Ok(Box::new(BufReader::new(source)))
}

fn writer(path: &Path) -> anyhow::Result<BufWriter<Box<dyn Write>>> {
    let target: Box<dyn Write> = if path == Path::new("-") {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create(path).with_context(|| format!("--output {}", path.display()))?)
    };
    Ok(BufWriter::new(target))
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos} lines, {per_sec}, {elapsed}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Scores a chunk; answers how many lines could not be.
fn score(
    model: &Model,
    args: &Score,
    lines: &[String],
    output: &mut impl Write,
) -> anyhow::Result<usize> {
    let mut batch = Packed::default();
    let mut rows = Vec::new();
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let (fields, encoded) = read(model, line);
        if let Ok(encoded) = &encoded {
            batch.push(&encoded.ids, &encoded.type_ids);
        }
        rows.push((fields, encoded.map(|_| ())));
    }
    let mut logits = model.engine.forward(&batch)?.into_iter();
    let mut bad = 0;
    for (mut fields, readable) in rows {
        let score = readable.and_then(|()| {
            let all = logits.next().unwrap_or_default();
            let logit = all
                .get(args.label)
                .copied()
                .filter(|logit| logit.is_finite());
            logit.ok_or_else(|| "the model's score is not finite".to_owned())
        });
        match score {
            Ok(score) => fields.insert(args.field.clone(), Value::from(score)),
            Err(error) => {
                bad += 1;
                fields.remove(&args.field);
                fields.insert("error".to_owned(), Value::from(error))
            }
        };
        serde_json::to_writer(&mut *output, &fields).context("the output cannot be written")?;
        writeln!(output).context("the output cannot be written")?;
    }
    Ok(bad)
}

/// The line's fields, and its tokens or why it has none.
fn read(
    model: &Model,
    line: &str,
) -> (
    Map<String, Value>,
    Result<inference_models::Encoded, String>,
) {
    let fields: Map<String, Value> = match serde_json::from_str(line) {
        Ok(fields) => fields,
        Err(error) => return (Map::new(), Err(format!("not a JSON object: {error}"))),
    };
    let encoded = serde_json::from_str::<PredictRequest>(line)
        .map_err(|error| error.to_string())
        .and_then(|request| {
            request
                .into_input(&UNLIMITED)
                .map_err(|problem| problem.detail)
        })
        .and_then(|input| {
            model
                .tokenizer
                .encode(&text_input(input), EncodeOptions::default())
                .map_err(|error| error.to_string())
        });
    (fields, encoded)
}
