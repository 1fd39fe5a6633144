//! What a router has seen of a rollout, asked for over its admin port.

use serde_json::json;

use super::routing::{route, table};
use super::*;

/// The status and the bytes of an answer; `None` where nobody answers any more.
fn admin(port: u16, headers: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request =
        format!("GET /evidence HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (answer.get(..end)?, answer.get(end + 4..)?);
    let status = String::from_utf8_lossy(head)
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some((status, body.to_vec()))
}

/// SHA-256 of `secret`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const TOKEN: &str = "Authorization: Bearer secret\r\n";

fn evidence(port: u16) -> Option<Value> {
    let (status, body) = admin(port, TOKEN)?;
    assert_eq!(status, 200);
    serde_json::from_slice(&body).ok()
}

fn requests(arm: &Value) -> u64 {
    let cells = arm["cells"].as_array().unwrap();
    cells.iter().map(|cell| cell[1].as_u64().unwrap()).sum()
}

#[test]
fn a_router_that_leaves_hands_over_all_that_it_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (stable, canary) = (Server::start(&[]), Server::start(&[]));
    let rows = [
        ("v1", "Stable", 10_000, stable.port),
        ("v2", "Canary", 0, canary.port),
    ];
    let mut table = table(1, &rows);
    table["shadow"] = json!({"percent": 100});
    table["adminTokenSha256"] = json!(SECRET);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let flags = ["--admin-listen", &address, "--drain-delay", "4s"];
    let mut router = route(folder.path(), &table, &flags);
    assert_eq!(admin(port, "").unwrap().0, 401);
    let wrong = "Authorization: Bearer another\r\n";
    assert_eq!(admin(port, wrong).unwrap().0, 401);
    let kind = "Content-Type: application/json\r\n";
    for text in 0..20 {
        // What is remembered is no request.
        let body = json!({"text": format!("text {text}")}).to_string();
        assert_eq!(router.ask("POST", "/predict", kind, &body).0, 200);
    }
    let pair = json!({"prompt": "p", "chosen": "Tokyo.", "rejected": "No idea."});
    let body = json!({"preferences": [pair]}).to_string();
    let (status, answer) = router.ask("POST", "/feedback", kind, &body);
    assert_eq!((status, &answer["accepted"]), (202, &json!(1)), "{answer}");
    let binary = format!("{TOKEN}Accept: application/octet-stream\r\n");
    let (status, bytes) = admin(port, &binary).unwrap();
    assert_eq!(status, 200);
    assert!(bytes.starts_with(b"\xe7EV\x01"));
    router.terminate();
    let mut last = Value::Null;
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(document) = evidence(port) {
        assert!(Instant::now() < deadline, "it does not go");
        last = document;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(last["leaving"], json!(true), "{last}");
    assert_eq!(requests(&last["stable"]), 20);
    assert_eq!(
        (&last["shadow"]["eligible"], &last["shadow"]["paired"]),
        (&json!(20), &json!(20))
    );
    let preferences = &last["preferences"];
    let counted = ["bothRight", "onlyStable", "onlyCanary", "bothWrong"];
    let counted = counted.map(|verdict| preferences[verdict].as_array().unwrap().len());
    // Both are the same model.
    assert_eq!(counted.iter().sum::<usize>(), 1, "{preferences}");
    assert_eq!((counted[1], counted[2]), (0, 0));
    assert!(router.child.wait().unwrap().success());
}

#[test]
fn a_router_whose_evidence_nobody_fetches_goes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let rows = [
        ("v1", "Stable", 10_000, server.port),
        ("v2", "Canary", 0, server.port),
    ];
    let mut table = table(1, &rows);
    table["adminTokenSha256"] = json!("0".repeat(64));
    let address = format!("127.0.0.1:{}", free_port());
    let flags = ["--admin-listen", &address, "--drain-delay", "500ms"];
    let mut router = route(folder.path(), &table, &flags);
    let began = Instant::now();
    router.terminate();
    assert!(router.child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(10));
}
