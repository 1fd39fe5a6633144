//! `score`: JSON lines in, the same lines with their scores out.
//!
//! Invariants: one line out for each line in that is not blank, in their order; fields that are not
//! ours are kept; a line that cannot be scored gets an `error` and the run goes on; an interrupted
//! run is continued, not repeated.

mod fields;
mod resume;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use inference_api::Limits;
use inference_api::native::PredictRequest;
use inference_engine::text_input;
use inference_models::{EncodeOptions, Model, Packed};
use serde_json::{Value, json};

use self::fields::Fields;
use super::{lines, model, progress};
use crate::args::Score;

/// Lines that are scored together.
const CHUNK: usize = 256;

/// Scores a file.
///
/// # Errors
/// When a file or the model cannot be read, or at the end when a line could not be scored.
pub(crate) fn run(args: &Score) -> anyhow::Result<()> {
    let field = args.field.as_str();
    ensure!(
        field != "error" && !PredictRequest::MEMBERS.contains(&field),
        "--score-field {field}: lines have a member of that name, which would be lost; choose another"
    );
    let model = model::open(&args.model.model, &args.model.how.load(), args.label)?;
    let (input, size) = reader(&args.input)?;
    let progress = progress::bytes("scoring", size);
    let mut lines = BufReader::new(progress.wrap_read(input))
        .split(b'\n')
        .map(|line| line.with_context(|| format!("{} cannot be read", args.input.display())))
        .filter(|line| !matches!(line, Ok(line) if line.trim_ascii().is_empty()));
    let (mut output, mut bad) = writer(args, &model, &mut lines)?;
    loop {
        let chunk: Vec<Vec<u8>> = lines.by_ref().take(CHUNK).collect::<anyhow::Result<_>>()?;
        if chunk.is_empty() {
            break;
        }
        bad += score(&model, args, &chunk, &mut output)?;
        // What is done is not done again after a crash.
        output.flush().context("the output cannot be written")?;
    }
    progress.finish_and_clear();
    if bad > 0 {
        bail!("{bad} lines could not be scored: look for \"error\" in the output");
    }
    Ok(())
}

/// The input, and its bytes where they are known.
fn reader(path: &Path) -> anyhow::Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let file = File::open(path).with_context(|| format!("--input {}", path.display()))?;
    let size = file.metadata().map(|metadata| metadata.len()).ok();
    Ok((Box::new(file), size))
}

/// The output, and how many of its lines have an error. What an interrupted run has done already is
/// taken from `lines`.
fn writer(
    args: &Score,
    model: &Model,
    lines: &mut impl Iterator<Item = anyhow::Result<Vec<u8>>>,
) -> anyhow::Result<(BufWriter<Box<dyn Write>>, usize)> {
    if args.output == Path::new("-") {
        return Ok((BufWriter::new(Box::new(std::io::stdout())), 0));
    }
    let done = resume::open(&args.output, &settings(args, model), &args.field)?;
    let mut input = None;
    for _ in 0..done.lines {
        input = lines.next().transpose()?;
    }
    if let Some(last) = &done.last {
        let same = input.is_some_and(|input| resume::made_of(last, &input, &args.field));
        ensure!(
            same,
            "--output {} was made of another input: its line {} is not that of {}; remove it, or choose another name",
            args.output.display(),
            done.lines,
            args.input.display()
        );
        tracing::debug!(lines = done.lines, "going on");
    }
    Ok((BufWriter::new(Box::new(done.file)), done.errors))
}

/// What the scores depend on.
fn settings(args: &Score, model: &Model) -> Value {
    json!({
        "digest": model.facts.digest.as_str(),
        "dtype": model.facts.dtype.as_str(),
        "engine": model.facts.engine,
        "max_tokens": model.tokenizer.max_tokens(),
        "truncation": format!("{:?}", args.model.how.load().truncation),
        "prompt_template": args.model.how.prompt_template,
        "single_bos": args.model.how.single_bos,
        "special_date": model.facts.special_date,
        "label": args.label,
        "score_field": args.field,
    })
}

/// Scores a chunk; answers how many lines could not be.
fn score(
    model: &Model,
    args: &Score,
    lines: &[Vec<u8>],
    output: &mut impl Write,
) -> anyhow::Result<usize> {
    let mut batch = Packed::default();
    let mut rows = Vec::new();
    for line in lines {
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
            Ok(score) => fields.set(&args.field, &score)?,
            Err(error) => {
                bad += 1;
                fields.remove(&args.field);
                fields.set("error", &error)?;
            }
        }
        serde_json::to_writer(&mut *output, &fields).context("the output cannot be written")?;
        writeln!(output).context("the output cannot be written")?;
    }
    Ok(bad)
}

/// What the line asks for; it may hold members that are none of a request's.
fn request(line: &[u8]) -> Result<PredictRequest, String> {
    lines::of_members(line, &PredictRequest::MEMBERS).map_err(|error| error.to_string())
}

/// The line's fields, and its tokens or why it has none.
fn read(model: &Model, line: &[u8]) -> (Fields, Result<inference_models::Encoded, String>) {
    let fields: Fields = match serde_json::from_slice(line) {
        Ok(fields) => fields,
        Err(error) => {
            return (
                Fields::default(),
                Err(format!("not a JSON object: {error}")),
            );
        }
    };
    let encoded = request(line)
        .and_then(|request| {
            request
                .into_input(&Limits::UNLIMITED)
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
