//! A table of users as evidence: a row for each visit, with what was measured of it.
//!
//! Owns the two forms (CSV with a head, JSON lines) and what a column means: `user`, `variant`, `at`, and for each
//! metric its value: an event's value (of a Proportion 0 or 1), 1 for an error, milliseconds of a latency, a
//! score; nothing where nothing was measured. It must not count: that is the recorder's. Invariant: a row that
//! cannot be read is named by file and line.

mod csv;
mod row;

use std::collections::BTreeMap;
use std::time::Duration;

use crds::ABExperiment;
use crds::v1alpha1::ab_experiment::Mode;
use jiff::Timestamp;
use operator_core::experiment::ledger::Ledger;
use operator_core::experiment::spec::{Design, Source};
use traffic::assignment::{Assigner, Key};
use traffic::evidence::Unit;
use traffic::evidence::experiment::{Admission, Ended, Happening, Recorder, Subject};
use traffic::table::experiment::Arm;

use super::run::{Looked, Replay};
use crate::failure::Failure;
use row::Row;

pub(super) fn replay(
    experiment: &ABExperiment,
    design: &Design,
    files: &[&(String, String)],
    elapsed: Option<Duration>,
    looks: u32,
) -> Result<Vec<Looked>, Failure> {
    let columns = columns(design).map_err(Failure::Usage)?;
    let mut rows = Vec::new();
    for (file, text) in files {
        let read = row::read(file, text, &columns);
        rows.extend(read.map_err(|why| Failure::Usage(format!("{file}: {why}")))?);
    }
    let times: Option<Vec<Timestamp>> = rows.iter().map(|row| row.at).collect();
    if times.is_none() && rows.iter().any(|row| row.at.is_some()) {
        return Err(Failure::Usage(
            "some rows have at and some have not: write it in all or in none".to_owned(),
        ));
    }
    let times = times.filter(|times| !times.is_empty());
    // Without a time all is seen at one look.
    let Some(times) = times.filter(|_| elapsed.is_none()) else {
        let mut counting = Counting::new(experiment, design, Timestamp::UNIX_EPOCH)?;
        counting.count(&rows)?;
        return Ok(vec![counting.look(elapsed.unwrap_or(design.at_least))?]);
    };
    rows.sort_by_key(|row| row.at);
    let first = times.iter().min().copied().unwrap_or(Timestamp::UNIX_EPOCH);
    let last = times.iter().max().copied().unwrap_or(first);
    let whole = Duration::try_from(last.duration_since(first)).unwrap_or_default();
    let mut counting = Counting::new(experiment, design, first)?;
    let (mut seen, mut found) = (0, Vec::new());
    for look in 1..=looks {
        let elapsed = whole * look / looks;
        let until = rows.iter().skip(seen).take_while(|row| {
            let passed = row.at.map(|at| at.duration_since(first));
            passed
                .and_then(|passed| Duration::try_from(passed).ok())
                .is_none_or(|passed| passed <= elapsed)
        });
        let many = until.count();
        counting.count(rows.get(seen..seen + many).unwrap_or_default())?;
        seen += many;
        found.push(counting.look(elapsed)?);
        if found.last().is_some_and(Looked::is_over) {
            break;
        }
    }
    Ok(found)
}

/// The columns that a table has to have: the metrics that a row can tell.
fn columns(design: &Design) -> Result<Vec<String>, String> {
    if design.mode == Mode::Paired {
        return Err("a row has one variant, so that mode Paired is replayed from the ConfigMaps that the operator keeps".to_owned());
    }
    let mut columns = Vec::new();
    for metric in &design.metrics {
        match &metric.source {
            Source::Preferences => {
                return Err(format!(
                    "metric {}: a row has one variant, so that labelled pairs are replayed from the ConfigMaps that the operator keeps",
                    metric.name
                ));
            }
            Source::Prometheus(_) => {}
            Source::Score
            | Source::Latency
            | Source::SlowerThan(_)
            | Source::Errors
            | Source::Event(_) => {
                columns.push(metric.name.clone());
            }
        }
    }
    Ok(columns)
}

/// What rows become: evidence of one router.
struct Counting {
    replay: Replay,
    recorder: Recorder,
    assigner: Assigner,
}

