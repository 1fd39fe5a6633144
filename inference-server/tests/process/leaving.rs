//! How a server ends: at once where nobody is served yet, and after the last answer where somebody is.

use std::process::ExitStatus;

use super::*;

/// The exit of a process, which has to come within a second.
fn ends_within_a_second(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(1), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds a lease on a file: whoever opens it waits, for far longer than these tests take.
const LEASE: &str = r#"
import fcntl, os, signal, sys
file = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, lambda *_: print("wanted", flush=True))
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
while True:
    signal.pause()
"#;

/// A model that does not come to the end of its loading.
struct Endless {
    lease: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Endless {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        for file in [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ] {
            std::fs::copy(demo("tiny-reward-v1").join(file), folder.join(file)).unwrap();
        }
        let mut lease = Command::new("python3")
            .args(["-c", LEASE])
            .arg(folder.join("tokenizer.json"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(lease.stdout.take().unwrap());
        let mut endless = Self { lease, said };
        endless.says("held");
        endless
    }

    /// Waits until somebody loads it.
    fn is_loading(&mut self) {
        self.says("wanted");
    }

    fn says(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.lease.kill();
        let _ = self.lease.wait();
    }
}

#[test]
fn a_server_whose_model_still_loads_ends_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Endless::new(folder.path());
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--model"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    model.is_loading();
    signal(&child, "-TERM");
    assert!(ends_within_a_second(&mut child).success());
}

#[test]
fn a_server_whose_update_still_loads_ends_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let mut model = Endless::new(&root.join("endless"));
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "admin key-of-the-admin admin,score\n").unwrap();
    let mut server = Server::start(&[
        "--drain-delay",
        "0s",
        "--allow-update",
        "--models-root",
        root.to_str().unwrap(),
        "--api-key-file",
        keys.to_str().unwrap(),
    ]);
    let key = "X-API-Key: key-of-the-admin\r\n";
    let update = r#"{"model_path":"endless"}"#;
    assert_eq!(server.ask("POST", "/model/update", key, update).0, 202);
    model.is_loading();
    server.terminate();
    assert!(ends_within_a_second(&mut server.child).success());
}

#[test]
fn an_evaluation_that_is_under_way_is_answered_though_it_takes_longer_than_other_requests_may() {
    let mut server = Server::start(&[
        "--drain-delay",
        "0s",
        "--timeout",
        "200ms",
        "--threads",
        "1",
    ]);
    let text = "word ".repeat(250);
    let pair = format!(r#"{{"chosen":"{text}1","rejected":"{text}2"}}"#);
    let body = format!(r#"{{"pairs":[{}]}}"#, vec![pair; 1_500].join(","));
    let head = format!(
        "POST /evaluate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let tokens = || {
        let answer = server.ask_for_text("/metrics");
        let line = answer
            .lines()
            .find(|line| line.starts_with("reward_model_tokens_total "));
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    while tokens() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = Instant::now();
    server.terminate();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        began.elapsed() > Duration::from_millis(200),
        "it was not longer than --timeout"
    );
    assert!(server.child.wait().unwrap().success());
}
