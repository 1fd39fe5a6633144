//! Open-loop load: requests leave at their time, whatever became of those before them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use crate::accuracy::Pair;
use crate::http::Client;

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Requests that were sent.
    pub requests: usize,
    /// Those that were not answered with a finite score.
    pub failures: usize,
    /// Why.
    pub failures_by_kind: BTreeMap<String, usize>,
    /// When the first of them left, and the last, in seconds after the first request.
    pub failed_from_to_s: Option<(f64, f64)>,
    /// Answers of each model version.
    pub model_versions: BTreeMap<String, usize>,
    /// The most often that the answers of one prompt changed their version: once for each time that traffic
    /// went forth or back, where a prompt stays with its revision.
    pub most_turns: usize,
    /// Milliseconds that half of the answers took at most.
    pub p50_ms: f64,
    /// Milliseconds that 99 of 100 took at most.
    pub p99_ms: f64,
    #[serde(skip)]
    took: Vec<f64>,
    /// By prompt: when a request left, and the version that answered it.
    #[serde(skip)]
    answers: BTreeMap<String, Vec<(Instant, String)>>,
}

impl Report {
    fn add(
        &mut self,
        prompt: String,
        (began, left): (Instant, Instant),
        outcome: anyhow::Result<String>,
    ) {
        let took = left.elapsed();
        self.requests += 1;
        match outcome {
            Ok(version) => {
                *self.model_versions.entry(version.clone()).or_default() += 1;
                let answers = self.answers.entry(prompt).or_default();
                answers.push((left, version));
            }
            Err(error) => {
                self.failures += 1;
                let at = (left - began).as_secs_f64();
                let (from, to) = self.failed_from_to_s.unwrap_or((at, at));
                self.failed_from_to_s = Some((from.min(at), to.max(at)));
                *self
                    .failures_by_kind
                    .entry(format!("{error:#}"))
                    .or_default() += 1;
            }
        }
        self.took.push(took.as_secs_f64() * 1e3);
    }

    /// The report with its percentiles.
    #[must_use]
    pub fn finished(mut self) -> Self {
        self.took.sort_by(f64::total_cmp);
        self.most_turns = self
            .answers
            .values()
            .map(|all| turns(all))
            .max()
            .unwrap_or(0);
        (self.p50_ms, self.p99_ms) = (percentile(&self.took, 50), percentile(&self.took, 99));
        self
    }
}

/// How often the version changes, in the order in which the requests left.
fn turns(answers: &[(Instant, String)]) -> usize {
    let mut ordered: Vec<_> = answers.iter().collect();
    ordered.sort_by_key(|(left, _)| *left);
    let versions = ordered.iter().map(|(_, version)| version);
    versions
        .clone()
        .zip(versions.skip(1))
        .filter(|(a, b)| a != b)
        .count()
}

/// The value that `percent` of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Sends `rate` requests a second, every other one over a kept connection, until `stop`. Where there are
/// `users`, each asks in words of its own: what keeps a request on one revision is its prompt.
pub fn run(
    client: &Arc<Client>,
    pairs: &[Pair],
    (rate, users): (u32, Option<NonZero<u32>>),
    stop: &AtomicBool,
) -> Report {
    let report = Arc::new(Mutex::new(Report::default()));
    let (began, mut sent, mut flying) = (Instant::now(), 0_u32, Vec::new());
    for pair in pairs.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = began + Duration::from_secs_f64(f64::from(sent) / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let prompt = match users {
            Some(users) => format!("{} (user {})", pair.prompt, sent % users),
            None => pair.prompt.clone(),
        };
        let body = json!({ "context": prompt, "text": pair.chosen }).to_string();
        let (client, report, kept) = (client.clone(), report.clone(), sent.is_multiple_of(2));
        flying.push(std::thread::spawn(move || {
            let left = Instant::now();
            let outcome = score(&client, &body, kept);
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(prompt, (began, left), outcome);
        }));
        flying.retain(|thread| !thread.is_finished());
        sent += 1;
    }
    for thread in flying {
        // A panic in there would be a missing request; the counts show it.
        let _ = thread.join();
    }
    let report = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    report.finished()
}

/// One request; answers the version that scored.
fn score(client: &Client, body: &str, kept: bool) -> anyhow::Result<String> {
    let answer = if kept {
        client.post_kept("/predict", body)?
    } else {
        client.post_fresh("/predict", body)?
    };
    anyhow::ensure!(answer.status == 200, "status {}", answer.status);
    let value: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let score = value
        .get("reward_score")
        .and_then(serde_json::Value::as_f64);
    anyhow::ensure!(score.is_some_and(f64::is_finite), "no finite score");
    Ok(answer.model_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&values, 50) - 50.0).abs() < 1e-9);
        assert!((percentile(&values, 99) - 99.0).abs() < 1e-9);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < 1e-9);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn a_prompt_that_goes_back_and_forth_is_counted() {
        let began = Instant::now();
        let at = |ms: u64, version: &str| (began + Duration::from_millis(ms), version.to_owned());
        assert_eq!(turns(&[at(3, "b"), at(1, "a"), at(2, "a")]), 1);
        assert_eq!(turns(&[at(1, "a"), at(2, "b"), at(3, "a"), at(4, "b")]), 3);
        assert_eq!(turns(&[]), 0);
    }

    #[test]
    fn a_server_that_is_not_there_is_counted_as_failures() {
        let client = Arc::new(Client::new("http://127.0.0.1:1").unwrap());
        let pair = Pair {
            prompt: String::new(),
            chosen: String::new(),
            rejected: String::new(),
            category: String::new(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let later = stop.clone();
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            later.store(true, Ordering::Relaxed);
        });
        let report = run(&client, &[pair], (50, None), &stop);
        timer.join().unwrap();
        assert!(report.requests > 0);
        assert_eq!(report.failures, report.requests);
    }
}
