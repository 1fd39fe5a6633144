//! Gates: what a new revision has to show, and what was seen of it so far.
//!
//! Owns what a spec's gates mean ([`read`]), what is measured for them ([`Measurement`]), the verdict of
//! one look ([`judge`]) and what is kept between looks ([`Track`]). It must not know where a measurement
//! comes from, nor what a rollout makes of a verdict ([`crate::rollout`] does). Invariants: a verdict is
//! valid however often one looks; only a measurement that shows harm is a `Fail`, never one that is
//! missing; a gate that has failed stays failed.

mod answer;
#[cfg(test)]
mod claims;
mod collection;
pub(crate) mod figures;
mod gate;
mod judge;
mod measurement;
mod read;
#[cfg(test)]
mod simulation;
mod stage;
mod track;

pub use answer::MAX_ANSWER_BYTES;
pub use collection::{Collection, Shadow, collection};
pub use gate::{
    Bound, Comparison, Gate, GoldenRule, Kind, PairedRule, PreferencesRule, RouterRule, Rule,
};
pub use judge::{Finding, Judgement, Look, judge};
pub use measurement::{
    Gathered, Golden, Labelled, Measurement, Pairs, PrometheusAnswer, Scored, Stratum, Sums,
};
pub use read::{COMPARING, PER_ROLLOUT, read};
pub use stage::due;
pub(crate) use stage::look;
pub use track::{Frozen, RESULTS_IN_A_ROW, Track};
