//! What one router adds to its evidence of an epoch.
//!
//! Owns what becomes of a request's outcome, and of an event, in the sums. It must not know who was asked.
//! Invariants: a user counts in the first arm that it was seen in, and a request of it in another arm counts
//! in nothing; what was counted is never taken back; memory is fixed.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::super::{Admission as Labelled, Unit};
use super::latencies::milliseconds;
use super::unseen::Told;
use super::users::Seen;
use super::{Cell, Evidence, Exposure, Subject, Sums};
use crate::table::experiment::{Arm, Metric, Signal, Source};

/// The largest value that is summed: a million of its squares is a number still.
const LARGEST: f64 = 1e60;
/// Ids of events that are remembered, of the last ones.
const MOST_IDS: usize = 65_536;

/// Whether a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Counted,
    /// No more users are counted.
    Beyond,
    /// Its user was seen in another arm.
    InAnother,
}

/// A request of an arm that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whether the arm's variant did not answer it.
    pub is_error: bool,
    /// Whether the answer was remembered: then its scores count alone.
    pub is_remembered: bool,
    /// Whether stable has answered in the variant's place.
    pub is_fallback: bool,
    /// How long it took, where that says something.
    pub took: Option<Duration>,
}

/// Something that happened to a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Happening<'a> {
    /// What.
    pub event: &'a str,
    /// Its value, a number.
    pub value: f64,
    /// What tells it from others: of two with one id the first counts.
    pub id: Option<&'a str>,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It is counted.
    Counted,
    /// It will be where another router has seen the user.
    Awaited,
    /// Its id was counted before.
    Repeated,
    /// No metric is of it.
    UnknownEvent,
    /// The user is in no arm, or there is no room for more.
    UnknownUser,
}

/// Why a variant did not score what it was to score too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// It had no room.
    Full,
    /// It failed, or gave no number.
    Failed,
    /// It did not answer in time.
    Late,
}

/// The evidence of one router and one epoch, while it grows.
#[derive(Clone, Debug)]
pub struct Recorder {
    evidence: Evidence,
    ids: Ids,
}

impl Recorder {
    /// Nothing was seen yet.
    pub fn new(instance: String, pod: String, subject: Subject) -> Self {
        Self {
            evidence: Evidence {
                instance,
                pod,
                sequence: 0,
                leaving: false,
                closed: false,
                ready: vec![0; subject.variants.len()],
                sums: Sums::new(&subject),
                subject,
            },
            ids: Ids::default(),
        }
    }

    /// Of what it is.
    pub const fn subject(&self) -> &Subject {
        &self.evidence.subject
    }

    /// What was counted.
    pub const fn sums(&self) -> &Sums {
        &self.evidence.sums
    }

    /// A request of a user comes.
    pub fn expose(&mut self, unit: Unit, arm: Arm) -> Admission {
        let sums = &mut self.evidence.sums;
        match sums.users.get(unit) {
            Some(seen) if seen.arm() == Some(arm) => Admission::Counted,
            Some(_) => {
                sums.users.mark(unit, Seen::in_arm(arm));
                sums.counts.in_another = sums.counts.in_another.saturating_add(1);
                Admission::InAnother
            }
            None if sums.users.add(unit, arm) => {
                for (metric, told) in sums.unseen.take(unit) {
                    add_event(sums, unit, arm, usize::from(metric), told);
                }
                Admission::Counted
            }
            None => {
                sums.counts.beyond = sums.counts.beyond.saturating_add(1);
                Admission::Beyond
            }
        }
    }

    /// A request of a counted user is done.
    pub fn ended(&mut self, unit: Unit, arm: Arm, ended: Ended) {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        if let Some(of) = sums.arm_mut(arm) {
            of.fallbacks = of.fallbacks.saturating_add(u64::from(ended.is_fallback));
        }
        request(subject, sums, unit, arm, ended.is_error);
        // What a cache has answered says nothing of how long the variant takes.
        if let Some(took) = ended.took.filter(|_| !ended.is_remembered) {
            latency(subject, sums, unit, arm, took);
        }
    }

    /// It is known later how long a request took.
    pub fn took(&mut self, unit: Unit, arm: Arm, took: Duration) {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        latency(subject, sums, unit, arm, took);
    }

    /// The client of a counted user got these scores. What is no number counts nowhere.
    pub fn scored(&mut self, unit: Unit, arm: Arm, scores: impl IntoIterator<Item = f64> + Clone) {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        for (place, metric) in of_scores(subject) {
            for score in scores.clone().into_iter().filter(|score| is_summed(*score)) {
                add_value(sums, unit, arm, place, metric.clipped(score));
            }
        }
    }

    /// A request that the control has answered is to be scored by a variant too.
    pub fn eligible(&mut self, arm: Arm) {
        if let Some(of) = self.evidence.sums.arm_mut(arm) {
            of.eligible = of.eligible.saturating_add(1);
        }
    }

