//! What routers report of a rollout, and the operator adds up.
//!
//! Owns sums and sets that have no clock in them: a window is summed by the router that counted it.
//! Invariant: [`Counters::merge`] is associative and commutative, and an empty one changes nothing.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::Arm;
use super::events::{EventsDocument, FirstEvents};
use super::run::{Run, RunDocument};
use crate::Revision;

/// One of each arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ByArm<T: Default> {
    /// The stable revision's.
    pub stable: T,
    /// The canary's.
    pub canary: T,
}

impl<T: Default> ByArm<T> {
    /// That of an arm.
    pub const fn of(&self, arm: Arm) -> &T {
        match arm {
            Arm::Stable => &self.stable,
            Arm::Canary => &self.canary,
        }
    }

    pub(crate) const fn of_mut(&mut self, arm: Arm) -> &mut T {
        match arm {
            Arm::Stable => &mut self.stable,
            Arm::Canary => &mut self.canary,
        }
    }
}

/// What became of the requests of one arm. Those that were answered and late are in `slow`, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// Requests that are done, and those that have waited so long that they are slow already.
    pub requests: u64,
    /// Of them, those that were answered with a failure, not in time, or with a score that is no number.
    pub errors: u64,
    /// Those that the endpoint refused for want of room.
    pub refused: u64,
    /// Those that found no endpoint to connect to.
    pub unreachable: u64,
    /// Those that were slow.
    pub slow: u64,
    /// Scores, not requests, that were no numbers.
    pub non_finite: u64,
}

impl Tally {
    /// Requests that failed or were refused.
    pub const fn failed(&self) -> u64 {
        self.errors.saturating_add(self.refused)
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            refused: self.refused.saturating_add(other.refused),
            unreachable: self.unreachable.saturating_add(other.unreachable),
            slow: self.slow.saturating_add(other.slow),
            non_finite: self.non_finite.saturating_add(other.non_finite),
        }
    }
}

/// What was counted of one rollout, in one router or in several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CountersDocument", into = "CountersDocument")]
pub struct Counters {
    /// Within the window of the table.
    pub window: ByArm<Tally>,
    /// Since the rollout began.
    pub total: ByArm<Tally>,
    /// The scores that were seen last.
    pub runs: ByArm<Run>,
    /// Users by their first error.
    pub errors: FirstEvents,
    /// Users by their first slow request.
    pub slow: FirstEvents,
}

impl Counters {
    /// Both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let add = |one: ByArm<Tally>, two: ByArm<Tally>| ByArm {
            stable: one.stable + two.stable,
            canary: one.canary + two.canary,
        };
        Self {
            window: add(self.window, other.window),
            total: add(self.total, other.total),
            runs: ByArm {
                stable: self.runs.stable.merge(other.runs.stable),
                canary: self.runs.canary.merge(other.runs.canary),
            },
            errors: self.errors.merge(other.errors),
            slow: self.slow.merge(other.slow),
        }
    }
}

/// Counters as they are written.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Counters"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CountersDocument {
    /// Within the window of the table.
    #[serde(default)]
    window: ByArm<Tally>,
    /// Since the rollout began.
    #[serde(default)]
    total: ByArm<Tally>,
    /// The scores that stable gave last.
    stable_run: RunDocument,
    /// The scores that the canary gave last.
    canary_run: RunDocument,
    /// Users by their first error.
    #[serde(default)]
    errors: Vec<EventsDocument>,
    /// Users by their first slow request.
    #[serde(default)]
    slow: Vec<EventsDocument>,
}

impl From<Counters> for CountersDocument {
    fn from(counters: Counters) -> Self {
        Self {
            window: counters.window,
            total: counters.total,
            stable_run: counters.runs.stable.into(),
            canary_run: counters.runs.canary.into(),
            errors: counters.errors.into(),
            slow: counters.slow.into(),
        }
    }
}

impl From<CountersDocument> for Counters {
    fn from(document: CountersDocument) -> Self {
        Self {
            window: document.window,
            total: document.total,
            runs: ByArm {
                stable: document.stable_run.into(),
                canary: document.canary_run.into(),
            },
            errors: document.errors.into(),
            slow: document.slow.into(),
        }
    }
}

/// Which rollout was counted: counts of others are never added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The rollout's id; absent where a table names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// Its canary.
    pub canary: Revision,
}
