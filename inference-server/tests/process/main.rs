//! The program itself: started, asked over sockets, told to leave.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documents;
mod evidence;
mod experiment;
mod golden;
mod leaving;
mod redis;
mod routing;
mod threads;
mod traces;
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_inference-server");

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../e2e/fixtures/demo-models")
        .join(name)
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

/// `score` with a demo model, from one file to another.
fn score(model: &Path, input: &Path, output: &Path, more: &[&str]) -> Output {
    let [model, input, output] = [model, input, output].map(|path| path.to_str().unwrap());
    let args = [
        "score", "--model", model, "--input", input, "--output", output,
    ];
    run(&[&args[..], more].concat())
}

/// A port that nobody has just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([name, &id]).status();
    assert!(sent.unwrap().success());
}

/// A server on a free port of this host.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(more: &[&str]) -> Self {
        Self::start_in(&[], more)
    }

    /// The same with variables of the environment.
    fn start_in(variables: &[(&str, &str)], more: &[&str]) -> Self {
        let model = demo("tiny-reward-v1");
        let serve = ["serve", "--model", model.to_str().unwrap()];
        Self::start_of(variables, &[&serve[..], more].concat())
    }

    /// What a command starts.
    fn start_of(variables: &[(&str, &str)], command: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new(PROGRAM)
            .args(command)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .envs(variables.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !matches!(server.get("/health/ready"), Some(200)) {
            assert!(Instant::now() < deadline, "it does not become ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn get(&self, path: &str) -> Option<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.exchange(&request)
    }

    fn exchange(&self, request: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }

    fn terminate(&self) {
        signal(&self.child, "-TERM");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn predict(connection: &str) -> String {
    let body = r#"{"text":"Hello"}"#;
    format!(
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn sigterm_under_load_fails_no_request_and_ends_the_process() {
    let server = Arc::new(std::sync::Mutex::new(Server::start(&[
        "--drain-delay",
        "1s",
    ])));
    let port = server.lock().unwrap().port;
    let (stop, failures) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(std::sync::Mutex::new(Vec::new())),
    );
    let fresh = std::thread::spawn({
        let (stop, failures) = (stop.clone(), failures.clone());
        move || {
            let client = Server {
                child: Command::new("true").spawn().unwrap(),
                port,
            };
            while !stop.load(Ordering::Relaxed) {
                match client.exchange(&predict("close")) {
                    Some(200) => {}
                    other => failures.lock().unwrap().push(format!("fresh: {other:?}")),
                }
            }
        }
    });
    // A kept connection is asked to close, and is served until it is.
    let mut kept = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answers = BufReader::new(kept.try_clone().unwrap());
    let mut ask = |stream: &mut TcpStream| {
        stream.write_all(predict("keep-alive").as_bytes()).unwrap();
        let (mut closes, mut length) = (false, 0);
        let mut status = String::new();
        answers.read_line(&mut status).unwrap();
        loop {
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            closes |= line == "connection: close";
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        answers.read_exact(&mut body).unwrap();
        (status, closes)
    };
    assert!(!ask(&mut kept).1);
    server.lock().unwrap().terminate();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, closes) = ask(&mut kept);
        assert!(status.contains("200"), "{status}");
        if closes {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "a kept connection was never asked to close"
        );
    }
    stop.store(true, Ordering::Relaxed);
    fresh.join().unwrap();
    assert_eq!(*failures.lock().unwrap(), Vec::<String>::new());
    assert!(server.lock().unwrap().child.wait().unwrap().success());
}

#[test]
fn health_asks_a_running_server() {
    let server = Server::start(&[]);
    let url = format!("http://127.0.0.1:{}/health/ready", server.port);
    assert!(run(&["health", "--url", &url]).status.success());
    drop(server);
    assert_eq!(run(&["health", "--url", &url]).status.code(), Some(1));
}

#[test]
fn a_model_that_cannot_be_served_leaves_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let outcome = run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--model",
        "/nowhere",
        "--termination-log",
        log.to_str().unwrap(),
    ]);
    assert_eq!(outcome.status.code(), Some(1));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(document["reason"], "VolumeUnavailable");
}

#[test]
fn verify_says_what_a_model_is_or_why_it_is_none() {
    let model = demo("tiny-reward-v2");
    let model = model.to_str().unwrap();
    let sound = run(&["verify", "--json", "--model", model]);
    let document: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!(document["ok"], true);
    assert_eq!(document["maxTokens"], 256);
    let digest = document["digest"].as_str().unwrap();
    assert!(
        run(&["verify", "--model", model, "--digest", digest])
            .status
            .success()
    );
    let wrong = format!("sha256:{}", "0".repeat(64));
    let bad = run(&["verify", "--json", "--model", model, "--digest", &wrong]);
    assert_eq!(bad.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&bad.stdout).unwrap();
    assert_eq!(document["reason"], "DigestMismatch");
    assert_eq!(
        run(&["verify", "--model", model, "--digest", "nonsense"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn score_keeps_order_and_fields_and_goes_on_after_a_bad_line() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let lines = [
        "{\"text\":\"a\",\"id\":7,\"score\":9}",
        "not json",
        "{\"id\":8}",
        "",
        "{\"text\":\"a\",\"text_pair\":\"b\"}",
    ];
    std::fs::write(&input, lines.join("\n")).unwrap();
    let model = demo("tiny-reward-v1");
    let outcome = score(&model, &input, &output, &[]);
    assert_eq!(
        outcome.status.code(),
        Some(1),
        "bad lines are reported at the end"
    );
    let text = std::fs::read_to_string(&output).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["id"], 7);
    assert!(rows[0]["score"].as_f64().unwrap().abs() < 9.0);
    assert!(rows[1]["error"].is_string() && rows[2]["error"].is_string());
    assert!(rows[3]["score"].is_number());
}

#[test]
fn score_writes_what_it_does_not_know_as_it_was_and_survives_what_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.jsonl"),
        folder.path().join("out.jsonl"),
    );
    let kept =
        r#""z":1.0,"a":1e400,"big":123456789012345678901234567890,"m":{"y":1.50,"b":[1E2,-0]}"#;
    let mut bytes = format!("{{{kept},\"text\":\"a\"}}\n").into_bytes();
    bytes.extend_from_slice(b"{\"text\":\"\xff\xfe\"}\n\xff\n{\"text\":\"\\ud800\"}\n");
    bytes.extend_from_slice(b"{\"text\":\"b\"}\r\n{\"text\":\"c\"}");
    std::fs::write(&input, &bytes).unwrap();
    let model = demo("tiny-reward-v1");
    let outcome = score(&model, &input, &output, &[]);
    assert_eq!(outcome.status.code(), Some(1));
    let text = std::fs::read_to_string(&output).unwrap();
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows.len(), 6, "{text}");
    let begin = format!("{{{kept},\"text\":\"a\",\"score\":");
    assert!(rows[0].starts_with(&begin), "{}", rows[0]);
    let row = |i: usize| serde_json::from_str::<Value>(rows[i]).unwrap();
    for bad in &rows[1..4] {
        assert!(bad.contains("\"error\":\""), "{bad}");
    }
    assert!(
        row(4)["score"].is_number() && row(5)["score"].is_number(),
        "{text}"
    );
    let again = score(&model, &input, &output, &[]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(
        std::fs::read_to_string(&output).unwrap(),
        text,
        "nothing is left to do"
    );
}

#[test]
fn an_evaluation_of_a_server_is_that_of_its_model_whatever_its_limits_and_activation() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = folder.path().join("pairs.jsonl");
    let all = demo("").join("../data/preferences-eval.jsonl");
    let all = std::fs::read_to_string(all).unwrap();
    let some: Vec<&str> = all.lines().take(100).collect();
    std::fs::write(&pairs, some.join("\n")).unwrap();
    let server = Server::start(&[
        "--activation",
        "sigmoid",
        "--max-batch",
        "50",
        "--max-body-bytes",
        "2000",
    ]);
    let evaluate = |source: &[&str]| {
        let pairs = ["--pairs", pairs.to_str().unwrap()];
        let args = [&["evaluate", "--json", "--calibrate"], source, &pairs].concat();
        let outcome = Command::new(PROGRAM)
            .args(args)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(outcome.status.success(), "{said}");
        let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        (report, said)
    };
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        std::fs::copy(demo("tiny-reward-v1").join(file), model.join(file)).unwrap();
    }
    let (here, _) = evaluate(&["--model", model.to_str().unwrap()]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let (there, said) = evaluate(&["--url", &url]);
    for field in ["accuracy", "calibration", "brier"] {
        assert_eq!(here[field], there[field], "{field}");
    }
    assert!(said.contains("422") || said.contains("413"), "{said}");
    assert!(said.contains("texts at once"), "{said}");
}

#[test]
fn the_scores_of_a_file_are_those_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.jsonl");
    let model = demo("tiny-reward-v3-regressed");
    let expected = model.join("expected.jsonl");
    let outcome = score(&model, &expected, &output, &["--score-field", "ours"]);
    assert!(outcome.status.success());
    for line in std::fs::read_to_string(&output).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let difference = row["ours"].as_f64().unwrap() - row["score"].as_f64().unwrap();
        assert!(difference.abs() <= 1e-4, "{row}");
    }
}
