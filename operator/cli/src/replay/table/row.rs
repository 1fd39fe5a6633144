//! Rows of a table, out of either form.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::csv;

/// A visit of a user.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// `FILE:LINE`.
    pub(super) place: String,
    pub(super) user: String,
    pub(super) variant: String,
    pub(super) at: Option<Timestamp>,
    /// By metric.
    pub(super) values: BTreeMap<String, f64>,
}

const OWN: [&str; 3] = ["user", "variant", "at"];

/// The rows of a text that has these columns beside those of each visit.
pub(super) fn read(file: &str, text: &str, columns: &[String]) -> Result<Vec<Row>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let records = if Path::new(file).extension().is_some_and(|end| end == "csv") {
        of_csv(text, columns)?
    } else {
        of_lines(text, columns)?
    };
    let rows = records.into_iter().map(|(line, record)| {
        row(format!("{file}:{line}"), record).map_err(|why| format!("line {line}: {why}"))
    });
    rows.collect()
}

/// A line's number, and its cells by column.
type Record = (usize, BTreeMap<String, String>);

fn of_csv(text: &str, columns: &[String]) -> Result<Vec<Record>, String> {
    let mut lines = csv::records(text)?.into_iter();
    let (_, head) = lines
        .next()
        .ok_or("it is empty: the first line names the columns")?;
    let head: Vec<String> = head.iter().map(|name| name.trim().to_owned()).collect();
    check(&head, columns)?;
    let many = head.len();
    let records = lines.map(|(line, cells)| {
        if cells.len() != many {
            return Err(format!(
                "line {line}: {} cells, and the head has {many}",
                cells.len()
            ));
        }
        Ok((line, head.iter().cloned().zip(cells).collect()))
    });
    records.collect()
}

fn of_lines(text: &str, columns: &[String]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut told: Vec<String> = Vec::new();
    let lines = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty());
    for (number, line) in lines {
        let read: Map<String, Value> = serde_json::from_str(line)
            .map_err(|error| format!("line {number}: this is no JSON object: {error}"))?;
        let cell = |value: &Value| match value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                Err(format!("line {number}: {value} is no number or text"))
            }
        };
        let cells: Result<BTreeMap<String, String>, String> = read
            .iter()
            .map(|(name, value)| Ok((name.clone(), cell(value)?)))
            .collect();
        told.extend(
            read.keys()
                .filter(|key| !told.contains(key))
                .cloned()
                .collect::<Vec<_>>(),
        );
        records.push((number, cells?));
    }
    check(&told, columns)?;
    Ok(records)
}

/// Whether a table has what is measured, and nothing that nobody measures.
fn check(head: &[String], columns: &[String]) -> Result<(), String> {
    let has = |name: &str| head.iter().any(|one| one == name);
    if let Some(missing) = OWN.iter().take(2).find(|name| !has(name)) {
        return Err(format!(
            "the column {missing} is missing: a row has user, variant, at (or none has), and {}",
            columns.join(", ")
        ));
    }
    if let Some(missing) = columns.iter().find(|name| !has(name)) {
        return Err(format!(
            "the metric {missing} has no column: add one, or take the metric out of the manifest"
        ));
    }
    let known = |name: &&String| OWN.contains(&name.as_str()) || columns.contains(name);
    if let Some(other) = head.iter().find(|name| !known(name)) {
        return Err(format!(
            "the column {other} is none of the manifest's metrics: rename it or leave it out"
        ));
    }
    let twice = |(place, name): &(usize, &String)| head.iter().take(*place).any(|one| one == *name);
    match head.iter().enumerate().find(twice) {
        Some((_, name)) => Err(format!("the column {name} is there twice")),
        None => Ok(()),
    }
}

fn row(place: String, mut cells: BTreeMap<String, String>) -> Result<Row, String> {
    let mut take = |name: &str| cells.remove(name).filter(|cell| !cell.is_empty());
    let user = take("user").ok_or("user is empty")?;
    let variant = take("variant").ok_or("variant is empty")?;
    let at = take("at").map(|text| {
        text.parse::<Timestamp>()
            .map_err(|_| format!("at is {text:?}: write it as 2026-05-01T12:00:00Z"))
    });
    let at = at.transpose()?;
    let mut values = BTreeMap::new();
    for (name, cell) in cells {
        if cell.trim().is_empty() {
            continue;
        }
        let value = match cell.trim() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            number => number
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite()),
        };
        let value = value.ok_or_else(|| {
            format!("{name} is {cell:?}: write a number, true, false, or nothing")
        })?;
        values.insert(name, value);
    }
    Ok(Row {
        place,
        user,
        variant,
        at,
        values,
    })
}
