//! An evaluation as the operator has it done: what is left for it at the end.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Server, demo, run};

/// The first of the demo's labelled pairs.
fn pairs(file: &Path) {
    let all = demo("tiny-reward-v1").join("../../data/preferences-eval.jsonl");
    let text = fs::read_to_string(all).unwrap();
    let some: Vec<&str> = text.lines().take(40).collect();
    fs::write(file, some.join("\n")).unwrap();
}

#[test]
fn an_evaluation_leaves_its_counts_and_asks_no_server_whose_scores_on_the_set_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("end.json");
    let model = demo("tiny-reward-v2");
    let canary = Server::start_of(&[], &["serve", "--model", model.to_str().unwrap()]);
    let stable = Server::start(&[]);
    let urls = [&canary, &stable].map(|server| format!("http://127.0.0.1:{}", server.port));
    let set = folder.path().join("set.jsonl");
    pairs(&set);
    let evaluate = |more: &[&str]| -> (Value, Value) {
        let args = [
            "evaluate",
            "--json",
            "--url",
            &urls[0],
            "--against",
            &urls[1],
            "--pairs",
            set.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ];
        let done = run(&[&args[..], more].concat());
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let told = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
        (told, serde_json::from_slice(&done.stdout).unwrap())
    };
    let (told, report) = evaluate(&[]);
    assert_eq!(
        (&told["pairs"], &told["right"]),
        (&40.into(), &report["wins"])
    );
    assert_eq!(told["against"]["right"], report["against"]["wins"]);
    let shift =
        told["meanScore"].as_f64().unwrap() - told["against"]["meanScore"].as_f64().unwrap();
    let expected = report["comparison"]["score_shift"].as_f64().unwrap();
    assert!((shift - expected).abs() < 1e-9, "{shift}");
    assert!(told["against"]["rankCorrelation"].as_f64().unwrap() > 0.0);
    let digest = told["set"].as_str().unwrap().to_owned();
    drop(stable);
    let (known, _) = evaluate(&["--against-known", &digest]);
    assert_eq!(
        (&known["right"], known.get("against")),
        (&told["right"], None)
    );
}

#[test]
fn what_is_wrong_with_a_set_is_left_too() {
    let folder = tempfile::tempdir().unwrap();
    let (set, output) = (
        folder.path().join("set.jsonl"),
        folder.path().join("end.json"),
    );
    for (bytes, expected) in [
        (&b""[..], "has no line"),
        (
            b"{\"chosen\":\"a\",\"rejected\":\"b\"}\n\n{\"chosen\":\"a\"}\n",
            "line 3",
        ),
        (b"{\"chosen\":\"\xff\",\"rejected\":\"b\"}\n", "line 1"),
    ] {
        fs::write(&set, bytes).unwrap();
        let done = run(&[
            "evaluate",
            "--url",
            "http://127.0.0.1:9",
            "--pairs",
            set.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ]);
        assert_eq!(done.status.code(), Some(1));
        let told: Value = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
        assert_eq!(told["ok"], false);
        assert!(
            told["message"].as_str().unwrap().contains(expected),
            "{told}"
        );
    }
}
