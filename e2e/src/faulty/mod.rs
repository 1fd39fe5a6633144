//! A scoring server that is sound until it is told not to be: the real one, behind a proxy that spoils
//! what it answers.
//!
//! Owns the ways of being bad, and the time of the first request that got such an answer. It must not
//! know who is watching. Invariants: until a fault is asked for, every answer is the server's own; probes
//! and metrics are the server's own for ever, so that only answers can tell.

mod args;
mod proxy;
mod spoil;

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use args::Arguments;
pub use proxy::{Faulty, Habits, serve};

/// The port on which a fault is asked for.
pub const CONTROL_PORT: u16 = 9100;

/// The variable that says how many milliseconds a score takes at least.
pub const TAKES_MS: &str = "FAULTY_TAKES_MS";

/// The variable that says how many requests of a thousand are answered with 500, from its start on.
pub const FAILS_OF_1000: &str = "FAULTY_FAILS_OF_1000";

/// A way of being bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// It answers 500.
    Error,
    /// It never answers.
    Hang,
    /// Its scores are no numbers.
    Nan,
    /// Every text has one score.
    Constant,
    /// It takes ten times as long.
    Slow,
    /// Its process ends.
    Exit,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::Hang,
        Self::Nan,
        Self::Constant,
        Self::Slow,
        Self::Exit,
    ];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Nan => "nan",
            Self::Constant => "constant",
            Self::Slow => "slow",
            Self::Exit => "exit",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.word() == word)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A moment, in the time of the machine since 1970: pods of one node share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = since.unwrap_or_default().as_nanos();
        Self(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How long after another one this is; nothing where it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(by))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(by))
    }
}
