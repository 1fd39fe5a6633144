//! What was measured, as rows and as a picture.

use serde::Serialize;

/// One contender in one shape, in each round.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Tokens a second.
    pub(crate) pace: Vec<f64>,
    /// Tokens for each second of its CPU time: what other work on the machine disturbs less.
    pub(crate) efficiency: Vec<f64>,
    /// Cores that it kept busy.
    pub(crate) busy: Vec<f64>,
    /// Milliseconds of the median request, and of the slowest but one in 100.
    pub(crate) latency: Vec<(f64, f64)>,
}

/// A row of `target/bench/engine.json`. Numbers are medians of the rounds.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) engine: String,
    pub(crate) dtype: String,
    /// `mixed`, or the tokens of each text.
    pub(crate) shape: &'static str,
    pub(crate) threads: usize,
    pub(crate) concurrency: usize,
    pub(crate) tokens_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) rss_mb: usize,
    /// Tokens a second beside those of the naive server in the same round; null where there is none.
    pub(crate) ratio_to_naive: Option<f64>,
    /// The smallest and the largest of that.
    pub(crate) ratio_spread: Option<(f64, f64)>,
    pub(crate) tokens_per_cpu_s: f64,
    /// Tokens a second of CPU time beside the naive server's.
    pub(crate) cpu_ratio_to_naive: Option<f64>,
    pub(crate) cores_busy: f64,
}

impl Row {
    /// The row of `rounds`, where `naive` is what the naive server did in the same ones.
    pub(crate) fn new(
        (engine, dtype): (&str, &str),
        shape: &'static str,
        (threads, concurrency): (usize, usize),
        rss_mb: usize,
        rounds: &Rounds,
        naive: Option<&Rounds>,
    ) -> Self {
        let beside = |mine: &[f64], theirs: &[f64]| -> Vec<f64> {
            mine.iter().zip(theirs).map(|(a, b)| a / b).collect()
        };
        let ratios = naive.map(|naive| beside(&rounds.pace, &naive.pace));
        let of_cpu = naive.map(|naive| beside(&rounds.efficiency, &naive.efficiency));
        let latency =
            |of: fn(&(f64, f64)) -> f64| median(&rounds.latency.iter().map(of).collect::<Vec<_>>());
        Self {
            engine: engine.to_owned(),
            dtype: dtype.to_owned(),
            shape,
            threads,
            concurrency,
            tokens_per_s: round(median(&rounds.pace)),
            p50_ms: round(latency(|pair| pair.0)),
            p99_ms: round(latency(|pair| pair.1)),
            rss_mb,
            ratio_spread: ratios.as_deref().map(|ratios| {
                let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                let most = ratios.iter().copied().fold(0.0, f64::max);
                (round(least), round(most))
            }),
            ratio_to_naive: ratios.as_deref().map(|ratios| round(median(ratios))),
            tokens_per_cpu_s: round(median(&rounds.efficiency)),
            cpu_ratio_to_naive: of_cpu.as_deref().map(|ratios| round(median(ratios))),
            cores_busy: round(median(&rounds.busy)),
        }
    }

    /// A line for people, with a bar of a quarter of the naive server's pace for each `#`.
    pub(crate) fn line(&self) -> String {
        let (ratio, spread) = match (self.ratio_to_naive, self.ratio_spread) {
            (Some(ratio), Some((least, most))) => {
                (format!("{ratio:.2}"), format!("{least:.2}-{most:.2}"))
            }
            _ => ("-".to_owned(), "-".to_owned()),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bar is short"
        )]
        let bar = "#".repeat((4.0 * self.ratio_to_naive.unwrap_or(0.0)).round() as usize);
        format!(
            "{:<12}{:<6}{:<7}{:>3}{:>4}{:>9.0}{:>9.0}{:>9.0}{:>7}{:>7.0}{:>6.2}{ratio:>7}{spread:>12} {bar}",
            self.engine,
            self.dtype,
            self.shape,
            self.threads,
            self.concurrency,
            self.tokens_per_s,
            self.p50_ms,
            self.p99_ms,
            self.rss_mb,
            self.tokens_per_cpu_s,
            self.cores_busy,
        )
    }
}

/// What the columns of [`Row::line`] are.
pub(crate) const HEADER: &str = "engine      dtype shape  thr con tokens/s   p50-ms   p99-ms RSS-MB tok/CPUs cores  ratio      spread (to naive, in the same rounds)";

/// The middle one; the upper of two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
