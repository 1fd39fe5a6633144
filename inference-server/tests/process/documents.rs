//! The documents run as they are written: each block of commands is run here, or says why it is not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// What stands before a block that is not run here, with the reason.
const NOT_RUN: &str = "<!-- not run: ";

struct Block {
    place: String,
    commands: String,
    /// Why it is not run here.
    excuse: Option<String>,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The blocks of commands in a document.
fn blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let name = path
        .strip_prefix(repository())
        .unwrap()
        .display()
        .to_string();
    let (mut blocks, mut open, mut before) = (Vec::new(), None::<Block>, String::new());
    let mut foreign = false;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(_), None) if foreign => foreign = false,
            (Some("sh" | "bash" | "shell" | "console"), None) => {
                let excuse = before
                    .strip_prefix(NOT_RUN)
                    .and_then(|rest| rest.strip_suffix(" -->"));
                open = Some(Block {
                    place: format!("{name}:{}", number + 1),
                    commands: String::new(),
                    excuse: excuse.map(str::to_owned),
                });
            }
            (Some(_), None) => foreign = true,
            (None, Some(mut block)) => {
                let command = line.trim_start().strip_prefix("$ ").unwrap_or(line);
                block.commands.push_str(command);
                block.commands.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut before);
        }
    }
    assert!(open.is_none(), "{name} ends in a block");
    blocks
}

fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut found = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// A folder that looks like the repository after a build, whose commands are those of this test's.
fn workshop(folder: &Path) {
    for name in ["e2e", "manifests", "docs"] {
        symlink(repository().join(name), folder.join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("target/release")).unwrap();
    symlink(PROGRAM, folder.join("target/release/inference-server")).unwrap();
    fs::create_dir(folder.join("bin")).unwrap();
    let command = |name: &str, text: &str| {
        let path = folder.join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // What it builds is there already: it was built to run this.
    command(
        "cargo",
        "#!/bin/sh\n[ \"$*\" = \"build --release -p inference-server\" ]\n",
    );
    // An answer that is an error is one.
    command(
        "curl",
        "#!/bin/sh\nexec /usr/bin/curl --fail-with-body \"$@\"\n",
    );
}

#[test]
fn every_block_of_commands_runs_as_it_is_written_or_says_why_not() {
    let (mut run, mut not_run) = (0, BTreeMap::new());
    for block in documents().iter().flat_map(|path| blocks(path)) {
        if let Some(excuse) = block.excuse {
            assert!(excuse.len() > 10, "{}: say why it is not run", block.place);
            not_run.insert(block.place, excuse);
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        workshop(folder.path());
        let port = free_port().to_string();
        let commands = block.commands.replace("8000", &port);
        let script =
            format!("set -euo pipefail\ntrap 'jobs -p | xargs -r kill; wait' EXIT\n{commands}");
        let path = std::env::var("PATH").unwrap();
        let outcome = Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder.path())
            .env(
                "PATH",
                format!("{}:{path}", folder.path().join("bin").display()),
            )
            .output()
            .unwrap();
        assert!(
            outcome.status.success(),
            "{} does not run as it is written:\n{commands}\n{}\n{}",
            block.place,
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&outcome.stderr)
        );
        run += 1;
    }
    assert!(run >= 2, "{run} blocks run, {not_run:?} do not");
}

#[test]
fn a_block_that_says_nothing_is_found_and_run() {
    let folder = tempfile::tempdir_in(repository().join("target")).unwrap();
    let path = folder.path().join("x.md");
    let text = "a\n```sh\nfalse\n```\n\n<!-- not run: needs a cluster -->\n\n```console\n$ true\n```\n```json\n{}\n```\n";
    fs::write(&path, text).unwrap();
    let found = blocks(&path);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].commands.as_str(), found[0].excuse.as_deref()),
        ("false\n", None)
    );
    let excuse = Some("needs a cluster");
    assert_eq!(
        (found[1].commands.as_str(), found[1].excuse.as_deref()),
        ("true\n", excuse)
    );
}
