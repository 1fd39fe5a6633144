//! The program gives the reference's scores by every way in, and the same bits by every way of asking.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are read with --nocapture"
)]

mod bits;
mod fixtures;
mod releases;
mod server;
#[path = "../../models/tests/common/texts.rs"]
mod texts;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use fixtures::{Reference, references};
use server::{Client, PROGRAM, Server};

const TOLERANCE: f32 = 1e-4;

fn difference(found: &[f32], wanted: &[f32], what: &str) -> f32 {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let pairs = found.iter().zip(wanted);
    let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest <= TOLERANCE, "{what}: {found:?}, not {wanted:?}");
    largest
}

/// All logits of an answer of `POST /predict`.
fn logits(answer: &Value, labels: &[String]) -> Vec<f32> {
    let number = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    if labels.len() == 1 {
        assert!(answer.get("scores").is_none(), "{answer}");
        return vec![number(&answer["reward_score"])];
    }
    let scores: Vec<_> = labels
        .iter()
        .map(|label| number(&answer["scores"][label]))
        .collect();
    assert_eq!(answer["reward_score"], answer["scores"][&labels[0]]);
    scores
}

/// The largest difference of `POST /predict`; answers say how many tokens were scored too.
fn over_http(model: &Reference) -> f32 {
    let server = Server::start(&model.folder, &model.flags());
    let mut client = Client::of(&server);
    let mut largest = 0f32;
    for line in &model.lines {
        let answer = client.post("/predict", &line.request());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let what = format!("{}: {}", model.name, line.request());
        if let Some(tokens) = line.tokens() {
            assert_eq!(answer["tokens"], tokens, "{what}");
        }
        let found = logits(&answer, &model.labels);
        largest = largest.max(difference(&found, &line.logits(), &what));
    }
    largest
}

/// One logit of each line of the file, as `score` writes it.
fn scored(model: &Reference, output: &Path, label: usize) -> Vec<f32> {
    let outcome = Command::new(PROGRAM)
        .args(["score", "--score-field", "ours", "--label"])
        .arg(label.to_string())
        .arg("--model")
        .arg(&model.folder)
        .arg("--input")
        .arg(model.folder.join("expected.jsonl"))
        .arg("--output")
        .arg(output)
        .args(["--dtype", "f32", "--max-tokens"])
        .arg(model.max_tokens.to_string())
        .output()
        .unwrap();
    assert!(outcome.status.success(), "{}: {outcome:?}", model.name);
    let text = std::fs::read_to_string(output).unwrap();
    let score = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        serde_json::from_value(row["ours"].clone()).unwrap()
    };
    text.lines().map(score).collect()
}

/// The largest difference of `score`, once for each label.
fn by_file(model: &Reference) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let mut largest = 0f32;
    for label in 0..model.labels.len() {
        let output = folder.path().join(format!("{label}.jsonl"));
        let found = scored(model, &output, label);
        assert_eq!(found.len(), model.lines.len(), "{}", model.name);
        for (found, line) in found.iter().zip(&model.lines) {
            let what = format!("{}: {}", model.name, line.request());
            largest = largest.max(difference(&[*found], &[line.logits()[label]], &what));
        }
    }
    largest
}

/// Folders of references, and how many models each has.
const PARITY: (&str, usize) = ("parity", 12);
const EXTRA: (&str, usize) = ("parity-extra", 29);

fn all((folder, count): (&str, usize), way: &str, largest_of: fn(&Reference) -> f32) {
    let models = references(folder);
    assert_eq!(models.len(), count, "{folder}");
    for model in models {
        let (name, lines) = (&model.name, model.lines.len());
        let largest = largest_of(&model);
        println!("{way}, {folder}/{name}: {lines} lines, largest difference {largest:e}");
    }
}

#[test]
fn predict_answers_the_scores_of_the_reference() {
    all(PARITY, "POST /predict", over_http);
}

#[test]
fn predict_answers_them_for_other_heads_formats_and_labels() {
    all(EXTRA, "POST /predict", over_http);
}

#[test]
fn score_writes_the_scores_of_the_reference() {
    all(PARITY, "score", by_file);
}

#[test]
fn score_writes_them_for_other_heads_formats_and_labels() {
    all(EXTRA, "score", by_file);
}
