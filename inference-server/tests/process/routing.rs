//! A router before servers: the same answers, and none that is lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, json};

use super::*;

/// A folder with the table of these revisions: name, role, weight and port.
pub(super) fn table(generation: u64, revisions: &[(&str, &str, u16, u16)]) -> Value {
    let row = |(revision, role, weight, port): &(&str, &str, u16, u16)| json!({"revision": revision, "role": role, "weight": weight, "endpoints": [format!("127.0.0.1:{port}")]});
    json!({
        "schemaVersion": 1, "generation": generation, "salt": "u/1", "rollout": "1",
        "model": {"namespace": "n", "name": "m", "uid": "u"},
        "revisions": revisions.iter().map(row).collect::<Vec<_>>(),
    })
}

pub(super) fn route(folder: &Path, table: &Value, more: &[&str]) -> Server {
    let file = folder.join("table.json");
    std::fs::write(&file, table.to_string()).unwrap();
    let command = ["route", "--table", file.to_str().unwrap()];
    Server::start_of(&[], &[&command[..], more].concat())
}

/// Values that a schema allows, and some that it does not.
struct Examples<'a>(&'a Value);

impl Examples<'_> {
    fn of(&self, schema: &Value, depth: usize) -> Vec<Value> {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return self.of(self.0.pointer(pointer).unwrap(), depth);
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(choices) = schema[choice].as_array() {
                return choices.iter().flat_map(|one| self.of(one, depth)).collect();
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.clone();
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec!["object"],
        };
        kinds
            .into_iter()
            .flat_map(|kind| self.of_kind(kind, schema, depth))
            .collect()
    }

    fn of_kind(&self, kind: &str, schema: &Value, depth: usize) -> Vec<Value> {
        match kind {
            "string" => vec![
                json!("user"),
                json!("Is \"this\" <b>good</b>?\n\u{0} é 日本"),
                json!(""),
            ],
            "integer" => vec![json!(3), json!(0), json!(-1), json!(1_000_000)],
            "number" => vec![json!(0.5), json!(1)],
            "boolean" => vec![json!(true), json!(false)],
            "array" => {
                let items = if depth == 0 {
                    Vec::new()
                } else {
                    self.of(&schema["items"], depth - 1)
                };
                let two: Vec<Value> = items.iter().take(2).cloned().collect();
                let each = items.into_iter().map(|item| json!([item]));
                each.chain([json!([]), Value::Array(two)]).collect()
            }
            "object" => self.objects(schema, depth),
            _ => vec![Value::Null],
        }
    }

    /// The required members alone, then each other one beside them, with each of its values.
    fn objects(&self, schema: &Value, depth: usize) -> Vec<Value> {
        let empty = Map::new();
        let members = schema["properties"].as_object().unwrap_or(&empty);
        if depth == 0 {
            return vec![json!({})];
        }
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = |name: &str| self.of(&members[name], depth - 1);
        let least: Map<String, Value> = required
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), values(name).into_iter().next()?)))
            .collect();
        let mut all = vec![Value::Object(least.clone()), json!({})];
        for name in members.keys() {
            for value in values(name) {
                let mut object = least.clone();
                object.insert(name.clone(), value);
                all.push(Value::Object(object));
            }
        }
        let unknown = [("unknown".to_owned(), json!(1))];
        all.push(Value::Object(least.into_iter().chain(unknown).collect()));
        all
    }
}

/// The text of an answer without what differs from one request to the next.
fn lasting(body: &str) -> String {
    let mut text = body.to_owned();
    for member in ["processing_time", "instance", "id", "created", "timestamp"] {
        let name = format!("\"{member}\":");
        let mut rest = text.as_str();
        let mut without = String::new();
        while let Some((before, after)) = rest.split_once(&name) {
            let end = after.find([',', '}']).unwrap_or(after.len());
            // Numbers of a vocabulary are called id as well, and stay.
            let value = if member == "id" && !after.starts_with('"') {
                &after[..end]
            } else {
                "…"
            };
            write!(without, "{before}{name}{value}").unwrap();
            rest = &after[end..];
        }
        without.push_str(rest);
        text = without;
    }
    text
}

