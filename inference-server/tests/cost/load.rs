//! Open-loop load: each request has its time, and is late from that time on, whatever became of those
//! before it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that are kept.
const CONNECTIONS: u32 = 32;
/// Different keys.
const KEYS: u32 = 1_000;
/// Bytes of a body.
const BYTES: usize = 1_000;

/// What decides who serves a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A header.
    Header,
    /// The body: its prompt by the router, all of it by nginx, which reads no JSON.
    Body,
}

impl Key {
    pub(crate) const ALL: [Self; 2] = [Self::Header, Self::Body];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Body => "body",
        }
    }
}

/// How long the requests of a run took, in microseconds, sorted.
pub(crate) struct Took(Vec<f64>);

impl Took {
    pub(crate) fn requests(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap()
    }

    pub(crate) fn micros(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }
}

fn request(key: Key, number: u32) -> Vec<u8> {
    let user = number % KEYS;
    let head = format!("{{\"context\":\"question {user}\",\"text\":\"");
    let text = "word ".repeat(BYTES / 5);
    let body = format!("{head}{}\"}}", &text[..BYTES - head.len() - 2]);
    let header = match key {
        Key::Header => format!("x-user: user-{user}\r\n"),
        Key::Body => String::new(),
    };
    format!(
        "POST /predict HTTP/1.1\r\nHost: localhost\r\n{header}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends `rate` requests a second to an address for so long.
pub(crate) fn run(to: SocketAddr, key: Key, rate: u32, time: Duration) -> Took {
    let count = u32::try_from(time.as_millis()).unwrap() * rate / 1_000;
    let began = Instant::now() + Duration::from_millis(50);
    let connections = (0..CONNECTIONS).map(|first| {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_nodelay(true).unwrap();
            let numbers = (first..count).step_by(usize::try_from(CONNECTIONS).unwrap());
            let mut took = Vec::new();
            for number in numbers {
                let request = request(key, number);
                let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                exchange(&mut stream, &request);
                took.push(due.elapsed().as_secs_f64() * 1e6);
            }
            took
        })
    });
    let connections: Vec<_> = connections.collect();
    let took = connections.into_iter().flat_map(|one| one.join().unwrap());
    let mut took: Vec<f64> = took.collect();
    took.sort_by(f64::total_cmp);
    Took(took)
}

/// Whatever is not 200 is a failure of the measurement.
fn exchange(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    let mut answer = Vec::with_capacity(2_048);
    let mut buffer = [0; 2_048];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
        if is_whole(&answer) {
            break;
        }
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0_usize)
}
