//! The worked example of docs/experiments.md: each command runs as it is written, and prints what is written
//! below it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-rewards");
/// What stands before a block that is run here.
const RUN_HERE: &str = "<!-- not run: here; operator/cli runs it and compares what it prints -->";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Commands, and what is written below them.
fn examples(text: &str) -> Vec<(String, String)> {
    let block = |text: &str, fence: &str| {
        let (_, rest) = text.split_once(fence)?;
        let (inner, _) = rest.split_once("\n```")?;
        Some(format!("{inner}\n"))
    };
    let each = text.split(RUN_HERE).skip(1);
    each.map(|rest| {
        (
            block(rest, "```sh\n").unwrap(),
            block(rest, "```text\n").unwrap(),
        )
    })
    .collect()
}

#[test]
fn the_worked_example_prints_what_is_written() {
    // kubectl finds a plugin by its name; nothing else of it is needed. A script would not do: while another test
    // forks it may be open for writing still, and the shell goes on to the kubectl of the machine.
    let kubectl = format!("kubectl() {{ shift && {PROGRAM} \"$@\"; }}\n");
    let examples = examples(&fs::read_to_string(repository().join("docs/experiments.md")).unwrap());
    assert!(
        examples.len() >= 2,
        "the worked example has a plan and a replay"
    );
    for (commands, printed) in examples {
        let outcome = Command::new("sh")
            .args(["-ec", &format!("{kubectl}{commands}")])
            .current_dir(repository())
            .output()
            .unwrap();
        let (told, wrong) = (
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&outcome.stderr),
        );
        assert!(outcome.status.success(), "{commands}{wrong}");
        assert_eq!(told.trim_end(), printed.trim_end(), "{commands}");
    }
}

#[test]
fn the_exit_code_says_whether_it_failed_or_was_used_wrongly() {
    let code = |arguments: &[&str]| {
        Command::new(PROGRAM)
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(
        code(&["plan", "--kind", "mean", "--sd", "1", "--mde", "0.1"]),
        Some(0)
    );
    assert_eq!(code(&["plan", "-f", "/nowhere.yaml"]), Some(1));
    assert_eq!(code(&["plan", "--kind", "mean"]), Some(2));
    assert_eq!(code(&["plan", "--sideways"]), Some(2));
    assert_eq!(code(&["explain", "pod/x"]), Some(2));
}