/// The status, the headers that have to be the same, and the lasting text of an answer.
fn answer(server: &Server, method: &str, path: &str, body: &str) -> (String, Vec<String>, String) {
    let kind = "Content-Type: application/json\r\n";
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{kind}\r\n{body}",
        body.len()
    );
    let text = server.raw(request.as_bytes());
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines().map(str::to_ascii_lowercase);
    let status = lines.next().unwrap_or_default();
    let changes = [
        "date:",
        "server-timing:",
        "x-request-id:",
        "content-length:",
        "x-betterai-revision:",
    ];
    let kept = lines.filter(|line| !changes.iter().any(|name| line.starts_with(name)));
    (status, kept.collect(), lasting(body))
}

#[test]
fn a_router_answers_everything_that_the_document_allows_as_its_server_does() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever is asked second would else remember.
    let flags = ["--calibration", "scale=1.5,shift=0.25", "--cache", "false"];
    let server = Server::start(&flags);
    let router = route(
        folder.path(),
        &table(1, &[("v1", "Stable", 10_000, server.port)]),
        &[],
    );
    let (_, document) = server.ask("GET", "/openapi.json", "", "");
    let (mut asked, mut scored) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // What a process says of itself, and the document, which names what is a router's only.
            if path == "/metrics" || path == "/openapi.json" {
                continue;
            }
            let (path, method) = (path.replace("{id}", "x"), method.to_ascii_uppercase());
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let mut bodies = vec![String::new(), "{".to_owned(), "[]".to_owned()];
            if !schema.is_null() {
                let examples = Examples(&document).of(schema, 4);
                bodies.extend(examples.into_iter().take(400).map(|body| body.to_string()));
            }
            for body in bodies {
                let by_server = answer(&server, &method, &path, &body);
                let by_router = answer(&router, &method, &path, &body);
                assert_eq!(by_router, by_server, "{method} {path} {body}");
                asked += 1;
                scored += usize::from(by_server.0.contains(" 200 ") && method == "POST");
            }
        }
    }
    assert!(asked > 300 && scored > 80, "{asked} asked, {scored} scored");
}

#[test]
fn a_canary_that_is_killed_costs_no_request_and_a_new_table_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (stable, canary) = (Server::start(&[]), Server::start(&[]));
    let rows = |weight: u16| {
        [
            ("v1", "Stable", 10_000 - weight, stable.port),
            ("v2", "Canary", weight, canary.port),
        ]
    };
    let router = route(folder.path(), &table(1, &rows(5_000)), &[]);
    let ask = |text: &str| {
        let body = json!({"text": text}).to_string();
        let kind = "Content-Type: application/json\r\n";
        router.ask_for_head("POST", "/predict", kind, &body)
    };
    let mut by_canary = 0;
    for key in 0..200 {
        if key == 100 {
            signal(&canary.child, "-KILL");
        }
        let (status, _, head) = ask(&format!("text {key}"));
        assert_eq!(status, 200, "{key}");
        let is_canarys = head.contains("x-betterai-revision: v2");
        assert!(
            head.contains("x-betterai-revision: v1") != is_canarys,
            "{head}"
        );
        by_canary += usize::from(is_canarys);
        assert!(key < 101 || !is_canarys);
    }
    assert!((30..=70).contains(&by_canary), "{by_canary} of 100");
    let file = folder.path().join("table.json");
    std::fs::write(
        &file,
        table(2, &[("v1", "Stable", 10_000, stable.port)]).to_string(),
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ask("text").0, 200);
}

/// The value of a series.
fn series(server: &Server, name: &str) -> String {
    let text = server.ask_for_text("/metrics");
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(series, _)| *series == name);
    found.unwrap().1.to_owned()
}

