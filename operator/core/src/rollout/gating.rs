//! What the gates make of a rollout: whether it may go on, waits, or stops for a human.
//!
//! Invariants: a pause is never stored, so that it ends by itself when its cause does; only time that was
//! given anew, or a verdict, gets a rollout past an inconclusive gate; without data nothing is taken back.

use std::time::Duration;

use crds::conditions::{PausedReason, StalledReason};
use crds::v1alpha1::reward_model::gate::{AfterPromotion, OnNoData};
use crds::v1alpha1::reward_model::status::Verdict;
use k8s_openapi::jiff::Timestamp;

use super::Signals;
use super::advance::elapsed;
use crate::Failure;
use crate::gates::{Gate, Kind, Track};
use crate::spec::Step;
use crate::state::{Rollout, Stage};

/// A gate that is looked at, as the last look has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What is kept of it.
    pub track: Track,
    /// Whether it is on the golden set, which comes before everything else.
    pub golden: bool,
    /// Looks in a row without an answer that are borne.
    pub error_limit: u32,
    /// What is done while there is no data.
    pub on_no_data: OnNoData,
    /// What a failure after promotion does.
    pub after_promotion: AfterPromotion,
    /// It reports, and decides nothing.
    pub dry_run: bool,
}

impl Watched {
    /// `gate`, of which `track` is kept.
    pub(super) fn of(gate: &Gate, track: Track) -> Self {
        Self {
            track,
            golden: matches!(gate.kind, Kind::Golden(_)),
            error_limit: gate.error_limit,
            on_no_data: gate.on_no_data,
            after_promotion: gate.after_promotion,
            dry_run: gate.dry_run,
        }
    }

    fn verdict(&self) -> Verdict {
        self.track.verdict()
    }

    fn says(&self) -> String {
        format!("gate {}: {}", self.track.gate, self.track.judgement.message)
    }

    /// Whether a rollout goes on in spite of it.
    fn passes(&self) -> bool {
        self.dry_run || self.verdict() == Verdict::Pass
    }

    /// Whether nobody knows how the new revision is doing, so that it gets nothing more for now.
    fn is_blind(&self) -> bool {
        let missing = match self.verdict() {
            Verdict::Error => true,
            Verdict::NoData => {
                self.on_no_data == OnNoData::Pause && self.track.missed > self.error_limit
            }
            Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => false,
        };
        missing && !self.dry_run
    }

    fn failure(&self) -> Option<Failure> {
        let fails = !self.dry_run && self.verdict() == Verdict::Fail;
        fails.then(|| Failure::new(StalledReason::GateFailed, self.says()))
    }
}

/// Whether a rollout may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gating {
    /// It may.
    Open,
    /// Not before a verdict; after this time it is looked at again.
    Waits(Option<Duration>),
    /// It stops, for this reason.
    Paused(PausedReason, String),
}

impl Signals {
    /// The failure of a gate while its rollout is in flight.
    pub fn failed_gate(&self) -> Option<Failure> {
        self.gates.iter().find_map(Watched::failure)
    }

    /// The same once its revision has become the stable one.
    pub(super) fn failed_since(&self) -> Option<Failure> {
        let acts = |gate: &&Watched| gate.after_promotion == AfterPromotion::RollBack;
        let mut acting = self.gates.iter().filter(acts);
        acting.find_map(Watched::failure)
    }

    /// The names of the gates without a verdict that lets a rollout go on.
    pub(super) fn without_pass(&self) -> Vec<&str> {
        let open = self.gates.iter().filter(|gate| !gate.passes());
        open.map(|gate| gate.track.gate.as_str()).collect()
    }

    fn gate(&self, name: &str) -> Option<&Watched> {
        self.gates.iter().find(|gate| gate.track.gate == name)
    }
}

/// What a human may say who does not wait for a gate.
const PAST_A_STEP: &str = "skip-step goes past the step";
const PAST_LOADING: &str = "promote goes on without it";

/// Whether `rollout` may go on from where it stands.
pub(crate) fn gating(rollout: &Rollout, signals: &Signals, now: Timestamp) -> Gating {
    match rollout.stage {
        Stage::Load => golden(signals),
        Stage::Step { since, .. } => at_step(rollout, signals, elapsed(since, now)),
        Stage::Approval | Stage::Promote | Stage::Retreat | Stage::RollBack => Gating::Open,
    }
}

fn at_step(rollout: &Rollout, signals: &Signals, passed: Duration) -> Gating {
    let own = match rollout.step() {
        Some(Step::Shadow { pairs, within, .. }) => {
            shadow(signals.pairs, *pairs, within.saturating_sub(passed))
        }
        Some(Step::Gate { names, within }) => gates(signals, names, within.saturating_sub(passed)),
        // A pause that is not over is no more of one without data.
        Some(Step::Pause(None)) => return Gating::Open,
        Some(Step::Pause(Some(time))) if passed < *time => return Gating::Open,
        Some(Step::Pause(Some(_)) | Step::SetWeight(_)) | None => Gating::Open,
    };
    match own {
        Gating::Open => blind(signals.gates.iter(), PAST_A_STEP).unwrap_or(Gating::Open),
        Gating::Waits(_) | Gating::Paused(..) => own,
    }
}

fn shadow(seen: u64, wanted: u64, left: Duration) -> Gating {
    if seen >= wanted {
        return Gating::Open;
    }
    if left.is_zero() {
        let message = format!(
            "{seen} of {wanted} pairs of scores came in the time of the shadow step: say resume to give it the time again, or skip-step"
        );
        return Gating::Paused(PausedReason::InconclusiveGate, message);
    }
    Gating::Waits(Some(left))
}

fn gates(signals: &Signals, names: &[String], left: Duration) -> Gating {
    let waited = || names.iter().filter_map(|name| signals.gate(name));
    if let Some(gone) = names.iter().find(|name| signals.gate(name).is_none()) {
        let message =
            format!("gate {gone} is no longer in rollout.gates: put it back, or say skip-step");
        return Gating::Paused(PausedReason::InconclusiveGate, message);
    }
    let Some(first) = waited().find(|gate| !gate.passes()) else {
        return Gating::Open;
    };
    if let Some(paused) = blind(waited(), PAST_A_STEP) {
        return paused;
    }
    if !left.is_zero() {
        return Gating::Waits(Some(left));
    }
    let without_data = waited().find(|gate| match gate.verdict() {
        Verdict::NoData | Verdict::Error => !gate.dry_run,
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive => false,
    });
    match without_data {
        Some(gate) => unavailable(gate, PAST_A_STEP),
        None => Gating::Paused(
            PausedReason::InconclusiveGate,
            format!(
                "{}; its time is over: it goes on by itself should the gate pass after all; say resume to give it the time again, or skip-step",
                first.says()
            ),
        ),
    }
}

fn golden(signals: &Signals) -> Gating {
    let golden = || signals.gates.iter().filter(|gate| gate.golden);
    if golden().all(Watched::passes) {
        return Gating::Open;
    }
    blind(golden(), PAST_LOADING).unwrap_or(Gating::Waits(None))
}

fn blind<'s>(mut gates: impl Iterator<Item = &'s Watched>, past: &str) -> Option<Gating> {
    let gate = gates.find(|gate| gate.is_blind());
    gate.map(|gate| unavailable(gate, past))
}

fn unavailable(gate: &Watched, past: &str) -> Gating {
    let message = format!(
        "{}; the new revision keeps the share that it has until there are data: resume gives the gate its time again, {past}",
        gate.says()
    );
    Gating::Paused(PausedReason::MetricsUnavailable, message)
}
