//! When a canary is cut off: within a second of harm, and hardly ever without.
//!
//! Owns what one router counts of a rollout ([`Recorder`]), the sums of it that routers report and the
//! operator adds up ([`Counters`]), what is slow ([`Latency`]) and the verdict ([`judge`]), which a router
//! applies to its own counts and the operator to the sum. It must not know how a cut-off is acted upon.
//! Invariant: what is added up in any order gives the same verdict.
//!
//! # What is counted
//!
//! Requests, by the arm that their key was assigned to and not by who answered in the end. Answers that
//! were remembered are scores, and neither requests nor latency. What stable failed at too, asked for the
//! same request, is the request's fault and counts for nobody ([`Outcome::Excused`]).
//!
//! # When a healthy canary is cut off all the same
//!
//! The probability is bounded by `alpha` of the table (0.025: half of a rollout's 0.05), a quarter of it
//! for each of two tests over users and an eighth for each of four of the window, which have evidence to
//! spare where they matter; a union bound joins them.
//!
//! 1. and 2. **More errors, more slow requests** than stable has, from the first one on: `event_split`
//!    of stats.md over the *first* event of each user. Where both arms are alike, the next user with an
//!    event is the canary's with the share of its traffic, whatever the rate is just then; so the
//!    evidence is a martingale, and it ever reaches `1/a` with probability `a` at most. For another
//!    weight another factor is begun: each event moves one factor alone, by 1 on average, so their
//!    product is a martingale too. Refusals and lost connections are not events: they depend on how many
//!    pods an arm has.
//! 3. to 6. **Errors, refusals, lost connections or slow requests of half the window**: the mark of the
//!    table is reached, *and* so many are not explained by stable's own rate `p` (with one success and one failure
//!    added, so that little data convinces nobody): `P(Bin(n-1, p) >= x-1) <= a / (j (j+1))`, where `j` is
//!    how many have failed in all. It can be reached only when one more fails, so the looks are numbered
//!    by `j` and their levels sum to `a`; the one that has just failed says nothing, hence the minus one.
//!    This holds exactly where requests fail independently of each other and `p` is known, and so nearly;
//!    the simulation (`tests/cutoffs.rs`) measures what is left. Where stable is past the same mark the
//!    cause is a shared one, and nothing is cut off.
//!
//! **A score that is no number, and one score for everything** are facts, not chances, and have no share
//! of alpha. One score for 20 different inputs, bit by bit and in a row, does not happen to a healthy
//! model; where stable has the same, the inputs are to blame.
//!
//! # What is slow
//!
//! See [`Latency`]: longer than `slowFactor` times stable's p99 among requests of like size, from the
//! moment on at which it has waited so long. Stable's own requests are slow by the same rule, so both
//! arms are compared and a burst that makes all wait cuts nobody off.

mod counters;
mod events;
mod judge;
mod latency;
mod recorder;
mod run;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use counters::CountersDocument;
pub use counters::{ByArm, Counters, Subject, Tally};
pub use events::FirstEvents;
pub use judge::judge;
pub use latency::{COLD_ANSWERS, Latency, Size};
pub use recorder::{Outcome, Recorder, Start, Ticket};
pub use run::{DISTINCT_INPUTS, Run, fingerprint};

use crate::{Millis, Revision};

/// For how long a router cuts off by itself: the operator confirms within it, or sees it otherwise.
pub const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Who was meant to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arm {
    /// The stable revision.
    Stable,
    /// The canary.
    Canary,
}

/// Why a canary is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Cause {
    /// A score was no number.
    NonFinite,
    /// All scores were one.
    Constant,
    /// Too many requests of the window failed.
    Errors,
    /// Too many of them were refused for want of room, or failed.
    Refused,
    /// Too many of them found nobody to connect to. This is no verdict on the revision: pods may be lost
    /// to a drain or a dead node.
    Unreachable,
    /// Too many of them were slow.
    Slow,
    /// More users had an error than by stable.
    MoreErrors,
    /// More users had a slow request than by stable.
    MoreSlow,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NonFinite,
        Self::Constant,
        Self::Errors,
        Self::Refused,
        Self::Unreachable,
        Self::Slow,
        Self::MoreErrors,
        Self::MoreSlow,
    ];

    /// One word, as documents have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NonFinite => "NonFinite",
            Self::Constant => "Constant",
            Self::Errors => "Errors",
            Self::Refused => "Refused",
            Self::Unreachable => "Unreachable",
            Self::Slow => "Slow",
            Self::MoreErrors => "MoreErrors",
            Self::MoreSlow => "MoreSlow",
        }
    }

    /// The cause of a word; `None` where it is a newer operator's.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }

    /// Whether the answers that came were right, so that they are better than none.
    pub const fn is_only_late(self) -> bool {
        match self {
            Self::Refused | Self::Slow | Self::MoreSlow | Self::Unreachable => true,
            Self::NonFinite | Self::Constant | Self::Errors | Self::MoreErrors => false,
        }
    }

    /// Whether it speaks against the revision, and not against the machines that it runs on.
    pub const fn blames_the_revision(self) -> bool {
        match self {
            Self::Unreachable => false,
            Self::NonFinite
            | Self::Constant
            | Self::Errors
            | Self::Refused
            | Self::Slow
            | Self::MoreErrors
            | Self::MoreSlow => true,
        }
    }
}

/// A reason to cut a canary off, with what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Why.
    pub cause: Cause,
    /// How many: scores, inputs, requests or users.
    pub count: u64,
    /// Of how many.
    pub of: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, count, of } = self;
        match cause {
            Cause::NonFinite => write!(f, "{count} scores were no numbers"),
            Cause::Constant => write!(f, "{count} different inputs had one and the same score"),
            Cause::Errors => write!(f, "{count} of {of} requests failed"),
            Cause::Refused => write!(f, "{count} of {of} requests were refused or failed"),
            Cause::Unreachable => write!(f, "{count} of {of} requests found no endpoint"),
            Cause::Slow => write!(f, "{count} of {of} requests were slow"),
            Cause::MoreErrors => write!(f, "{count} of {of} users with an error were the canary's"),
            Cause::MoreSlow => {
                write!(
                    f,
                    "{count} of {of} users with a slow request were the canary's"
                )
            }
        }
    }
}

/// A cut-off that one router decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCutOff {
    /// The canary.
    pub revision: Revision,
    /// Why.
    pub finding: Finding,
    /// Since when.
    pub at: Millis,
}

impl LocalCutOff {
    /// Whether it holds still. After that the router forgets what it counted, and begins anew.
    pub fn holds(&self, now: Millis) -> bool {
        now.since(self.at) < UNCONFIRMED
    }
}
