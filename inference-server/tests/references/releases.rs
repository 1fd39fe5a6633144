//! What metrics that know no labels say of releases that are better and worse: the table of docs/gates.md.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::server::PROGRAM;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The scores of the chosen and of the rejected completion of each prompt.
fn scores(model: &str, folder: &Path) -> Vec<[f64; 2]> {
    let fixtures = repository().join("e2e/fixtures");
    let pairs = std::fs::read_to_string(fixtures.join("data/preferences-eval.jsonl")).unwrap();
    let turn = |role: &str, content: &Value| json!({"role": role, "content": content});
    let chats = pairs.lines().flat_map(|line| {
        let pair: Value = serde_json::from_str(line).unwrap();
        ["chosen", "rejected"].map(|which| {
            let chat = [
                turn("user", &pair["prompt"]),
                turn("assistant", &pair[which]),
            ];
            format!("{}\n", json!({"messages": chat}))
        })
    });
    let input = folder.join("chats.jsonl");
    std::fs::write(&input, chats.collect::<String>()).unwrap();
    let output = Command::new(PROGRAM)
        .args(["score", "--input", input.to_str().unwrap(), "--output", "-"])
        .arg("--model")
        .arg(fixtures.join("demo-models").join(model))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let score = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["score"]
            .as_f64()
            .unwrap()
    };
    let all: Vec<f64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(score)
        .collect();
    all.chunks(2).map(|pair| [pair[0], pair[1]]).collect()
}

fn share(count: usize, of: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(of).unwrap())
}

fn accuracy(scores: &[[f64; 2]]) -> f64 {
    let right = scores.iter().filter(|[chosen, rejected]| chosen > rejected);
    share(right.count(), scores.len())
}

fn mean(scores: &[[f64; 2]]) -> f64 {
    scores.iter().flatten().sum::<f64>() / (2.0 * share(scores.len(), 1))
}

/// Kendall's tau over all completions.
fn agreement(old: &[[f64; 2]], new: &[[f64; 2]]) -> f64 {
    let both: Vec<(f64, f64)> = old
        .iter()
        .flatten()
        .copied()
        .zip(new.iter().flatten().copied())
        .collect();
    let (mut alike, mut apart) = (0, 0);
    for (at, one) in both.iter().enumerate() {
        for other in &both[at + 1..] {
            match ((one.0 - other.0) * (one.1 - other.1)).total_cmp(&0.0) {
                Ordering::Greater => alike += 1,
                Ordering::Less => apart += 1,
                Ordering::Equal => {}
            }
        }
    }
    share(alike, alike + apart) - share(apart, alike + apart)
}

fn flips(old: &[[f64; 2]], new: &[[f64; 2]]) -> f64 {
    let prefers = |[first, second]: &[f64; 2]| first > second;
    let both = old.iter().zip(new);
    let flipped = both.filter(|(old, new)| prefers(old) != prefers(new));
    share(flipped.count(), old.len())
}

#[test]
fn metrics_without_labels_cannot_tell_a_better_release_from_a_worse_one() {
    let folder = tempfile::tempdir().unwrap();
    let document = std::fs::read_to_string(repository().join("docs/gates.md")).unwrap();
    let mut found = Vec::new();
    for (old, new, what) in [
        ("tiny-reward-v1", "tiny-reward-v2", "better"),
        ("tiny-reward-v2", "tiny-reward-v3-regressed", "worse"),
        ("tiny-reward-v2", "tiny-reward-v2-shifted", "the same order"),
    ] {
        let (before, after) = (scores(old, folder.path()), scores(new, folder.path()));
        let tau = agreement(&before, &after);
        let row = format!(
            "| {old} → {new}, {what} | {:.3} → {:.3} | {tau:.3} | {:.3} | {:.3} |",
            accuracy(&before),
            accuracy(&after),
            mean(&after) - mean(&before),
            flips(&before, &after),
        );
        assert!(document.contains(&row), "docs/gates.md should say: {row}");
        found.push(tau);
    }
    assert!(found[0] < found[1], "{found:?}");
}
