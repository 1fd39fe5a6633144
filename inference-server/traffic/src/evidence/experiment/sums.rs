//! What is summed of an epoch.
//!
//! Invariant: [`Sums::merge`] is commutative, and an empty one changes nothing; counts are added exactly,
//! sums of values to within the rounding of an addition, and sets by union.

use stats::Cross;

use super::super::preferences::Lots;
use super::super::{ByCell, Sum};
use super::{Latencies, Rights, Subject, Unseen, Users};
use crate::table::experiment::{Arm, Metric, Mode, Signal, Source};

/// Values of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// How many: scores, requests or events.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

impl Sum for Cell {
    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum: self.sum + other.sum,
        }
    }
}

/// Requests of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Requests of the arm of which it is known what became of them, and that were not remembered.
    pub requests: u64,
    /// Of them, those that the arm's variant did not answer, or not with a number: failed, late, refused, or
    /// nobody was there. Also where stable answered in its place.
    pub errors: u64,
}

impl Sum for Exposure {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
        }
    }
}

/// Requests that a variant was to score and did not (Paired).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// It had no room: its queue was full, or it said so.
    pub full: u64,
    /// It failed, gave no number, or was not there.
    pub failed: u64,
    /// It was late.
    pub late: u64,
}

impl Missing {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.full
            .saturating_add(self.failed)
            .saturating_add(self.late)
    }
}

/// What is summed of an arm, whatever is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmSums {
    /// Its requests. Of a variant in Paired: those that it was to score too.
    pub cells: ByCell<Exposure>,
    /// Requests that stable answered in its place.
    pub fallbacks: u64,
    /// Requests that it was to score too; what is neither paired nor missing is under way.
    pub eligible: u64,
    /// Those that it scored.
    pub paired: u64,
    /// Those that it did not.
    pub missing: Missing,
}

impl ArmSums {
    fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.fallbacks = self.fallbacks.saturating_add(other.fallbacks);
        self.eligible = self.eligible.saturating_add(other.eligible);
        self.paired = self.paired.saturating_add(other.paired);
        let (ours, theirs) = (&mut self.missing, other.missing);
        ours.full = ours.full.saturating_add(theirs.full);
        ours.failed = ours.failed.saturating_add(theirs.failed);
        ours.late = ours.late.saturating_add(theirs.late);
    }
}

/// Differences of a variant's scores from the control's (Paired).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairSums {
    /// Texts that both scored, and the sum of the variant's score less the control's, both clipped.
    pub cells: ByCell<Cell>,
    /// Texts that they do not agree about.
    pub differ: u64,
    /// The control's scores (a) and the variant's (b).
    pub cross: Cross,
}

impl PairSums {
    fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.differ = self.differ.saturating_add(other.differ);
        let (one, two) = (self.cross, other.cross);
        self.cross = Cross {
            pairs: one.pairs.saturating_add(two.pairs),
            a: one.a + two.a,
            b: one.b + two.b,
            aa: one.aa + two.aa,
            bb: one.bb + two.bb,
            ab: one.ab + two.ab,
        };
    }
}

/// What is summed of one metric and arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricSums {
    /// Score: scores and their sum. Latency: requests and the sum of their logarithms. Slower than: requests
    /// and those that were slow. Errors: requests and errors. Events: events and the sum of their values;
    /// those who had none are in [`Sums::users`]. Preferences: nothing.
    pub cells: ByCell<Cell>,
    /// The sum of the squares of a signal's values; 0 for events.
    pub squares: f64,
    /// Of a latency.
    pub latencies: Option<Latencies>,
    /// Of a score in Paired, and no control.
    pub pairs: Option<PairSums>,
}

impl MetricSums {
    fn new(metric: &Metric, mode: Mode, arm: Arm) -> Self {
        let is_score = metric.source == Source::Signal(Signal::Score);
        let is_paired = is_score && mode == Mode::Paired && !arm.is_control();
        Self {
            cells: ByCell::default(),
            squares: 0.0,
            latencies: metric.is_of_latency().then(Latencies::default),
            pairs: is_paired.then(PairSums::default),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.squares += other.squares;
        if let (Some(ours), Some(theirs)) = (&mut self.latencies, &other.latencies) {
            ours.merge(theirs);
        }
        if let (Some(ours), Some(theirs)) = (&mut self.pairs, &other.pairs) {
            ours.merge(theirs);
        }
    }

    /// What the statistics read: counts and sums.
    pub fn moments(&self) -> stats::Cells {
        self.cells.moments(|cell| (cell.count, cell.sum))
    }
}

/// What is counted beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests without the user key: answered as outside of the experiment.
    pub missing_key: u64,
    /// Those that were refused for it.
    pub refused_key: u64,
    /// Requests whose headers chose the variant: not counted in anything else.
    pub overridden: u64,
    /// Requests of users beyond [`super::MAX_USERS`]: not counted in anything else.
    pub beyond: u64,
    /// Requests of users who were seen in another arm here: not counted in anything else.
    pub in_another: u64,
    /// Events that were counted, those of [`Sums::unseen`] included.
    pub events: u64,
    /// Of them, those that came after the epoch was closed.
    pub late_events: u64,
    /// Events that came after the experiment was over: not counted in anything else.
    pub events_after: u64,
    /// Events of users who are in no arm, or of more users than are kept.
    pub unknown_users: u64,
    /// Events that no metric is of.
    pub unknown_events: u64,
    /// Events whose id was counted before.
    pub repeated_events: u64,
}

impl Counts {
    pub(super) const LENGTH: usize = 11;

    pub(super) const fn numbers(self) -> [u64; Self::LENGTH] {
        [
            self.missing_key,
            self.refused_key,
            self.overridden,
            self.beyond,
            self.in_another,
            self.events,
            self.late_events,
            self.events_after,
            self.unknown_users,
            self.unknown_events,
            self.repeated_events,
        ]
    }

