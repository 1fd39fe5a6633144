//! What has happened since the start, for whoever watches the router.
//!
//! Owns the counts that belong to no revision, and their closed sets of causes. It must not know how they
//! are shown. Invariant: they rise and are never reset, whatever table holds.

use std::collections::BTreeMap;

use traffic::cutoff::Cause;
use traffic::status::RevisionReport;
use traffic::table::Refusal;

use crate::Router;
use crate::ask::Unasked;
use crate::tracked::{Tried, is_good};

/// Why stable is asked in the canary's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Takeover {
    /// It says that the request is wrong: stable is asked whether it is.
    Declined,
    Failed,
    Late,
    Misdelivered,
    NonFinite,
    Refused,
    /// The canary's answer may still come: a hedge.
    Slow,
    Unreachable,
}

impl Takeover {
    const ALL: [Self; 8] = [
        Self::Declined,
        Self::Failed,
        Self::Late,
        Self::Misdelivered,
        Self::NonFinite,
        Self::Refused,
        Self::Slow,
        Self::Unreachable,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Declined => "Declined",
            Self::Failed => "Failed",
            Self::Late => "Late",
            Self::Misdelivered => "Misdelivered",
            Self::NonFinite => "NonFinite",
            Self::Refused => "Refused",
            Self::Slow => "Slow",
            Self::Unreachable => "Unreachable",
        }
    }

    /// That of an answer; `None` where it is scored.
    pub(crate) fn of(tried: &Tried) -> Option<Self> {
        match tried {
            Ok(_) if is_good(tried) => None,
            Ok(_) => Some(Self::NonFinite),
            Err(Unasked::Declined(_)) => Some(Self::Declined),
            Err(Unasked::Unreachable) => Some(Self::Unreachable),
            Err(Unasked::Refused(_)) => Some(Self::Refused),
            Err(Unasked::Failed(_)) => Some(Self::Failed),
            Err(Unasked::Late) => Some(Self::Late),
            Err(Unasked::Another) => Some(Self::Misdelivered),
        }
    }
}

/// What became of a request that the canary was to score too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shadowing {
    Paired,
    /// There was no room for it.
    Full,
    Failed,
    Late,
}

impl Shadowing {
    const ALL: [Self; 4] = [Self::Paired, Self::Full, Self::Failed, Self::Late];

    const fn word(self) -> &'static str {
        match self {
            Self::Paired => "Paired",
            Self::Full => "Full",
            Self::Failed => "Failed",
            Self::Late => "Late",
        }
    }
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) retries: u64,
    pub(crate) ejections: u64,
    cut_offs: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<&'static str, u64>,
    takeovers: BTreeMap<&'static str, u64>,
    shadowings: BTreeMap<&'static str, u64>,
}

impl Events {
    pub(crate) fn shadowed(&mut self, outcome: Shadowing) {
        *self.shadowings.entry(outcome.word()).or_default() += 1;
    }

    pub(crate) fn cut_off(&mut self, cause: Cause) {
        *self.cut_offs.entry(cause.word()).or_default() += 1;
    }

    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        *self.refusals.entry(refusal.word()).or_default() += 1;
    }

    pub(crate) fn took_over(&mut self, why: Takeover) {
        *self.takeovers.entry(why.word()).or_default() += 1;
    }
}

/// The numbers of a router.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of the table that it acts upon.
    pub generation: Option<u64>,
    /// The revisions of that table, and no others.
    pub revisions: Vec<RevisionReport>,
    /// Cut-offs that it decided, by cause; all causes are there.
    pub cut_offs: Vec<(&'static str, u64)>,
    /// Tables that it refused, by reason.
    pub refusals: Vec<(&'static str, u64)>,
    /// Requests that stable was asked for in the canary's place, by what the canary did.
    pub takeovers: Vec<(&'static str, u64)>,
    /// Requests that the canary was to score too, by what became of them.
    pub shadowings: Vec<(&'static str, u64)>,
    /// Requests that were sent to a second endpoint of one revision.
    pub retries: u64,
    /// Endpoints that were put aside.
    pub ejections: u64,
}

impl Router {
    /// The numbers as they are now.
    pub fn figures(&self) -> Figures {
        let report = self.report();
        let counting = self.0.counting();
        let events = &counting.events;
        Figures {
            generation: report.table.map(|table| table.generation),
            revisions: report.revisions,
            cut_offs: all(Cause::ALL.map(Cause::word), &events.cut_offs),
            refusals: all(Refusal::WORDS, &events.refusals),
            takeovers: all(Takeover::ALL.map(Takeover::word), &events.takeovers),
            shadowings: all(Shadowing::ALL.map(Shadowing::word), &events.shadowings),
            retries: events.retries,
            ejections: events.ejections,
        }
    }
}

fn all<const N: usize>(
    words: [&'static str; N],
    counts: &BTreeMap<&'static str, u64>,
) -> Vec<(&'static str, u64)> {
    let count = |word| (word, counts.get(word).copied().unwrap_or_default());
    words.map(count).into()
}
