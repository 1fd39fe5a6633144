//! What is kept of a gate between looks.
//!
//! Owns what counts in a row, what is frozen, and that a failure stays one. It must not know what a
//! rollout makes of it. Invariants: two looks lie an interval apart at least; a look without an answer
//! is never a step towards `Fail`, unless the gate says `onNoData: Fail`.

use std::time::Duration;

use crds::v1alpha1::reward_model::gate::OnNoData;
use crds::v1alpha1::reward_model::status::Verdict;
use crds::value::Decimal;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::gate::Gate;
use super::judge::{Judgement, Look, judge};
use super::measurement::Measurement;

/// Results of a query beyond its threshold, one after the other, that are a failure.
pub const RESULTS_IN_A_ROW: u32 = 3;

/// What holds from the first look that counted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The standard deviation of the prior over effects (stats.md 1.1), in the units of the metric.
    pub tau: Option<Decimal>,
}

/// What is kept of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its name.
    pub gate: String,
    /// Since when it is looked at.
    pub started_at: Timestamp,
    /// When it was looked at last.
    pub looked_at: Option<Timestamp>,
    /// What the last look said.
    pub judgement: Judgement,
    /// Results in a row beyond the threshold.
    pub beyond: u32,
    /// Looks in a row without an answer.
    pub missed: u32,
    /// Looks that were answered without data, since the last that had some: where the source is away, nobody
    /// knows whether there are any.
    pub empty: u32,
    /// What holds from now on.
    pub frozen: Frozen,
}

impl Track {
    /// One that begins.
    pub fn new(gate: &str, now: Timestamp) -> Self {
        Self {
            gate: gate.to_owned(),
            started_at: now,
            looked_at: None,
            judgement: Judgement::new(Verdict::NoData, "not looked at yet"),
            beyond: 0,
            missed: 0,
            empty: 0,
            frozen: Frozen::default(),
        }
    }

    /// Its verdict.
    pub const fn verdict(&self) -> Verdict {
        self.judgement.verdict
    }

    /// Until its next look. A clock that went back counts as one that stood.
    pub fn next_look(&self, gate: &Gate, now: Timestamp) -> Duration {
        let since = self.looked_at.map(|then| now.duration_since(then));
        let passed = since.map_or(gate.interval, |since| {
            since.max(SignedDuration::ZERO).unsigned_abs()
        });
        gate.interval.saturating_sub(passed)
    }

    /// After a look at `measurement`, where it is time for one.
    #[must_use]
    pub fn look(&self, gate: &Gate, measurement: &Measurement, now: Timestamp) -> Self {
        let over = self.verdict() == Verdict::Fail;
        if over || !self.next_look(gate, now).is_zero() {
            return self.clone();
        }
        let finding = judge(gate, &self.frozen, measurement);
        // A gap says nothing: what was beyond before it still was.
        let (beyond, missed) = match finding.look {
            Look::Answered => (0, 0),
            Look::Beyond => (self.beyond.saturating_add(1), 0),
            Look::Missed => (self.beyond, self.missed.saturating_add(1)),
        };
        let empty = match finding.judgement.verdict {
            Verdict::Error => self.empty,
            Verdict::NoData => self.empty.saturating_add(1),
            Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => 0,
        };
        let counts = Counts {
            beyond,
            missed,
            empty,
        };
        Self {
            gate: self.gate.clone(),
            started_at: self.started_at,
            looked_at: Some(now),
            judgement: in_a_row(gate, finding.judgement, counts),
            beyond,
            missed,
            empty,
            frozen: finding.frozen,
        }
    }

    /// With its time given anew: what was missed is forgiven, what was measured
    /// stays, and the next look is an interval away.
    #[must_use]
    pub fn forgiven(mut self, now: Timestamp) -> Self {
        self.missed = 0;
        self.empty = 0;
        self.looked_at = Some(now);
        if self.verdict() == Verdict::Error {
            self.judgement.verdict = Verdict::NoData;
        }
        self
    }
}

/// What is counted of looks that follow each other.
#[derive(Clone, Copy)]
struct Counts {
    beyond: u32,
    missed: u32,
    empty: u32,
}

/// What a look says together with those before it.
fn in_a_row(gate: &Gate, judgement: Judgement, counts: Counts) -> Judgement {
    let Counts {
        beyond,
        missed,
        empty,
    } = counts;
    let with = |verdict, more: String| Judgement {
        verdict,
        message: format!("{}{more}", judgement.message),
        ..judgement.clone()
    };
    match judgement.verdict {
        Verdict::Inconclusive if beyond >= RESULTS_IN_A_ROW => {
            let more = format!(", {RESULTS_IN_A_ROW} times in a row");
            with(Verdict::Fail, more)
        }
        Verdict::NoData if gate.on_no_data == OnNoData::Fail && empty > gate.error_limit => {
            let more = format!(" ({empty} looks since the last with data; onNoData is Fail)");
            with(Verdict::Fail, more)
        }
        Verdict::Error => {
            let verdict = if missed > gate.error_limit {
                Verdict::Error
            } else {
                Verdict::NoData
            };
            let more = format!(" ({missed} in a row, {} are borne)", gate.error_limit);
            with(verdict, more)
        }
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive | Verdict::NoData => judgement,
    }
}