    pub(super) const fn of(numbers: [u64; Self::LENGTH]) -> Self {
        let [
            missing_key,
            refused_key,
            overridden,
            beyond,
            in_another,
            events,
            late_events,
            events_after,
            unknown_users,
            unknown_events,
            repeated_events,
        ] = numbers;
        Self {
            missing_key,
            refused_key,
            overridden,
            beyond,
            in_another,
            events,
            late_events,
            events_after,
            unknown_users,
            unknown_events,
            repeated_events,
        }
    }

    fn plus(self, other: Self) -> Self {
        let mut sums = self.numbers();
        for (sum, more) in sums.iter_mut().zip(other.numbers()) {
            *sum = sum.saturating_add(more);
        }
        Self::of(sums)
    }
}

/// All that is summed of an epoch, by one router or by several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// By arm.
    pub arms: Vec<ArmSums>,
    /// By metric, and then by arm.
    pub metrics: Vec<Vec<MetricSums>>,
    /// Who was seen in which arm.
    pub users: Users,
    /// What was said of users whom the router has not seen.
    pub unseen: Unseen,
    /// Labelled pairs; empty where no metric is of them.
    pub rights: Rights,
    /// What is counted beside.
    pub counts: Counts,
}

impl Sums {
    /// Nothing was seen yet.
    pub fn new(subject: &Subject) -> Self {
        let of = |metric: &Metric| {
            let arms = subject.arms();
            arms.map(|arm| MetricSums::new(metric, subject.mode, arm))
                .collect()
        };
        Self {
            arms: subject.arms().map(|_| ArmSums::default()).collect(),
            metrics: subject.metrics.iter().map(of).collect(),
            ..Self::default()
        }
    }

    /// Those of a metric, by its place in the subject, and an arm.
    pub fn metric(&self, metric: usize, arm: Arm) -> Option<&MetricSums> {
        self.metrics.get(metric)?.get(arm.place())
    }

    pub(super) fn metric_mut(&mut self, metric: usize, arm: Arm) -> Option<&mut MetricSums> {
        self.metrics.get_mut(metric)?.get_mut(arm.place())
    }

    /// Those of an arm.
    pub fn arm(&self, arm: Arm) -> Option<&ArmSums> {
        self.arms.get(arm.place())
    }

    pub(super) fn arm_mut(&mut self, arm: Arm) -> Option<&mut ArmSums> {
        self.arms.get_mut(arm.place())
    }

    /// Adds those of the router `instance` to what is put together already, which has one lot like a router.
    pub fn absorb(&mut self, other: &Self, instance: &str) {
        let mut lots = Lots::held(self.rights.units.iter().map(|(unit, _)| *unit));
        self.merge(other, instance, &mut lots);
    }

    /// Adds those of the router `instance`, which are of the same subject.
    pub(super) fn merge(&mut self, other: &Self, instance: &str, lots: &mut Lots) {
        for (ours, theirs) in self.arms.iter_mut().zip(&other.arms) {
            ours.merge(theirs);
        }
        for (ours, theirs) in self.metrics.iter_mut().zip(&other.metrics) {
            for (ours, theirs) in ours.iter_mut().zip(theirs) {
                ours.merge(theirs);
            }
        }
        self.users.merge(&other.users);
        self.unseen.merge(&other.unseen);
        self.rights.merge(&other.rights, instance, lots);
        self.counts = self.counts.plus(other.counts);
    }

    /// With what was said of users whom somebody else has seen added to their arms. What is left was of
    /// nobody, and is counted as of unknown users. To be called on what is merged, and not to be merged again.
    #[must_use]
    pub fn settled(mut self) -> Self {
        for (unit, metric, told) in std::mem::take(&mut self.unseen).0 {
            let metric = usize::from(metric);
            let arm = self.users.get(unit).and_then(super::Seen::arm);
            let sums = arm.and_then(|arm| self.metric_mut(metric, arm));
            if let Some(sums) = sums {
                sums.cells.add(unit.cell(), told.cell);
                if told.is_positive {
                    self.users.had(unit, metric);
                }
            } else {
                let count = told.cell.count;
                self.counts.events = self.counts.events.saturating_sub(count);
                self.counts.unknown_users = self.counts.unknown_users.saturating_add(count);
            }
        }
        self
    }

    /// Users and the sum of an event's values, by cell of an arm: the mean of all who were seen, and not of
    /// those who had one (stats.md, domain trap 4).
    pub fn per_user(&self, metric: usize, arm: Arm) -> stats::Cells {
        let sums = self.metric(metric, arm);
        let mut cells: Vec<(u64, f64)> = Vec::new();
        // Users are in order, and so their cells are.
        let mut last = None;
        for (unit, seen) in self.users.iter() {
            if seen.arm() != Some(arm) {
                continue;
            }
            match cells.last_mut() {
                Some((users, _)) if last == Some(unit.cell()) => *users += 1,
                Some(_) | None => {
                    let sum = sums.map_or(0.0, |sums| sums.cells.get(unit.cell()).sum);
                    cells.push((1, sum));
                    last = Some(unit.cell());
                }
            }
        }
        stats::Cells::of(cells)
    }

    /// Those of one metric alone.
    pub(super) fn only(self, place: usize, metric: &Metric) -> Self {
        let rights = if metric.source == Source::Preferences {
            self.rights
        } else {
            Rights::default()
        };
        Self {
            metrics: self.metrics.into_iter().skip(place).take(1).collect(),
            users: self.users.only(place),
            unseen: self.unseen.only(place),
            rights,
            ..self
        }
    }
}
