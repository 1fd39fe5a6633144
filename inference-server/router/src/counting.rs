//! What is counted, and the cut-off that follows from it.
//!
//! Owns all that changes with each request and is not an endpoint's, behind one lock that is held for
//! microseconds. Invariant: what was counted of one rollout is never taken for another's.

use std::collections::BTreeMap;
use std::time::Duration;

use traffic::budget::Budget;
use traffic::cutoff::{Cause, Counters, Latency, LocalCutOff, Recorder, Size, Subject};
use traffic::status::Failures;
use traffic::table::{Role, Table};
use traffic::{Millis, Revision};

use crate::events::{Events, Takeover};
use crate::evidence::Recording;
use crate::router::Identity;

/// The least that may be asked of stable in the canary's place, a second.
const FALLBACK_FLOOR: u32 = 20;
/// The share of requests that may be tried at another endpoint, in percent, and the least a second.
const RETRIES: (u32, u32) = (20, 10);

/// Requests of one revision since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) assigned: u64,
    pub(crate) answered: u64,
    pub(crate) fallbacks: u64,
    pub(crate) failures: Failures,
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) counts: BTreeMap<Revision, Counts>,
    pub(crate) recorder: Recorder,
    pub(crate) latency: Latency,
    pub(crate) fallbacks: Budget,
    pub(crate) retries: Budget,
    subject: Option<Subject>,
    stable: Option<Revision>,
    cut: Option<LocalCutOff>,
    pub(crate) events: Events,
    pub(crate) recording: Recording,
    /// What was told of last, so that only what is new is told.
    told: Counters,
}

impl Counting {
    pub(crate) fn new(identity: Identity, now: Millis) -> Self {
        Self {
            counts: BTreeMap::new(),
            recorder: Recorder::new(Duration::from_secs(5)),
            latency: Latency::new(now),
            fallbacks: Budget::new(0, FALLBACK_FLOOR),
            retries: Budget::new(RETRIES.0, RETRIES.1),
            subject: None,
            stable: None,
            cut: None,
            events: Events::default(),
            recording: Recording::new(identity),
            told: Counters::default(),
        }
    }

    /// Another table holds.
    pub(crate) fn apply(&mut self, table: &Table, now: Millis) {
        let named = |role| table.row(role).map(|row| row.revision.clone());
        let subject = named(Role::Canary).map(|canary| Subject {
            rollout: table.rollout.clone(),
            canary,
        });
        if subject != self.subject {
            self.subject = subject;
            self.recorder.restart(table.cut_off.window);
            self.cut = None;
        }
        self.recording.apply(table);
        self.recorder.set_window(table.cut_off.window);
        let stable = named(Role::Stable);
        if stable.is_some() && stable != self.stable {
            self.stable = stable;
            self.latency = Latency::new(now);
        }
        self.fallbacks.set_percent(table.fallback.budget_percent);
        self.counts
            .retain(|revision, _| table.named(revision).is_some());
    }

    /// Whose counts they are.
    pub(crate) const fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Stable answered a request, in so long a time. What the last stable revision answers late says
    /// nothing of this one.
    pub(crate) fn took(&mut self, revision: &Revision, bytes: usize, took: Duration, now: Millis) {
        if self.stable.as_ref() == Some(revision) {
            self.latency.answered(Size::of(bytes), took, now);
        }
    }

    /// Whether a request may be sent to another endpoint; then it is paid for.
    pub(crate) fn retry(&mut self, now: Millis) -> bool {
        let may = self.retries.spend(now);
        self.events.retries += u64::from(may);
        may
    }

    /// Whether stable may be asked in the canary's place; then it is paid for.
    pub(crate) fn take_over(&mut self, why: Option<Takeover>, now: Millis) -> bool {
        let may = self.fallbacks.spend(now);
        if let Some(why) = why.filter(|_| may) {
            self.events.took_over(why);
        }
        may
    }

    /// The cut-off that was decided here and holds.
    pub(crate) const fn cut(&self) -> Option<&LocalCutOff> {
        self.cut.as_ref()
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cut.as_ref().map(|cut| cut.finding.cause)
    }

    pub(crate) fn of(&mut self, revision: &Revision) -> &mut Counts {
        self.counts.entry(revision.clone()).or_default()
    }

    /// Looks whether the canary is to be cut off, or a cut-off ends. Says whether anything changed.
    pub(crate) fn judge(&mut self, table: &Table, now: Millis) -> bool {
        if let Some(cut) = &self.cut {
            if cut.holds(now) {
                return false;
            }
            tracing::warn!(target: "router", revision = %cut.revision, "the cut-off ends: nobody has confirmed it");
            self.cut = None;
            self.recorder.forget();
            return true;
        }
        let Some(subject) = self
            .subject
            .as_ref()
            .filter(|_| table.confirmed().is_none())
        else {
            return false;
        };
        let Some(finding) = self.recorder.judge(&table.cut_off, now) else {
            return false;
        };
        tracing::warn!(
            target: "router",
            revision = %subject.canary,
            cause = finding.cause.word(),
            "cut off: {finding}"
        );
        self.events.cut_off(finding.cause);
        self.cut = Some(LocalCutOff {
            revision: subject.canary.clone(),
            finding,
            at: now,
        });
        true
    }

    /// Whether something was counted since that asks for a look: no success alone does.
    pub(crate) fn has_news(&mut self, now: Millis) -> bool {
        let counters = self.recorder.counters(now);
        let bad = |counters: &Counters| {
            let canary = counters.total.canary;
            let length = counters.runs.canary.length();
            (
                canary.failed(),
                canary.unreachable,
                canary.slow,
                canary.non_finite,
                length,
            )
        };
        let news = bad(&counters) != bad(&self.told);
        self.told = counters;
        news
    }
}
