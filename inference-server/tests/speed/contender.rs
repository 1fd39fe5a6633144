//! Who is measured: a server, or a library without one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::load::{Ask, Connection, Dialect, Pipes, Shape};

/// A process that scores. It ends when this is dropped.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) threads: usize,
    child: Child,
    way: Way,
}

/// How it is asked.
enum Way {
    Served {
        port: u16,
        dialect: Dialect,
    },
    /// One text at a time.
    Offline {
        to: ChildStdin,
        from: BufReader<ChildStdout>,
    },
}

impl Contender {
    /// A server of this repository.
    pub(crate) fn own(
        (name, program): (&str, &str),
        folder: &Path,
        dtype: &str,
        threads: usize,
    ) -> Option<Self> {
        let threads_flag = threads.to_string();
        let flags = ["--dtype", dtype, "--threads", &threads_flag];
        let mut command = Command::new(program);
        command
            .args(["serve", "--model"])
            .arg(folder)
            .args(flags)
            .args(["--timeout", "600000ms", "--cache", "false"]);
        let port = free_port();
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        let ready = "/health/ready";
        Self::served((name, dtype, threads), command, (port, Dialect::Own, ready))
    }

    /// The server that one writes first, with torch.
    pub(crate) fn naive(python: &str, folder: &Path) -> Option<Self> {
        let port = free_port();
        let mut command = peer(python);
        command.arg("serve").arg(port.to_string()).arg(folder);
        let named = ("naive", "f32", cores());
        Self::served(named, command, (port, Dialect::Own, "/health/ready"))
    }

    /// text-embeddings-inference's router.
    pub(crate) fn tei(program: &str, folder: &Path) -> Option<Self> {
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg("--model-id")
            .arg(folder)
            .args(["--dtype", "float32", "--hostname", "127.0.0.1", "--port"])
            .arg(port.to_string());
        let named = ("tei", "f32", cores());
        Self::served(named, command, (port, Dialect::Tei, "/health"))
    }

    /// infinity's server.
    pub(crate) fn infinity(program: &str, folder: &Path) -> Option<Self> {
        let port = free_port();
        let mut command = Command::new(program);
        command
            .args(["v2", "--engine", "torch", "--device", "cpu", "--model-id"])
            .arg(folder)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let named = ("infinity", "f32", cores());
        Self::served(named, command, (port, Dialect::Infinity, "/health"))
    }

    fn served(
        (name, dtype, threads): (&str, &str, usize),
        mut command: Command,
        (port, dialect, ready): (u16, Dialect, &str),
    ) -> Option<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut one = Self {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            threads,
            child: command.spawn().ok()?,
            way: Way::Served { port, dialect },
        };
        let deadline = Instant::now() + Duration::from_mins(5);
        while !is_ready(port, ready) {
            let ended = one.child.try_wait().ok().flatten().is_some();
            if ended || Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(one)
    }

    /// torch or ONNX Runtime without a server; none where it cannot compute in that format.
    pub(crate) fn offline(python: &str, name: &str, folder: &Path, dtype: &str) -> Option<Self> {
        let mut command = peer(python);
        command.args(["offline", name, dtype]).arg(folder);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let (to, from) = (child.stdin.take()?, child.stdout.take()?);
        let mut from = BufReader::new(from);
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            if from.read_line(&mut line).ok()? == 0 {
                let _ = child.wait();
                return None;
            }
        }
        Some(Self {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            threads: cores(),
            child,
            way: Way::Offline { to, from },
        })
    }

    /// Who asks it at once: so many as the shape says, or one where there is no server.
    pub(crate) fn clients(&mut self, shape: &Shape) -> Vec<Box<dyn Ask + '_>> {
        match &mut self.way {
            Way::Served { port, dialect } => {
                let connect = |_| Box::new(Connection::new(*port, *dialect)) as Box<dyn Ask>;
                (0..shape.clients).map(connect).collect()
            }
            Way::Offline { to, from } => vec![Box::new(Pipes { to, from })],
        }
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.map(|field| field.parse::<f64>().unwrap()).sum();
        // Linux counts them in hundredths, on all its platforms.
        ticks / 100.0
    }

    /// Memory that it holds.
    pub(crate) fn resident_megabytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        kilobytes.unwrap().parse::<usize>().unwrap() / 1_024
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cores that this process may use: what libraries take as their threads.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn peer(python: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/speed/peers.py"));
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_ready(port: u16, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.starts_with("HTTP/1.1 200")
}
