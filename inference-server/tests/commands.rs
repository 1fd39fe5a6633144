//! The commands for people, as they are typed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inference-server");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/fixtures")
}

fn demo(name: &str) -> String {
    let folder = fixtures().join("demo-models").join(name);
    folder.to_str().unwrap().to_owned()
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A copy of a demo model that may be written to.
fn copy(name: &str, to: &Path) -> String {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(demo(name)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    to.to_str().unwrap().to_owned()
}

#[test]
fn evaluate_says_what_the_reference_says() {
    let pairs = fixtures().join("data/preferences-eval.jsonl");
    let args = ["evaluate", "--json", "--pairs", pairs.to_str().unwrap()];
    for (name, accuracy) in [("tiny-reward-v1", 0.788), ("tiny-reward-v2", 0.976)] {
        let output = run(&[&args[..], &["--model", &demo(name)]].concat());
        assert!(output.status.success(), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!((report["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-9);
        assert_eq!(report["pairs"], 1000);
        assert_eq!(report["calibration_error"], Value::Null);
        let by_category = report["by_category"].as_object().unwrap();
        let sum: u64 = by_category
            .values()
            .map(|c| c["pairs"].as_u64().unwrap())
            .sum();
        assert_eq!(sum, 1000);
    }
}

#[test]
fn a_calibration_lies_beside_the_model_and_leaves_its_digest_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = copy("tiny-reward-v2", folder.path());
    let verify = || run(&["verify", "--json", "--model", &model]).stdout;
    let digest = |document: Vec<u8>| {
        let document: Value = serde_json::from_slice(&document).unwrap();
        document["digest"].as_str().unwrap().to_owned()
    };
    let before = digest(verify());
    let pairs = fixtures().join("data/preferences-eval.jsonl");
    let output = run(&[
        "evaluate",
        "--calibrate",
        "--json",
        "--model",
        &model,
        "--pairs",
        pairs.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["brier"].as_f64().unwrap() < 0.05, "{report}");
    let written = fs::read(folder.path().join("calibration.json")).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    assert!(written["scale"].as_f64().unwrap() > 0.0);
    assert_eq!(digest(verify()), before);
}

#[test]
fn pairs_that_cannot_be_read_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.jsonl");
    for (text, expected) in [
        ("", "has no line"),
        (
            "{\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"chosen\":1}",
            "line 2",
        ),
        (
            "{\"chosen\":\"a\",\"rejected\":\"b\",\"weight\":0}",
            "line 1",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = run(&[
            "evaluate",
            "--model",
            &demo("tiny-reward-v1"),
            "--pairs",
            file.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let nothing = run(&["evaluate", "--pairs", file.to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));
}

fn score(model: &str, input: &Path, output: &Path) -> Output {
    run(&[
        "score",
        "--model",
        model,
        "--input",
        input.to_str().unwrap(),
        "--output",
        output.to_str().unwrap(),
    ])
}

#[test]
fn an_interrupted_run_of_score_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let lines: Vec<String> = (0..600)
        .map(|i| match i {
            7 => "{\"text\": 1}\n".to_owned(),
            i => format!("{{\"id\":{i},\"text\":\"answer number {i}\"}}\n"),
        })
        .collect();
    fs::write(&input, lines.concat()).unwrap();
    let whole = score(&demo("tiny-reward-v1"), &input, &output);
    assert_eq!(whole.status.code(), Some(1), "{}", said(&whole));
    let expected = fs::read_to_string(&output).unwrap();
    assert_eq!(expected.lines().count(), 600);
    for kept in [0, 1, expected.len() / 3, expected.len() - 2, expected.len()] {
        fs::write(&output, &expected[..kept]).unwrap();
        let again = score(&demo("tiny-reward-v1"), &input, &output);
        assert_eq!(
            again.status.code(),
            Some(1),
            "line 7 is still bad: {}",
            said(&again)
        );
        assert!(
            fs::read_to_string(&output).unwrap() == expected,
            "{kept} bytes"
        );
    }
    let other = score(&demo("tiny-reward-v2"), &input, &output);
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("another digest"), "{}", said(&other));
    fs::write(&input, "{\"id\":0,\"text\":\"another input\"}\n").unwrap();
    let other = score(&demo("tiny-reward-v1"), &input, &output);
    assert!(said(&other).contains("another input"), "{}", said(&other));
    assert!(fs::read_to_string(&output).unwrap() == expected);
}
