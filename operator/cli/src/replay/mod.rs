//! `replay`: the operator's decision over recorded evidence.
//!
//! The way of the data: [`kept`] (the objects of an experiment) or [`table`] (a row for each visit of a user)
//! → ledgers → [`run`] (the operator's own look, step and status) → [`crate::explain::verdict`]. It decides
//! nothing itself: what it prints is the status that the operator would write. Invariant: a table goes
//! through the router's own recorder and the operator's own ledgers, so that it is counted as traffic is.

mod kept;
mod run;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use std::time::Duration;

use crds::ABExperimentStatus;
use operator_core::experiment::spec::Design;

use crate::args::Output;
use crate::explain::verdict;
use crate::failure::Failure;
use crate::manifest;
use run::Looked;

/// What is replayed, as text.
pub(crate) struct Asked<'a> {
    /// The manifest.
    pub(crate) manifest: &'a str,
    /// Names and contents of the files of evidence.
    pub(crate) evidence: &'a [(String, String)],
    /// For how long it is taken to have run, where the evidence does not say.
    pub(crate) elapsed: Option<&'a str>,
    /// Looks over the time of a table.
    pub(crate) looks: u32,
    /// Whether each is printed.
    pub(crate) each: bool,
    pub(crate) output: Output,
}

/// The answer to the command.
pub(crate) fn answer(asked: &Asked<'_>) -> Result<String, Failure> {
    let experiment = manifest::read(asked.manifest)?;
    let design = manifest::design(&experiment)?;
    let elapsed = asked
        .elapsed
        .map(|text| crds::value::Duration::from(text).to_std());
    let elapsed = elapsed
        .transpose()
        .map_err(|why| Failure::Usage(format!("--elapsed: {why}")))?;
    let is_table = |name: &str| {
        let end = name.rsplit('.').next().unwrap_or_default();
        ["csv", "jsonl", "ndjson"].contains(&end)
    };
    let (tables, objects): (Vec<_>, Vec<_>) =
        asked.evidence.iter().partition(|(name, _)| is_table(name));
    let looks = match (tables.as_slice(), objects.as_slice()) {
        ([], objects) => {
            let at = elapsed.unwrap_or(design.at_least);
            vec![kept::replay(&experiment, objects, at)?]
        }
        (tables, []) => table::replay(&experiment, &design, tables, elapsed, asked.looks)?,
        (_, _) => {
            return Err(Failure::Usage(
                "--evidence has tables and ConfigMaps: give files of one kind".to_owned(),
            ));
        }
    };
    let Some(last) = looks.last() else {
        return Err(Failure::Usage(
            "the evidence is empty: there is nothing to look at".to_owned(),
        ));
    };
    match asked.output {
        Output::Json => json(&last.status),
        Output::Text => Ok(text(&looks, last, &design, asked.each)),
    }
}

fn json(status: &ABExperimentStatus) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(status);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Failed(error.to_string()))
}

fn text(looks: &[Looked], last: &Looked, design: &Design, each: bool) -> String {
    let mut text = String::new();
    if each {
        let rows = looks.iter().map(Looked::row);
        text.push_str(&crate::text::columns(&rows.collect::<Vec<_>>()));
        text.push('\n');
    }
    // What is to be done about a verdict is for who has an experiment in a cluster.
    let status = ABExperimentStatus {
        message: None,
        ..last.status.clone()
    };
    text.push_str(&verdict::text(&design.name, &status));
    let _ = writeln!(
        text,
        "after {} and {} looks",
        crate::text::days(days(last.elapsed)),
        looks.len()
    );
    text
}

fn days(time: Duration) -> f64 {
    time.as_secs_f64() / 86_400.0
}