#[test]
fn bodies_that_are_too_long_or_end_early_never_reach_a_revision() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let mut table = table(1, &[("v1", "Stable", 10_000, server.port)]);
    table["key"] = json!({"jsonPointer": "/metadata/user"});
    let router = route(folder.path(), &table, &["--max-body-bytes", "2000"]);
    let asked = || series(&router, "reward_router_requests_total{revision=\"v1\"}");
    let head = "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    // Chunked, and without the user key: by its prompt.
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"text\":\r\n4\r\n\"a\"}}\r\n0\r\n\r\n"
    );
    assert!(router.raw(chunked.as_bytes()).starts_with("HTTP/1.1 200"));
    assert_eq!(asked(), "1");
    for (rest, status) in [
        ("Content-Length: 3000\r\n\r\n".to_owned(), "413"),
        (
            format!(
                "Transfer-Encoding: chunked\r\n\r\nbb8\r\n{}\r\n0\r\n\r\n",
                "a".repeat(3_000)
            ),
            "413",
        ),
        (
            "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "400",
        ),
    ] {
        let answer = router.raw(format!("{head}{rest}").as_bytes());
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    // Half of it, and then its client is gone.
    let half = format!("{head}Content-Length: 100\r\n\r\n{{\"text\":");
    let mut stream = TcpStream::connect(("127.0.0.1", router.port)).unwrap();
    stream.write_all(half.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(router.ask("POST", "/predict", "", r#"{"text":"b"}"#).0, 200);
    assert_eq!(asked(), "2");
}

#[test]
fn scores_that_are_to_be_forgotten_are_by_every_server() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(
        &keys,
        "admin 0123456789abcdef0123456789abcdef admin,score\n",
    )
    .unwrap();
    let version = ["--model-version", "v"];
    let server = Server::start(&[&version[..], &["--revision", "v1"]].concat());
    let flags = ["--api-key-file", keys.to_str().unwrap()];
    let table = table(1, &[("v1", "Stable", 10_000, server.port)]);
    let router = route(folder.path(), &table, &flags);
    let key = "x-api-key: 0123456789abcdef0123456789abcdef\r\n";
    let is_remembered = || {
        let (status, _, head) = router.ask_for_head("POST", "/predict", key, r#"{"text":"a"}"#);
        assert_eq!(status, 200);
        head.contains("x-cache: hit")
    };
    assert_eq!([is_remembered(), is_remembered()], [false, true]);
    let path = "/cache?model_version=v";
    let (status, answer) = router.ask("DELETE", path, key, "");
    assert_eq!((status, answer), (200, json!({"model_version": "v"})));
    assert!(!is_remembered(), "it was forgotten");
    // Clients of the router, and of a server that stands before no router, may not ask the servers' way.
    let body = r#"{"model_version":"v"}"#;
    let json = "content-type: application/json\r\n";
    let alone = Server::start(&[]);
    for (who, headers) in [(&router, json), (&alone, json)] {
        let status = who.ask("POST", "/internal/cache", headers, body).0;
        assert!([401, 403].contains(&status), "{status}");
    }
    assert_eq!(router.ask("DELETE", path, "", "").0, 401);
    // One that does not answer any more is named.
    signal(&server.child, "-KILL");
    let (status, answer) = router.ask("DELETE", path, key, "");
    let detail = answer["detail"].as_str().unwrap();
    assert_eq!(status, 503, "{detail}");
}

#[test]
fn sigterm_under_load_fails_no_request_of_a_router() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let table = table(1, &[("v1", "Stable", 10_000, server.port)]);
    let mut router = route(folder.path(), &table, &["--drain-delay", "1s"]);
    router.terminate();
    let deadline = Instant::now() + Duration::from_millis(700);
    let mut asked = 0;
    while Instant::now() < deadline {
        assert_eq!(router.exchange(&predict("close")), Some(200));
        asked += 1;
    }
    assert!(asked > 10, "{asked}");
    assert!(router.child.wait().unwrap().success());
}

#[test]
fn a_table_that_is_no_table_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.json");
    let start = || {
        let output = run(&[
            "route",
            "--table",
            file.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(start().contains("--table"));
    std::fs::write(&file, table(1, &[("v1", "Stable", 9_000, 1)]).to_string()).unwrap();
    let said = start();
    assert!(said.contains("let them sum to 10000"), "{said}");
}
