//! Telling the person who waits what is going on, on standard error.
//!
//! Invariant: standard output is left alone; it is for what other programs read.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Reports steps and how long each took.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    started: Instant,
    terminal: bool,
}

/// A step that is over before this is reported once, at its end.
const QUIET: Duration = Duration::from_secs(3);

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Since [`Progress::start`].
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Writes one line.
    pub fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Does `work` and reports `what` with its time; says that it goes on while it is long.
    pub fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let result = std::thread::scope(|scope| {
            let (done, ended) = channel::<()>();
            scope.spawn(move || {
                let mut wait = QUIET;
                while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    self.still_going(what, begun.elapsed());
                    wait = Duration::from_secs(if self.terminal { 1 } else { 30 });
                }
            });
            let result = work();
            drop(done);
            result
        });
        let mark = if result.is_ok() { "done" } else { "FAILED" };
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!(
            "{clear}{:>6.1} s  {what}: {mark}",
            begun.elapsed().as_secs_f64()
        );
        result
    }

    fn still_going(&self, what: &str, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        if self.terminal {
            eprint!("\r\x1b[K{seconds:>6} s  {what} ...");
        } else {
            eprintln!("{seconds:>6} s  {what} ...");
        }
    }
}
