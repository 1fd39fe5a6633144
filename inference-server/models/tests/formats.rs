//! Number formats change scores little and rankings hardly.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking; counts are small"
)]

mod common;

use common::{demo, encode, here, logits, open_as};
use inference_models::{Dtype, TextInput};

/// Chosen and rejected answers, one behind the other.
fn answers() -> Vec<TextInput> {
    let pairs = std::fs::read_to_string(here("../../e2e/fixtures/data/preferences-eval.jsonl"));
    let pairs = pairs.unwrap();
    let answers = pairs.lines().flat_map(|line| {
        let pair: serde_json::Value = serde_json::from_str(line).unwrap();
        ["chosen", "rejected"].map(|answer| TextInput::Conversation {
            prompt: pair["prompt"].as_str().unwrap().to_owned(),
            response: pair[answer].as_str().unwrap().to_owned(),
        })
    });
    answers.collect::<Vec<_>>()
}

fn scores(name: &str, dtype: Dtype) -> Vec<f32> {
    let model = open_as(&demo(name), None, 1, dtype);
    assert_eq!(model.facts.dtype, dtype.on_cpu());
    let inputs = encode(&model, &answers());
    let logits = logits(&model, &inputs);
    logits.iter().map(|logits| logits[0]).collect()
}

fn accuracy(scores: &[f32]) -> f64 {
    let wins: f64 = scores
        .chunks(2)
        .map(|pair| match pair[0].total_cmp(&pair[1]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    wins / (scores.len() / 2) as f64
}

/// Ranks from 0; those of equal values are their mean.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..]
            .iter()
            .take_while(|i| values[**i].to_bits() == values[order[start]].to_bits())
            .count();
        for i in &order[start..start + same] {
            ranks[*i] = start as f64 + (same as f64 - 1.0) / 2.0;
        }
        start += same;
    }
    ranks
}

fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let sum = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}

#[test]
fn ranks_share_ties() {
    assert_eq!(ranks(&[3.0, 1.0, 3.0]), [1.5, 0.0, 1.5]);
    assert!((spearman(&[1.0, 2.0, 3.0], &[5.0, 4.0, 3.0]) + 1.0).abs() < 1e-12);
}

fn check(name: &str, wanted: f64, held: bool) {
    let full = scores(name, Dtype::F32);
    let base = accuracy(&full);
    assert!((base - wanted).abs() < 0.0015, "{name}: accuracy {base}");
    let mut report = Vec::new();
    for (dtype, least) in [
        (Dtype::Bf16, 0.999),
        (Dtype::F16, 0.999),
        // It was 0.99997, and would be less than this with a quarter of the steps that a weight has.
        (Dtype::Int8, 0.9995),
    ] {
        let other = scores(name, dtype);
        let (found, ranks) = (accuracy(&other), spearman(&full, &other));
        report.push(format!("{dtype}: accuracy {found:.4}, Spearman {ranks:.6}"));
        assert!(
            full != other,
            "{name}: {dtype} has changed nothing, so it was not used"
        );
        if held {
            assert!((found - base).abs() <= 0.005, "{name} {dtype}: {found}");
            assert!(ranks >= least, "{name} {dtype}: {ranks}");
        }
    }
    eprintln!("{name} f32: accuracy {base:.4}; {}", report.join("; "));
}

#[test]
fn v1_keeps_accuracy_and_ranks_in_sixteen_and_eight_bits() {
    check("tiny-reward-v1", 0.788, true);
}

#[test]
fn v2_keeps_accuracy_and_ranks_in_sixteen_and_eight_bits() {
    check("tiny-reward-v2", 0.976, true);
}

#[test]
#[ignore = "nothing is held of it: run it for the report"]
fn v3_which_was_trained_to_be_bad_is_reported() {
    check("tiny-reward-v3-regressed", 0.588, false);
}