    /// It was not: an error of the variant.
    pub fn lacking(&mut self, unit: Unit, arm: Arm, why: Lacking) {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        if let Some(of) = sums.arm_mut(arm) {
            let count = match why {
                Lacking::Full => &mut of.missing.full,
                Lacking::Failed => &mut of.missing.failed,
                Lacking::Late => &mut of.missing.late,
            };
            *count = count.saturating_add(1);
        }
        request(subject, sums, unit, arm, true);
    }

    /// It was: the control's score and the variant's, of each of its texts.
    pub fn paired(
        &mut self,
        unit: Unit,
        arm: Arm,
        pairs: impl IntoIterator<Item = (f64, f64)> + Clone,
    ) {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        if let Some(of) = sums.arm_mut(arm) {
            of.paired = of.paired.saturating_add(1);
        }
        request(subject, sums, unit, arm, false);
        for (place, metric) in of_scores(subject) {
            for (control, variant) in pairs.clone() {
                if !is_summed(control) || !is_summed(variant) {
                    continue;
                }
                let (control, variant) = (metric.clipped(control), metric.clipped(variant));
                add_value(sums, unit, arm, place, variant);
                let pairs = sums.metric_mut(place, arm).and_then(|of| of.pairs.as_mut());
                let Some(pairs) = pairs else {
                    continue;
                };
                let sum = variant - control;
                pairs.cells.add(unit.cell(), Cell { count: 1, sum });
                // Not equal: what both clip to one bound is no difference.
                pairs.differ = pairs.differ.saturating_add(u64::from(sum.abs() > 0.0));
                let cross = &mut pairs.cross;
                cross.pairs = cross.pairs.saturating_add(1);
                cross.a += control;
                cross.b += variant;
                cross.aa += control * control;
                cross.bb += variant * variant;
                cross.ab += control * variant;
            }
        }
    }

    /// Something happened to a user; `is_enrolled` is whether its slot is an arm's.
    pub fn happened(&mut self, unit: Unit, is_enrolled: bool, what: Happening<'_>) -> Happened {
        let told = self.tell(unit, is_enrolled, what);
        let counts = &mut self.evidence.sums.counts;
        let count = match told {
            Happened::Counted | Happened::Awaited => &mut counts.events,
            Happened::Repeated => &mut counts.repeated_events,
            Happened::UnknownEvent => &mut counts.unknown_events,
            Happened::UnknownUser => &mut counts.unknown_users,
        };
        *count = count.saturating_add(1);
        if self.evidence.closed && matches!(told, Happened::Counted | Happened::Awaited) {
            counts.late_events = counts.late_events.saturating_add(1);
        }
        told
    }

    fn tell(&mut self, unit: Unit, is_enrolled: bool, what: Happening<'_>) -> Happened {
        let Evidence { subject, sums, .. } = &mut self.evidence;
        let is_it = |metric: &&Metric| matches!(&metric.source, Source::Event(event) if event.as_str() == what.event);
        if !subject.metrics.iter().any(|metric| is_it(&metric)) || !is_summed(what.value) {
            return Happened::UnknownEvent;
        }
        if what.id.is_some_and(|id| self.ids.has(id)) {
            return Happened::Repeated;
        }
        let seen = sums.users.get(unit);
        let arm = seen.and_then(Seen::arm);
        let mut happened = match (seen, arm) {
            (Some(_), Some(_)) => Happened::Counted,
            (None, _) if is_enrolled => Happened::Awaited,
            (Some(_) | None, None) | (None, Some(_)) => return Happened::UnknownUser,
        };
        let metrics = (0_u8..).zip(&subject.metrics);
        for (place, metric) in metrics.filter(|(_, metric)| is_it(metric)) {
            let told = Told::one(metric.clipped(what.value));
            match arm {
                Some(arm) => add_event(sums, unit, arm, usize::from(place), told),
                None if sums.unseen.add(unit, place, told) => {}
                None => happened = Happened::UnknownUser,
            }
        }
        if let Some(id) = what.id.filter(|_| happened != Happened::UnknownUser) {
            self.ids.add(id);
        }
        happened
    }

    /// Events came after the experiment was over.
    pub fn happened_after(&mut self) {
        let counts = &mut self.evidence.sums.counts;
        counts.events_after = counts.events_after.saturating_add(1);
    }

    /// Whether a user was seen.
    pub fn has_seen(&self, unit: Unit) -> bool {
        self.evidence.sums.users.get(unit).is_some()
    }

    /// A request had no user key.
    pub fn without_key(&mut self, is_refused: bool) {
        let counts = &mut self.evidence.sums.counts;
        let count = if is_refused {
            &mut counts.refused_key
        } else {
            &mut counts.missing_key
        };
        *count = count.saturating_add(1);
    }

