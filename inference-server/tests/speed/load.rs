//! Closed-loop load: clients that ask again when they are answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What is asked, and by how many at once.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Tokens of the texts, in turn.
    pub(crate) lengths: &'static [usize],
    pub(crate) clients: usize,
}

/// Texts as people write them; 130 tokens at the mean.
pub(crate) const MIXED: Shape = Shape {
    name: "mixed",
    lengths: &[90, 16, 320, 40, 160, 64, 24, 256, 120, 210],
    clients: 32,
};

/// One text at a time, of 128 tokens.
pub(crate) const ALONE: Shape = Shape {
    name: "128",
    lengths: &[128],
    clients: 1,
};

/// What was answered.
pub(crate) struct Done {
    pub(crate) tokens: usize,
    pub(crate) seconds: f64,
    /// Seconds that each request took.
    pub(crate) took: Vec<f64>,
}

/// Who answers one text after the other.
pub(crate) trait Ask: Send {
    /// Asks for the score of a text of so many tokens, with the two or three that every text has; whatever is no score
    /// of that many tokens is a failure of the measurement.
    fn ask(&mut self, tokens: usize, number: usize);
}

/// Asks for so long, each of `clients` one text after the other, and until all are answered.
pub(crate) fn run(clients: Vec<Box<dyn Ask + '_>>, lengths: &[usize], round: Duration) -> Done {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let client = |mut client: Box<dyn Ask + '_>| {
        let (mut tokens, mut took) = (0, Vec::new());
        while began.elapsed() < round {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let length = lengths[number % lengths.len()];
            let asked = Instant::now();
            client.ask(length, number);
            took.push(asked.elapsed().as_secs_f64());
            tokens += length;
        }
        (tokens, took)
    };
    let client = &client;
    let clients: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (clients.into_iter())
            .map(|one| scope.spawn(move || client(one)))
            .collect();
        clients.into_iter().map(|one| one.join().unwrap()).collect()
    });
    Done {
        tokens: clients.iter().map(|(tokens, _)| tokens).sum(),
        seconds: began.elapsed().as_secs_f64(),
        took: clients.into_iter().flat_map(|(_, took)| took).collect(),
    }
}

/// A text of so many tokens, with the two that every text has, that no other number has.
fn text(tokens: usize, number: usize) -> String {
    let digits = number.to_string();
    let marks = digits.chars().map(|digit| format!("{digit} "));
    let text: String = marks.collect::<String>() + &"a ".repeat(tokens - 2 - digits.len());
    text.trim_end().to_owned()
}

/// How a server is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// As this server is, and the naive one.
    Own,
    /// text-embeddings-inference.
    Tei,
    /// infinity, which scores pairs alone.
    Infinity,
}

impl Dialect {
    fn request(self, tokens: usize, number: usize) -> (&'static str, Value) {
        match self {
            Self::Own => ("/predict", json!({"text": text(tokens, number)})),
            Self::Tei => (
                "/predict",
                json!({"inputs": text(tokens, number), "raw_scores": true}),
            ),
            Self::Infinity => (
                "/rerank",
                // The pair has a token more that every text has, and its first one.
                json!({"query": "a", "documents": [text(tokens - 2, number)], "raw_scores": true}),
            ),
        }
    }

    fn check(self, answer: &Value, tokens: usize) {
        match self {
            Self::Own => assert_eq!(answer["tokens"], tokens, "{answer}"),
            Self::Tei => assert!(answer[0]["score"].is_number(), "{answer}"),
            Self::Infinity => assert!(answer["results"][0].is_object(), "{answer}"),
        }
    }
}

/// A connection to a server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    dialect: Dialect,
}

impl Connection {
    pub(crate) fn new(port: u16, dialect: Dialect) -> Self {
        let stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        stream.get_ref().set_nodelay(true).unwrap();
        Self { stream, dialect }
    }
}

impl Ask for Connection {
    fn ask(&mut self, tokens: usize, number: usize) {
        let (path, body) = self.dialect.request(tokens, number);
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let stream = &mut self.stream;
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
        let answer = serde_json::from_slice(&answer).unwrap();
        self.dialect.check(&answer, tokens);
    }
}

/// The pipes of a library that scores what it reads, line by line.
pub(crate) struct Pipes<'a> {
    pub(crate) to: &'a mut ChildStdin,
    pub(crate) from: &'a mut BufReader<ChildStdout>,
}

impl Ask for Pipes<'_> {
    fn ask(&mut self, tokens: usize, number: usize) {
        writeln!(self.to, "{}", json!(text(tokens, number))).unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["tokens"], tokens, "{answer}");
    }
}
