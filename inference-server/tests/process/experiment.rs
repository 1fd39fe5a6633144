//! An experiment from the header of a request to the evidence of its arm.

use serde_json::json;

use super::routing::{route, table};
use super::*;

/// SHA-256 of `secret`.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const TOKEN: &str = "Authorization: Bearer secret\r\n";

/// The head and the body of an answer.
fn exchange(port: u16, line: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn evidence(port: u16, query: &str) -> Value {
    let line = format!("GET /evidence/experiment{query}");
    let (head, body) = exchange(port, &line, TOKEN, "");
    assert_eq!(status(&head), 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_user_is_found_in_a_header_or_the_body_and_what_happens_to_it_counts_for_its_arm() {
    let folder = tempfile::tempdir().unwrap();
    let (stable, other) = (Server::start(&[]), Server::start(&[]));
    let mut table = table(1, &[("v1", "Stable", 10_000, stable.port)]);
    table["adminTokenSha256"] = json!(SECRET);
    table["key"] = json!({"jsonPointer": "/context"});
    table["experiment"] = json!({
        "name": "e", "uid": "e1", "epoch": 1, "salt": "s", "mode": "Split", "control": "one",
        "key": {"jsonPointer": "/metadata/user"}, "onMissingKey": "Reject",
        "overrides": [{"header": "X-Variant", "value": "two", "variant": "two"}],
        "variants": [
            {"name": "one", "slots": [[0, 5_000]]},
            {"name": "two", "revision": "v2", "endpoints": [format!("127.0.0.1:{}", other.port)], "slots": [[5_000, 10_000]]},
        ],
        "metrics": [{"name": "clicks", "event": "click"}, {"name": "errors", "signal": "Errors"}],
    });
    let admin = free_port();
    let address = format!("127.0.0.1:{admin}");
    let router = route(folder.path(), &table, &["--admin-listen", &address]);
    let predict = |headers: &str, user: &str| {
        let body = json!({"text": "Hello", "metadata": {"user": user}}).to_string();
        exchange(router.port, "POST /predict", headers, &body)
    };
    let mut arms = [0, 0];
    for number in 0..20 {
        let (head, body) = predict("", &format!("user {number}"));
        assert_eq!(status(&head), 200, "{body}");
        let two = head.contains("x-betterai-variant: two\r\n");
        assert!(
            two || head.contains("x-betterai-variant: one\r\n"),
            "{head}"
        );
        let revision = if two { "v2" } else { "v1" };
        assert!(
            head.contains(&format!("x-betterai-revision: {revision}\r\n")),
            "{head}"
        );
        arms[usize::from(two)] += 1;
    }
    assert!(arms.iter().all(|of| *of > 2), "{arms:?}");
    let (head, body) = predict("", "");
    assert_eq!(status(&head), 422);
    assert!(body.contains("/metadata/user"), "{body}");
    let (head, _) = predict("X-Variant: two\r\n", "");
    assert!(head.contains("x-betterai-variant: two\r\n"), "{head}");
    let event = |user: &str| json!({"user": user, "event": "click", "value": 1});
    let body = json!({"events": [event("user 1"), event("user 2")]}).to_string();
    let (head, body) = exchange(router.port, "POST /feedback", "", &body);
    assert_eq!(status(&head), 202, "{body}");
    assert!(body.contains("\"accepted\":2"), "{body}");
    let (head, _) = exchange(admin, "GET /evidence/experiment", "", "");
    assert_eq!(status(&head), 401);
    for query in ["?metric=nothing", "?epoch=9"] {
        let line = format!("GET /evidence/experiment{query}");
        assert_eq!(status(&exchange(admin, &line, TOKEN, "").0), 404, "{query}");
    }
    let clicks = evidence(admin, "?metric=clicks&epoch=1");
    assert_eq!(clicks["users"].as_array().unwrap().len(), 20);
    let counts = &clicks["counts"];
    assert_eq!(
        (
            &counts["events"],
            &counts["refusedKey"],
            &counts["overridden"]
        ),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(clicks["subject"]["metrics"].as_array().unwrap().len(), 1);
    assert_eq!(evidence(admin, "")["metrics"].as_array().unwrap().len(), 2);
}
