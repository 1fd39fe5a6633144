//! A cache in a real Redis, with what may become of one.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Server, free_port, signal};

/// A Redis of this test alone.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start(port: u16) -> Self {
        // `make deps` installs it.
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { child, port };
        wait_until("Redis listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        redis
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Server {
    /// The score of a text, and whether it was remembered.
    fn score(&self, text: &str) -> (f64, bool) {
        let body = format!(r#"{{"text":"{text}"}}"#);
        let asked = Instant::now();
        let (status, answer, head) = self.ask_for_head("POST", "/predict", "", &body);
        assert_eq!(status, 200, "{answer}");
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        (
            answer.get("reward_score").and_then(Value::as_f64).unwrap(),
            head.contains("x-cache: hit"),
        )
    }
}

#[test]
fn servers_share_scores_through_redis_and_answer_alike_whatever_becomes_of_it() {
    let port = free_port();
    let redis = Redis::start(port);
    let url = redis.url();
    let flags = ["--redis-url", url.as_str()];
    let (one, other) = (Server::start(&flags), Server::start(&flags));
    // The connection is made beside the first requests.
    wait_until("a score is remembered", || one.score("shared").1);
    wait_until("another server has it", || other.score("shared").1);
    let (computed, hit) = other.score("of the other");
    assert!(!hit);
    wait_until("the first server has it", || {
        one.score("of the other") == (computed, true)
    });

    signal(&redis.child, "-STOP");
    for server in [&one, &other] {
        assert_eq!(
            server.score("of the other"),
            (computed, false),
            "a stopped Redis is a miss"
        );
    }
    signal(&redis.child, "-CONT");
    wait_until("hits again", || {
        one.score("of the other") == (computed, true)
    });

    drop(redis);
    for server in [&one, &other] {
        assert_eq!(
            server.score("of the other"),
            (computed, false),
            "no Redis is a miss"
        );
    }
    let _redis = Redis::start(port);
    wait_until("the new one is used", || {
        one.score("of the other") == (computed, true)
    });
    wait_until("by both", || {
        other.score("of the other") == (computed, true)
    });
}
