//! What only a socket shows: what HTTP itself refuses, broken clients, and a model that is replaced
//! under load.

use std::net::Shutdown;

use super::*;

impl Server {
    /// Sends bytes as they are, and reads until the server closes.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        // The server may have answered and closed before all of it was sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What `GET` answers, head included.
    pub(super) fn ask_for_text(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        self.raw(request.as_bytes())
    }

    /// The status, the JSON and the headers of an answer.
    pub(super) fn ask_for_head(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, Value, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let answer = self.raw(request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status, body, head.to_ascii_lowercase())
    }

    /// The status and the JSON of an answer.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, body, _) = self.ask_for_head(method, path, headers, body);
        (status, body)
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn an_oversized_header_is_431() {
    let server = Server::start(&[]);
    let request = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        "a".repeat(1_000_000)
    );
    assert_eq!(status(&server.raw(request.as_bytes())), "431");
    assert_eq!(server.get("/health/live"), Some(200));
}

#[test]
fn broken_framing_is_refused_and_harms_nobody() {
    let server = Server::start(&[]);
    for bytes in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let answer = server.raw(bytes);
        assert_eq!(
            status(&answer),
            "400",
            "{:?}: {answer}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(server.get("/health/live"), Some(200));
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer_and_one_that_leaves_harms_nobody() {
    let server = Server::start(&[]);
    for _ in 0..50 {
        let mut leaves = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        leaves.write_all(predict("close").as_bytes()).unwrap();
        drop(leaves);
        let mut cut = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
        cut.write_all(head.as_bytes()).unwrap();
        drop(cut);
    }
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    assert_eq!(server.exchange(&predict("close")), Some(200));
}

#[test]
fn a_body_that_trickles_in_is_given_up_after_the_timeout() {
    let server = Server::start(&["--timeout", "500ms"]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let began = Instant::now();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert_eq!(status(&answer), "408");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_document_is_printed_and_flags_that_check_nothing_are_refused() {
    let printed = run(&["openapi"]);
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let model = demo("tiny-reward-v1");
    let model = model.to_str().unwrap();
    for (flags, code) in [
        (&["--jwt-audience", "x"][..], 1),
        (&["--jwt-jwks-uri", "file:///x"], 1),
        (&["--jwt-algorithms", "none"], 2),
        (&["--rate-limit", "often"], 2),
        (&["--allow-update"], 2),
        (&["--model-version", "a b"], 2),
        (&["--calibration", "scale=0,shift=0"], 2),
    ] {
        let outcome = run(&[
            &["serve", "--listen", "127.0.0.1:0", "--model", model],
            flags,
        ]
        .concat());
        assert_eq!(outcome.status.code(), Some(code), "{flags:?}");
    }
}

#[test]
fn a_model_is_replaced_under_load_without_a_failed_request_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    for (name, source) in [("good", "tiny-reward-v2"), ("broken", "tiny-reward-v1")] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for file in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
        ] {
            let _ = std::fs::copy(demo(source).join(file), root.join(name).join(file));
        }
    }
    std::fs::write(root.join("broken/config.json"), "{").unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "admin key-of-the-admin admin,score\n").unwrap();
    let server = Arc::new(Server::start(&[
        "--allow-update",
        "--models-root",
        root.to_str().unwrap(),
        "--api-key-file",
        keys.to_str().unwrap(),
    ]));
    let key = "x-api-key: key-of-the-admin\r\n";
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        move || {
            let mut versions = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (status, answer) = server.ask("POST", "/predict", key, r#"{"text":"Hello"}"#);
                assert_eq!(status, 200, "{answer}");
                versions.push(answer["model_version"].as_str().unwrap().to_owned());
            }
            versions.dedup();
            versions
        }
    });
    let ended = |path: &str| {
        let body = format!(r#"{{"model_path":"{path}","version":"{path}"}}"#);
        let (status, job) = server.ask("POST", "/model/update", key, &body);
        assert_eq!(status, 202, "{job}");
        let place = format!("/model/update/{}", job["id"].as_str().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (_, job) = server.ask("GET", &place, key, "");
            if job["status"] != "loading" {
                return job;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let failed = ended("broken");
    assert_eq!(failed["status"], "failed");
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("config.json"), "{message}");
    assert!(
        !message.contains(folder.path().to_str().unwrap()),
        "{message}"
    );
    assert_eq!(ended("good")["status"], "succeeded");
    std::thread::sleep(Duration::from_millis(100));
    stop.store(true, Ordering::Relaxed);
    let versions = load.join().unwrap();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(versions[1], "good");
    let (status, _) = server.ask("POST", "/model/update", "", "{}");
    assert_eq!(status, 401);
}