    /// A request's headers chose the variant. A user who is counted in another arm is not any more.
    pub fn overridden(&mut self, unit: Option<Unit>, arm: Arm) {
        let sums = &mut self.evidence.sums;
        sums.counts.overridden = sums.counts.overridden.saturating_add(1);
        if let Some(unit) = unit {
            sums.users.mark(unit, Seen::in_arm(arm));
        }
    }

    /// Whether a labelled pair of the unit would be counted.
    pub fn admission(&self, unit: Unit) -> Labelled {
        self.evidence.sums.rights.admission(unit)
    }

    /// All variants were asked about a labelled pair, in the order of their arms: whether each put the chosen
    /// answer first, `None` where it did not answer.
    pub fn judged(&mut self, unit: Unit, of: &[Option<bool>]) -> Labelled {
        self.evidence.sums.rights.judged(unit, of)
    }

    /// Labelled pairs were not scored at all: so many of units that were counted before, and so many of more
    /// than are kept.
    pub fn not_admitted(&mut self, repeated: usize, beyond: usize) {
        let rights = &mut self.evidence.sums.rights;
        let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
        rights.repeated = rights.repeated.saturating_add(count(repeated));
        rights.beyond = rights.beyond.saturating_add(count(beyond));
    }

    /// So many endpoints of each arm take requests.
    pub fn set_ready(&mut self, ready: Vec<u32>) {
        self.evidence.ready = ready;
    }

    /// The router is about to go.
    pub fn leave(&mut self) {
        self.evidence.leaving = true;
    }

    /// The epoch is over.
    pub fn close(&mut self) {
        self.evidence.closed = true;
    }

    /// What was seen so far, under the next sequence.
    pub fn snapshot(&mut self) -> Evidence {
        self.evidence.sequence += 1;
        self.evidence.clone()
    }
}

fn of_scores(subject: &Subject) -> impl Iterator<Item = (usize, &Metric)> {
    let is_score = |metric: &Metric| metric.source == Source::Signal(Signal::Score);
    let metrics = subject.metrics.iter().enumerate();
    metrics.filter(move |(_, metric)| is_score(metric))
}

fn add_value(sums: &mut Sums, unit: Unit, arm: Arm, metric: usize, value: f64) {
    if let Some(of) = sums.metric_mut(metric, arm) {
        let one = Cell {
            count: 1,
            sum: value,
        };
        of.cells.add(unit.cell(), one);
        of.squares += value * value;
    }
}

fn add_event(sums: &mut Sums, unit: Unit, arm: Arm, metric: usize, told: Told) {
    if let Some(of) = sums.metric_mut(metric, arm) {
        of.cells.add(unit.cell(), told.cell);
    }
    if told.is_positive {
        sums.users.had(unit, metric);
    }
}

fn request(subject: &Subject, sums: &mut Sums, unit: Unit, arm: Arm, is_error: bool) {
    let errors = u64::from(is_error);
    if let Some(of) = sums.arm_mut(arm) {
        let one = Exposure {
            requests: 1,
            errors,
        };
        of.cells.add(unit.cell(), one);
    }
    for (place, metric) in subject.metrics.iter().enumerate() {
        if metric.source != Source::Signal(Signal::Errors) {
            continue;
        }
        add_value(sums, unit, arm, place, f64::from(u8::from(is_error)));
        // In Paired all variants are asked for all users: whose error it is, no bit of the user says.
        let is_users = sums.users.get(unit).and_then(Seen::arm) == Some(arm);
        if is_error && is_users {
            sums.users.had(unit, place);
        }
    }
}

fn latency(subject: &Subject, sums: &mut Sums, unit: Unit, arm: Arm, took: Duration) {
    let millis = milliseconds(took);
    for (place, metric) in subject.metrics.iter().enumerate() {
        let value = match metric.source {
            Source::Signal(Signal::Latency) => {
                // What is below the grid is not told apart, and has a logarithm.
                stats::ln_latency(metric.clipped(millis.max(0.5))).unwrap_or_default()
            }
            Source::Signal(Signal::SlowerThan(threshold)) => {
                f64::from(u8::from(millis > f64::from(threshold)))
            }
            Source::Signal(Signal::Score | Signal::Errors)
            | Source::Event(_)
            | Source::Preferences => continue,
        };
        add_value(sums, unit, arm, place, value);
        let of = sums.metric_mut(place, arm);
        if let Some(latencies) = of.and_then(|of| of.latencies.as_mut()) {
            latencies.add(took);
        }
    }
}

fn is_summed(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// The ids of the last events.
#[derive(Clone, Debug, Default)]
struct Ids {
    known: BTreeSet<u64>,
    order: VecDeque<u64>,
}

impl Ids {
    fn hash(id: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish()
    }

    fn has(&self, id: &str) -> bool {
        self.known.contains(&Self::hash(id))
    }

    fn add(&mut self, id: &str) {
        let hash = Self::hash(id);
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        if self.order.len() > MOST_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
