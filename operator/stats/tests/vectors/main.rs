//! The port agrees with the reference's vectors, whose expected numbers come from the definitions in 60
//! digits (`stats_reference.py`, part B): within an absolute 1e-12 or a relative 1e-9, or as a case says.
//! So does it with those of every file in `STATS_VECTORS` (paths separated by `:`). A case of a function
//! that is not here fails. The hashes of a file belong to whoever assigns users, and are not looked at.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod counts;
mod given;
mod means;
mod rules;

use std::io::Write;

use serde_json::Value;

use given::Given;

const OURS: &str = include_str!("vectors.json");

/// What a function of the reference gives. `None`: there is no such function.
fn outcome(function: &str, given: Given) -> Option<Value> {
    means::outcome(function, given)
        .or_else(|| counts::outcome(function, given))
        .or_else(|| rules::outcome(function, given))
}

struct Tolerance {
    relative: f64,
    absolute: f64,
}

impl Tolerance {
    fn of(case: &Value) -> Self {
        let number = |name: &str, otherwise: f64| {
            case.get("tol")
                .map_or(otherwise, |tol| Given(tol).number(name))
        };
        Self {
            relative: number("rel", 1e-9),
            absolute: number("abs", 1e-12),
        }
    }

    /// Where the two differ.
    fn difference(&self, got: &Value, want: &Value) -> Option<String> {
        let differ = || Some(format!("{got}, not {want}"));
        match (got, want) {
            (Value::Object(got_fields), Value::Object(fields)) => {
                if got_fields.len() != fields.len() {
                    return differ();
                }
                fields.iter().find_map(|(name, want)| {
                    let got = got_fields.get(name).unwrap_or(&Value::Null);
                    let difference = self.difference(got, want)?;
                    Some(format!("{name}: {difference}"))
                })
            }
            (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
                let mut pairs = got.iter().zip(want);
                pairs.find_map(|(got, want)| self.difference(got, want))
            }
            (Value::Number(got), Value::Number(want)) => {
                let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
                let off = (got - want).abs();
                let near = off <= self.absolute || off <= self.relative * want.abs();
                if near { None } else { differ() }
            }
            (got, want) if got == want => None,
            (_, _) => differ(),
        }
    }
}

/// What is wrong with a case.
fn failure(case: Given) -> Option<String> {
    let (function, input) = (case.text("fn"), case.of("in"));
    let outcome = std::panic::catch_unwind(|| outcome(function, input));
    let difference = match outcome {
        Err(_) => Some("refused".to_owned()),
        Ok(None) => Some(format!("no function {function}")),
        Ok(Some(got)) => Tolerance::of(case.0).difference(&got, case.of("out").0),
    };
    difference.map(|difference| format!("{}: {difference}", case.text("id")))
}

/// The failures of a file, and how many cases it has.
fn failures(document: &str) -> (usize, Vec<String>) {
    let document: Value = serde_json::from_str(document).unwrap();
    let failed = Given(&document).each("cases").filter_map(failure).collect();
    (Given(&document).array("cases").len(), failed)
}

/// Says how many cases of a file fail, and which.
fn told(name: &str, document: &str) -> Vec<String> {
    let (cases, mut failed) = failures(document);
    // Past the harness, which would show it of failed tests alone.
    let line = format!("\n{name}: {cases} cases, {} failed\n", failed.len());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    if cases == 0 {
        failed.push("no cases".to_owned());
    }
    failed
        .into_iter()
        .map(|failure| format!("{name}: {failure}"))
        .collect()
}

#[test]
fn our_vectors_are_those_of_the_reference() {
    let failed = told("vectors.json", OURS);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_vectors_of_every_file_named_are_those_of_the_reference() {
    let named = std::env::var("STATS_VECTORS").unwrap_or_default();
    let paths = named.split(':').filter(|path| !path.is_empty());
    let failed: Vec<_> = paths
        .flat_map(|path| match std::fs::read_to_string(path) {
            Ok(document) => told(path, &document),
            Err(error) => vec![format!("{path}: {error}")],
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn vectors_of_unknown_functions_and_of_wrong_numbers_fail() {
    let case = |function: &str, mean: &str| {
        format!(
            r#"{{"cases": [{{"id": "x", "fn": "{function}", "in": {{"n": 2, "sum": 3.0, "sumsq": 5.0}},
            "out": {{"mean": {mean}, "var": 0.5}}}}]}}"#
        )
    };
    assert!(failures(&case("moments", "1.5")).1.is_empty());
    for (function, mean) in [
        ("moment", "1.5"),
        ("moments", "1.500000002"),
        ("moments", "null"),
    ] {
        assert_eq!(
            failures(&case(function, mean)).1.len(),
            1,
            "{function} {mean}"
        );
    }
}
