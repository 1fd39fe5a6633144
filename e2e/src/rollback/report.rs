//! The table.

use std::fmt::Write;

use serde::Serialize;

use super::{Case, Outcome};
use crate::faulty::Fault;

/// All runs of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// How the canary turned bad.
    pub fault: Fault,
    /// Requests a second.
    pub rate: u32,
    /// Its share, in percent.
    pub weight: u16,
    /// Whether stable answered what it did not.
    pub fallback: bool,
    /// How many.
    pub runs: usize,
    /// Seconds that half of them took at most; absent where so many were never noticed.
    pub median_s: Option<f64>,
    /// Seconds that the slowest took; absent where one was never noticed.
    pub worst_s: Option<f64>,
    /// Milliseconds from the first decision to all routers, in the slowest.
    pub flip_ms: Option<f64>,
    /// Requests that were harmed in the worst one.
    pub harmed: usize,
}

impl Row {
    /// Sums the runs of a case up.
    #[must_use]
    pub fn of(case: Case, runs: &[Outcome]) -> Self {
        // A run that was never noticed is slower than any other.
        let mut seconds: Vec<f64> = runs
            .iter()
            .map(|run| run.seconds.unwrap_or(f64::INFINITY))
            .collect();
        seconds.sort_by(f64::total_cmp);
        let known = |seconds: Option<&f64>| seconds.copied().filter(|one| one.is_finite());
        let flips = runs.iter().filter_map(|run| run.flip_ms);
        let harmed = runs.iter().map(|run| run.harmed.values().sum());
        Self {
            fault: case.fault,
            rate: case.rate,
            weight: case.weight,
            fallback: case.fallback,
            runs: runs.len(),
            median_s: known(seconds.get(seconds.len().saturating_sub(1) / 2)).map(thousandths),
            worst_s: known(seconds.last()).map(thousandths),
            flip_ms: flips.reduce(f64::max).map(thousandths),
            harmed: harmed.max().unwrap_or(0),
        }
    }

    /// What of the goal is missed, in words; nothing where none is set.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let case = Case {
            fault: self.fault,
            rate: self.rate,
            weight: self.weight,
            fallback: self.fallback,
        };
        let Some((median, worst, harmed)) = case.goal() else {
            return Vec::new();
        };
        let above = |found: Option<f64>, most: f64| found.is_none_or(|found| found > most);
        let mut missed = Vec::new();
        if above(self.median_s, median) {
            missed.push(format!("median above {median} s"));
        }
        if above(self.worst_s, worst) {
            missed.push(format!("worst above {worst} s"));
        }
        if self.flip_ms.is_none_or(|flip| flip >= 500.0) {
            missed.push("flip not below 500 ms".to_owned());
        }
        if self.harmed > harmed {
            missed.push(format!("more than {harmed} harmed"));
        }
        missed
    }
}

fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The rows for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<9} {:>5} {:>6} {:>8} {:>4} {:>8} {:>7} {:>7} {:>6}  goal\n",
        "fault", "rate", "weight", "fallback", "runs", "median_s", "worst_s", "flip_ms", "harmed"
    );
    for row in rows {
        let number = |number: Option<f64>, places: usize| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.places$}"))
        };
        let fallback = if row.fallback { "on" } else { "off" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<9} {:>5} {:>6} {:>8} {:>4} {:>8} {:>7} {:>7} {:>6}  {}",
            row.fault.word(),
            row.rate,
            row.weight,
            fallback,
            row.runs,
            number(row.median_s, 2),
            number(row.worst_s, 2),
            number(row.flip_ms, 0),
            row.harmed,
            row.missed().join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn run(seconds: Option<f64>, harmed: usize) -> Outcome {
        Outcome {
            seconds,
            decided: seconds,
            flip_ms: seconds.map(|_| 20.0),
            harmed: [("late".to_owned(), harmed)].into(),
            requests: 100,
            noise: 0,
            sound_p99_ms: 30.0,
            causes: BTreeSet::new(),
            came_back: false,
            rolled_back: true,
        }
    }

    fn row(runs: &[Outcome]) -> Row {
        Row::of("error/50/25/on".parse().unwrap(), runs)
    }

    #[test]
    fn a_run_that_was_never_noticed_is_the_worst() {
        let found = row(&[run(None, 0), run(Some(1.0), 0), run(Some(0.5), 0)]);
        assert_eq!((found.median_s, found.worst_s), (Some(1.0), None));
        assert_eq!(found.missed(), ["worst above 3 s"]);
        let found = row(&[run(None, 0)]);
        assert_eq!(found.median_s, None);
    }

    #[test]
    fn what_misses_the_goal_says_so() {
        let found = row(&[run(Some(0.5), 0), run(Some(1.0), 1)]);
        assert_eq!(found.missed(), ["more than 0 harmed"]);
        assert!(table(&[found]).contains("more than 0 harmed"));
        assert_eq!(row(&[run(Some(1.0), 0)]).missed(), Vec::<String>::new());
    }
}
