//! Closed-loop load: clients that ask again when they are answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 32;

/// Tokens of the texts, in turn; 130 at the mean.
const LENGTHS: [usize; 10] = [90, 16, 320, 40, 160, 64, 24, 256, 120, 210];

/// What was answered.
pub(crate) struct Done {
    pub(crate) tokens: usize,
    pub(crate) seconds: f64,
    /// Seconds that each request took.
    pub(crate) took: Vec<f64>,
}

/// Asks for so long, and until all are answered.
pub(crate) fn run(port: u16, round: Duration) -> Done {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let client = || {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        stream.get_ref().set_nodelay(true).unwrap();
        let (mut tokens, mut took) = (0, Vec::new());
        while began.elapsed() < round {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let length = LENGTHS[number % LENGTHS.len()];
            let asked = Instant::now();
            ask(&mut stream, length, number);
            took.push(asked.elapsed().as_secs_f64());
            tokens += length;
        }
        (tokens, took)
    };
    let clients: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|one| one.join().unwrap()).collect()
    });
    Done {
        tokens: clients.iter().map(|(tokens, _)| tokens).sum(),
        seconds: began.elapsed().as_secs_f64(),
        took: clients.into_iter().flat_map(|(_, took)| took).collect(),
    }
}

/// A text of so many tokens, with the two that every text has; whatever is not 200 is a failure of the
/// measurement.
fn ask(stream: &mut BufReader<TcpStream>, tokens: usize, number: usize) {
    let digits = number.to_string();
    let marks = digits.chars().map(|digit| format!("{digit} "));
    let text: String = marks.collect::<String>() + &"a ".repeat(tokens - 2 - digits.len());
    let body = format!("{{\"text\":\"{}\"}}", text.trim_end());
    let request = format!(
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(found) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = found.trim().parse().unwrap();
        }
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["tokens"], tokens, "{answer}");
}
