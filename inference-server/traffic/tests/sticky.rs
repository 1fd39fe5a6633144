//! Assignment is that of docs/sticky.md, in this crate and in its snippets: hash vectors of the
//! statistics' reference, and the split that users see.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use traffic::assignment::{Assigner, Key, Slot};
use traffic::effective::{Effective, effective};
use traffic::table::{Role, Table};

/// Hash vectors of the reference (`stats-vectors.json`, `hash`).
fn vectors() -> Vec<Value> {
    let document: Value = serde_json::from_str(include_str!("hashes.json")).unwrap();
    let cases = document["cases"].as_array().unwrap().clone();
    assert!(cases.len() >= 20);
    cases
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap()
}

#[test]
fn slots_and_cells_are_those_of_the_reference() {
    for case in vectors() {
        let assigner = Assigner::new(text(&case, "salt"));
        let key = Key::user(text(&case, "user").as_bytes()).unwrap();
        let place = assigner.place(key);
        assert_eq!(place.hash.to_string(), text(&case, "u64"), "{case}");
        assert_eq!(
            u64::from(place.slot.get()),
            case["slot"].as_u64().unwrap(),
            "{case}"
        );
        let cell = u64::from(assigner.cell(key));
        assert_eq!(cell, case["cell1024"].as_u64().unwrap(), "{case}");
    }
}

/// The block of docs/sticky.md in a language.
fn snippet(language: &str) -> String {
    block("sticky.md", language)
}

fn block(document: &str, language: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let document = std::fs::read_to_string(root.join(document)).unwrap();
    let begin = document.find(&format!("```{language}\n")).unwrap() + language.len() + 4;
    let end = document[begin..].find("```").unwrap();
    document[begin..begin + end].to_owned()
}

/// The slots that a program prints for the vectors, a line each; `None` where there is no such program.
fn slots_of(command: &mut Command, given: &[u8]) -> Option<Vec<String>> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = command.spawn().ok()?;
    program.stdin.take().unwrap().write_all(given).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

fn expected() -> Vec<String> {
    let slot = |case: &Value| case["slot"].to_string();
    vectors().iter().map(slot).collect()
}

#[test]
fn the_python_of_the_document_computes_the_same() {
    let mut program = snippet("python");
    program.push_str(
        "import json, sys\nfor c in json.load(sys.stdin):\n    print(slot(c['salt'], c['user']))\n",
    );
    let given = serde_json::to_vec(&vectors()).unwrap();
    match slots_of(Command::new("python3").args(["-c", &program]), &given) {
        Some(slots) => assert_eq!(slots, expected()),
        None => skipped("python3"),
    }
}

#[test]
fn the_go_of_the_document_computes_the_same() {
    let folder = std::env::temp_dir().join(format!("sticky-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let library = snippet("go").replace("package sticky", "package main");
    let program = r#"package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var cases []struct{ Salt, User string }
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	for _, c := range cases {
		fmt.Println(Slot(c.Salt, c.User))
	}
}
"#;
    std::fs::write(folder.join("sticky.go"), library).unwrap();
    std::fs::write(folder.join("main.go"), program).unwrap();
    std::fs::write(folder.join("go.mod"), "module sticky\n\ngo 1.21\n").unwrap();
    let given = serde_json::to_vec(&vectors()).unwrap();
    let slots = ["go", "/usr/local/go/bin/go"].iter().find_map(|go| {
        let mut command = Command::new(go);
        command.args(["run", "."]).current_dir(&folder);
        // Nothing is fetched: it needs the standard library alone.
        command.env("GOTOOLCHAIN", "local");
        slots_of(&mut command, &given)
    });
    std::fs::remove_dir_all(&folder).unwrap();
    match slots {
        Some(slots) => assert_eq!(slots, expected()),
        None => skipped("go"),
    }
}

/// Said past the test's capture, so that nobody takes it for a success.
fn skipped(program: &str) {
    let text =
        format!("SKIPPED: there is no {program}: the snippet of docs/sticky.md was not run\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_vectors_of_the_document_are_those_of_the_reference() {
    let vectors: Vec<Value> = serde_json::from_str(&snippet("json")).unwrap();
    assert!(vectors.len() >= 5);
    let reference = super_set(&vectors);
    assert_eq!(reference, vectors.len());
}

#[test]
fn the_table_of_the_document_is_one() {
    let table = Table::parse(block("routing.md", "json").as_bytes()).unwrap();
    assert_eq!(table.row(Role::Canary).unwrap().weight.get(), 2_500);
}

fn super_set(given: &[Value]) -> usize {
    let reference = vectors();
    let same = |one: &Value, other: &Value| {
        ["salt", "user", "slot"]
            .iter()
            .all(|name| one[*name] == other[*name])
    };
    let known = |one: &&Value| reference.iter().any(|other| same(one, other));
    given.iter().filter(known).count()
}

fn table(canary: u16) -> Table {
    let document = serde_json::json!({
        "schemaVersion": 1, "generation": 1, "salt": "6f1c1d3e/3",
        "model": {"namespace": "n", "name": "m", "uid": "6f1c1d3e"},
        "revisions": [
            {"revision": "s", "role": "Stable", "weight": 10_000 - canary, "service": "s"},
            {"revision": "c", "role": "Canary", "weight": canary, "service": "c"}
        ]
    });
    Table::parse(document.to_string().as_bytes()).unwrap()
}

fn owner(table: &Table, slot: Slot) -> Role {
    match effective(table, |_| true, None) {
        Effective::Shares(shares) => shares.owner(slot),
        Effective::Nobody => unreachable!("all are ready"),
    }
}

#[test]
fn a_hundred_thousand_keys_are_split_as_the_weights_say_and_ramping_moves_none_back() {
    let weights = [1_000, 5_000, 10_000];
    let tables = weights.map(table);
    let assigner = Assigner::new(&tables[0].salt);
    let mut canary = [0_u32; 3];
    for user in 0..100_000 {
        let id = format!("user-{user}");
        let slot = assigner.place(Key::user(id.as_bytes()).unwrap()).slot;
        let arms = [0, 1, 2].map(|step| owner(&tables[step], slot) == Role::Canary);
        assert!(!arms[0] || arms[1], "{id} moved back");
        assert!(arms[2], "{id} was left behind");
        for (count, is_canary) in canary.iter_mut().zip(arms) {
            *count += u32::from(is_canary);
        }
    }
    for (count, weight) in canary.into_iter().zip(weights) {
        let off = f64::from(count) / 1_000.0 - f64::from(weight) / 100.0;
        println!("weight {weight}: off by {off:.3} points");
        assert!(off.abs() <= 0.5, "weight {weight}: off by {off} points");
    }
}

#[test]
#[ignore = "slow: a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn what_an_assignment_costs() {
    let assigner = Assigner::new("6f1c1d3e-9b1e-4f0e-8a55-0c6a2b7f1d10/3");
    for bytes in [16, 100, 1_000, 10_000] {
        let key = vec![b'x'; bytes];
        let began = std::time::Instant::now();
        let mut sum = 0_u64;
        let rounds = 200_000;
        for _ in 0..rounds {
            let key = std::hint::black_box(&key);
            sum = sum.wrapping_add(assigner.place(Key::prompt(key)).hash);
        }
        let each = began.elapsed().as_nanos() / rounds;
        println!("{bytes} bytes: {each} ns ({})", sum & 1);
    }
}
