//! Accuracy over preference pairs, through the API.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::Client;

/// One preference.
#[derive(Clone, Debug, Deserialize)]
pub struct Pair {
    /// What was asked.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
    /// What is wrong with the worse one.
    pub category: String,
}

/// Shares of pairs that were ordered right; ties count half.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Pairs.
    pub pairs: usize,
    /// Of all.
    pub accuracy: f64,
    /// Of each category.
    pub by_category: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Batch {
    reward_scores: Vec<f32>,
}

/// Reads pairs from a file of JSON lines.
///
/// # Errors
/// When it cannot be read; the message names the line.
pub fn pairs(file: &Path) -> anyhow::Result<Vec<Pair>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let line = |(i, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", file.display(), i + 1))
    };
    text.lines().enumerate().map(line).collect()
}

/// Scores `pairs` and compares.
///
/// # Errors
/// When an answer is not a success, or not whole.
pub fn measure(client: &Client, pairs: &[Pair]) -> anyhow::Result<Accuracy> {
    let mut wins: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for chunk in pairs.chunks(64) {
        let texts: Vec<&str> = chunk
            .iter()
            .flat_map(|p| [p.chosen.as_str(), p.rejected.as_str()])
            .collect();
        let contexts: Vec<&str> = chunk.iter().flat_map(|p| [p.prompt.as_str(); 2]).collect();
        let body = json!({ "texts": texts, "contexts": contexts }).to_string();
        let answer = client.post_kept("/predict/batch", &body)?;
        ensure!(
            answer.status == 200,
            "{}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        let batch: Batch = serde_json::from_slice(&answer.body)?;
        ensure!(
            batch.reward_scores.len() == texts.len(),
            "an answer lacks scores"
        );
        for (pair, scores) in chunk.iter().zip(batch.reward_scores.chunks_exact(2)) {
            let [chosen, rejected] = scores else { continue };
            let entry = wins.entry(&pair.category).or_default();
            entry.0 += if chosen > rejected {
                1.0
            } else if chosen < rejected {
                0.0
            } else {
                0.5
            };
            entry.1 += 1.0;
        }
    }
    let (won, all) = wins
        .values()
        .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Ok(Accuracy {
        pairs: pairs.len(),
        accuracy: won / all,
        by_category: wins
            .into_iter()
            .map(|(name, (won, all))| (name.to_owned(), won / all))
            .collect(),
    })
}
