//! Who steps back, and who answers while the engine computes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Server, demo, predict};

struct Thread {
    id: String,
    name: String,
    /// proc(5), stat: the nineteenth field.
    nice: i32,
}

fn threads(process: u32) -> Vec<Thread> {
    let thread = |task: std::io::Result<fs::DirEntry>| {
        // It may end meanwhile.
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
        let (id, rest) = stat.split_once(" (").unwrap();
        let (name, rest) = rest.rsplit_once(')').unwrap();
        Some(Thread {
            id: id.to_owned(),
            name: name.to_owned(),
            nice: rest.split_whitespace().nth(16).unwrap().parse().unwrap(),
        })
    };
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.filter_map(thread).collect()
}

/// The threads of the engine, when all of them have their names and none is one of `old`.
fn engine(server: &Server, old: &[Thread]) -> Vec<Thread> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut all = threads(server.child.id());
        all.retain(|thread| thread.name.starts_with("engine"));
        let is_old = |thread: &Thread| old.iter().any(|old| old.id == thread.id);
        // Three queues, with two threads for each.
        if all.len() == 9 && !all.iter().any(is_old) {
            return all;
        }
        assert!(Instant::now() < deadline, "{} threads", all.len());
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let own = threads(std::process::id()).iter().map(|t| t.nice).min();
    let own = own.unwrap();
    let first = engine(&server, &[]);
    let as_they_should = |threads: &[Thread]| {
        let behind = threads
            .iter()
            .filter(|thread| thread.nice == own + 15)
            .count();
        let first = threads.iter().filter(|thread| thread.nice == own).count();
        assert_eq!((first, behind), (6, 3), "those for long requests step back");
    };
    as_they_should(&first);
    let (status, _) = server.ask("POST", "/predict", key, r#"{"text":"a"}"#);
    assert_eq!(status, 200);
    let mut requests = threads(server.child.id());
    requests.retain(|thread| thread.name == "request");
    assert!(requests.len() >= 3, "two that take, one that makes tokens");
    assert!(requests.iter().all(|thread| thread.nice == own + 10));

    let update = r#"{"model_path":"tiny-reward-v2","version":"two"}"#;
    let (status, _) = server.ask("POST", "/model/update", key, update);
    assert_eq!(status, 202);
    let second = engine(&server, &first);
    as_they_should(&second);
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