/// What a row says of all metrics of a source.
#[derive(Clone, Debug, Default)]
struct Signals {
    is_error: bool,
    took: Option<Duration>,
    score: Option<f64>,
    events: BTreeMap<String, f64>,
}

impl Counting {
    fn new(experiment: &ABExperiment, design: &Design, began: Timestamp) -> Result<Self, Failure> {
        let replay = Replay::new(experiment, &design.uid, 1, began)?;
        let subjects = replay.ledgers.values().map(Ledger::subject);
        let metrics = subjects.clone().flat_map(|subject| subject.metrics.clone());
        let metrics = metrics.collect();
        let first: Option<Subject> = replay
            .ledgers
            .values()
            .next()
            .map(|ledger| ledger.subject().clone());
        let first = first.ok_or_else(|| {
            Failure::Usage(
                "no metric of the manifest is counted by routers: there is nothing to replay"
                    .to_owned(),
            )
        })?;
        let assigner = Assigner::new(&replay.design().salt);
        let recorder = Recorder::new(
            "table".to_owned(),
            "table".to_owned(),
            Subject { metrics, ..first },
        );
        Ok(Self {
            replay,
            recorder,
            assigner,
        })
    }

    fn count(&mut self, rows: &[Row]) -> Result<(), Failure> {
        for row in rows {
            self.visit(row)
                .map_err(|why| Failure::Usage(format!("{}: {why}", row.place)))?;
        }
        Ok(())
    }

    fn visit(&mut self, row: &Row) -> Result<(), String> {
        let design = self.replay.design();
        let place = design
            .variants
            .iter()
            .position(|one| one.name == row.variant);
        let arm = place.and_then(Arm::new).ok_or_else(|| {
            let names: Vec<&str> = design
                .variants
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            format!(
                "the variant is {:?}: the manifest has {}",
                row.variant,
                names.join(", ")
            )
        })?;
        let signals = signals(design, row)?;
        let key = Key::user(row.user.as_bytes()).map_err(|why| why.to_string())?;
        let unit = Unit(self.assigner.unit(key));
        match self.recorder.expose(unit, arm) {
            Admission::Counted => {}
            Admission::Beyond | Admission::InAnother => return Ok(()),
        }
        let ended = Ended {
            is_error: signals.is_error,
            is_remembered: false,
            is_fallback: false,
            took: signals.took,
        };
        self.recorder.ended(unit, arm, ended);
        self.recorder.scored(unit, arm, signals.score);
        for (event, value) in &signals.events {
            let happening = Happening {
                event,
                value: *value,
                id: None,
            };
            self.recorder.happened(unit, true, happening);
        }
        Ok(())
    }

    fn look(&mut self, elapsed: Duration) -> Result<Looked, Failure> {
        let document = self.recorder.snapshot();
        for (metric, ledger) in &mut self.replay.ledgers {
            if let Some(own) = document.clone().only(metric) {
                ledger.take(own);
            }
        }
        self.replay.look(elapsed)
    }
}

fn signals(design: &Design, row: &Row) -> Result<Signals, String> {
    let mut signals = Signals::default();
    for metric in &design.metrics {
        let Some(value) = row.values.get(&metric.name).copied() else {
            continue;
        };
        let milliseconds = || {
            let time = Duration::try_from_secs_f64(value / 1_000.0);
            time.map_err(|_| format!("{} is {value}: write milliseconds, 0 or more", metric.name))
        };
        match &metric.source {
            Source::Errors if [0.0, 1.0].contains(&value) => signals.is_error |= value > 0.5,
            Source::Errors => {
                return Err(format!(
                    "{} is {value}: write 1 for an error, else 0",
                    metric.name
                ));
            }
            Source::Latency | Source::SlowerThan(_) => signals.took = Some(milliseconds()?),
            Source::Score => signals.score = Some(value),
            Source::Event(event) => {
                let before = signals.events.insert(event.clone(), value);
                if before.is_some_and(|before| before.to_bits() != value.to_bits()) {
                    return Err(format!(
                        "{} is {value}, and another metric has the same event with another value",
                        metric.name
                    ));
                }
            }
            Source::Preferences | Source::Prometheus(_) => {}
        }
    }
    Ok(signals)
}
