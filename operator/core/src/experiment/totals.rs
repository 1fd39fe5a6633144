//! What was counted of an epoch, of all routers together, as plain data.
//!
//! Owns the types alone. Everything is by arm, in the order of [`super::spec::Design::variants`], and by
//! metric in its order. Invariant: none; whatever stands here, [`super::analysis`] has an answer.

use crds::v1alpha1::ab_experiment::status::LeftOut;

pub use crate::gates::Sums;

/// What was counted of an epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// By arm.
    pub arms: Vec<Arm>,
    /// By metric, and then by arm.
    pub metrics: Vec<Vec<Counted>>,
    /// What is not counted, and why.
    pub left_out: LeftOut,
}

/// What was counted of an arm, whatever is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arm {
    /// Distinct users of it and of no other arm.
    pub users: u64,
    /// Requests.
    pub requests: u64,
    /// Of them, those that it did not answer.
    pub errors: u64,
    /// Requests that it was to score too (Paired).
    pub eligible: u64,
    /// Those that it scored.
    pub answered: u64,
}

/// What was counted of a metric and an arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// By hash cell of users, x and y: users who were served and the sum of their values (Mean of an event);
    /// events or requests and the sum of their values (all others).
    pub cells: Sums,
    /// Distinct users.
    pub users: u64,
    /// Of them, those who had the event.
    pub had: u64,
    /// Differences from control's scores of the same texts (Score in Paired; not of control).
    pub pairs: Option<Pairs>,
    /// Labelled pairs that control scored too (Preferences; not of control).
    pub labelled: Option<Labelled>,
    /// What Prometheus answered at this look.
    pub answer: Option<f64>,
}

/// Differences from control's scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// By hash cell: texts that both scored, and the sum of the differences, variant less control.
    pub cells: Sums,
    /// Texts on which they differ.
    pub differ: u64,
}

/// Labelled pairs, each unit once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Both have them right.
    pub both_right: u64,
    /// Control alone has.
    pub control_alone: u64,
    /// The variant alone has.
    pub candidate_alone: u64,
    /// Neither has.
    pub both_wrong: u64,
}

impl Labelled {
    /// All.
    pub const fn total(self) -> u64 {
        let right = self.both_right.saturating_add(self.control_alone);
        let wrong = self.candidate_alone.saturating_add(self.both_wrong);
        right.saturating_add(wrong)
    }
}

impl Totals {
    /// Users of all arms.
    pub fn users(&self) -> u64 {
        let users = self.arms.iter().map(|arm| arm.users);
        users.fold(0, u64::saturating_add)
    }

    /// Of a metric and an arm; nothing where there is none.
    pub fn counted(&self, metric: usize, arm: usize) -> Counted {
        let of = self.metrics.get(metric).and_then(|arms| arms.get(arm));
        of.cloned().unwrap_or_default()
    }

    /// Of an arm; nothing where there is none.
    pub fn arm(&self, arm: usize) -> Arm {
        self.arms.get(arm).copied().unwrap_or_default()
    }
}
