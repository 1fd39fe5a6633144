//! Who steps back, and who answers while the engine computes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Server, demo, predict};

/// How nice the threads of a process are, by name (proc(5), stat: the nineteenth field).
fn niceness(process: u32) -> BTreeMap<String, Vec<i32>> {
    let mut found = BTreeMap::<String, Vec<i32>>::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(task.unwrap().path().join("stat")) else {
            continue;
        };
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        let nice = rest.split_whitespace().nth(16).unwrap().parse().unwrap();
        found.entry(name.to_owned()).or_default().push(nice);
    }
    found
}

#[test]
fn those_who_take_requests_step_back_behind_the_engine_also_behind_that_of_an_update() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::write(&keys, "admin key-of-the-admin admin,score\n").unwrap();
    let models = demo("");
    let server = Server::start(&[
        "--threads",
        "2",
        "--allow-update",
        "--models-root",
        models.to_str().unwrap(),
        "--api-key-file",
        keys.to_str().unwrap(),
    ]);
    let key = "X-API-Key: key-of-the-admin\r\n";
    let ask = |method: &str, path: &str, body: &str| server.ask(method, path, key, body).1;
    let own = niceness(std::process::id());
    let own = own.values().flatten().min().unwrap();
    let check = |when: &str| {
        let nice = niceness(server.child.id());
        let of = |name: &str| nice.get(name).unwrap_or_else(|| panic!("{when}: {nice:?}"));
        for engine in ["engine", "engine-0", "engine-1"] {
            assert!(
                of(engine).iter().all(|nice| nice == own),
                "{when}: {nice:?}"
            );
        }
        assert!(
            of("request").iter().all(|nice| *nice == own + 10),
            "{when}: {nice:?}"
        );
    };
    ask("POST", "/predict", r#"{"text":"a"}"#);
    check("at the start");
    let update = r#"{"model_path":"tiny-reward-v2","version":"two"}"#;
    let job = ask("POST", "/model/update", update);
    let job = format!("/model/update/{}", job["id"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask("GET", "/model/info", "")["version"] != "two" {
        let state = ask("GET", &job, "");
        assert!(
            Instant::now() < deadline && state["status"] != "failed",
            "{state}"
        );
    }
    check("after an update");
}

#[test]
fn the_number_of_threads_stands_in_the_environment_where_the_tensor_library_looks() {
    let server = Server::start(&["--threads", "3"]);
    let environment = fs::read(format!("/proc/{}/environ", server.child.id())).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    assert!(variables.any(|variable| variable == b"RAYON_NUM_THREADS=3"));
}

#[test]
fn a_probe_and_a_request_on_one_connection_are_both_answered() {
    let server = Server::start(&[]);
    let both = format!(
        "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n{}",
        predict("close")
    );
    // The first bytes alone may not show yet what comes.
    for size in [1, 7, 4_096] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        for piece in both.as_bytes().chunks(size) {
            stream.write_all(piece).unwrap();
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    }
}
