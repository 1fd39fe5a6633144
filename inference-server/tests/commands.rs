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

#[test]
fn an_option_that_would_be_passed_over_is_refused() {
    let pairs = fixtures().join("data/preferences-eval.jsonl");
    let server = [
        "evaluate",
        "--url",
        "http://127.0.0.1:9",
        "--pairs",
        pairs.to_str().unwrap(),
    ];
    for option in [
        &["--label", "1"][..],
        &["--max-tokens", "9"],
        &["--dtype", "bf16"],
        &["--single-bos"],
    ] {
        let output = run(&[&server[..], option].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(option[0]), "{}", said(&output));
    }
}

#[test]
fn a_score_is_never_written_over_what_was_scored() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    fs::write(&input, "{\"text\":\"a\"}\n").unwrap();
    for field in ["text", "messages", "error"] {
        let refused = run(&[
            "score",
            "--model",
            &demo("tiny-reward-v1"),
            "--input",
            input.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
            "--score-field",
            field,
        ]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            said(&refused).contains("--score-field"),
            "{}",
            said(&refused)
        );
        assert!(!output.exists());
    }
}

/// Lines of `file` that `score` makes with the model of `folder`.
fn scored(folder: &Path, lines: &[Value], more: &[&str]) -> Vec<Value> {
    let work = tempfile::tempdir().unwrap();
    let input = work.path().join("in.jsonl");
    let text: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&input, text.concat()).unwrap();
    let (model, input) = (folder.to_str().unwrap(), input.to_str().unwrap());
    let args = ["score", "--model", model, "--input", input, "--output", "-"];
    let output = run(&[&args[..], more].concat());
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The chats of users that failed, and the right scores: the same as over HTTP.
#[test]
fn score_reads_chats_with_all_that_their_templates_see() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (case, files) in [
        (
            "chat-options-ignored",
            &[("a.json", 0.2723), ("b.json", 0.0887)][..],
        ),
        (
            "message-members-dropped",
            &[("tool_calls.json", -0.2303), ("reasoning.json", -0.0451)],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let llama = here.join("models/tests/fixtures/parity/llama");
        for file in fs::read_dir(llama).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let case = here.join("tests/cases").join(case);
        let config = "tokenizer_config.json";
        fs::copy(case.join(config), folder.path().join(config)).unwrap();
        let bodies = files
            .iter()
            .map(|(file, _)| fs::read(case.join(file)).unwrap());
        let lines: Vec<Value> = bodies
            .map(|body| serde_json::from_slice(&body).unwrap())
            .collect();
        let scores = scored(folder.path(), &lines, &[]);
        for (line, (file, right)) in scores.iter().zip(files) {
            let score = line["score"].as_f64().unwrap_or(f64::NAN);
            assert!((score - right).abs() < 1e-3, "{file}: {line}");
        }
    }
}

#[test]
fn score_with_single_bos_leaves_out_the_second_one() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let llama = here.join("models/tests/fixtures/parity/llama");
    let text = |text: &str| serde_json::json!({ "text": text });
    let lines = [text("<|begin_of_text|>Hello"), text("Hello")];
    let twice = scored(&llama, &lines, &[]);
    assert_ne!(twice[0]["score"], twice[1]["score"]);
    let once = scored(&llama, &lines, &["--single-bos"]);
    assert_eq!(once[0]["score"], once[1]["score"]);
    assert_eq!(once[1]["score"], twice[1]["score"]);
}
