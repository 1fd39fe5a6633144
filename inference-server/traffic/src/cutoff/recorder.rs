//! What one router counts of one rollout.
//!
//! Owns the ring of the window, the totals, the sets and what is outstanding. It must not know who is
//! asked, nor read a clock. Invariants: a request counts once, and for the rollout that it began in; memory
//! is bounded by constants and by how many requests the router lets in at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::counters::{ByArm, Counters, Tally};
use super::events::FirstEvents;
use super::run::{DISTINCT_INPUTS, Run};
use super::{Arm, Finding, judge};
use crate::table::CutOff;
use crate::time::whole;
use crate::{Millis, Weight};

/// Buckets of the window.
const BUCKETS: usize = 20;

/// A request that begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The arm that its key was assigned to.
    pub arm: Arm,
    /// The hash of its key ([`crate::assignment::Place::hash`]).
    pub user: u64,
    /// The canary's share just now ([`crate::effective::Shares::comparable`]); `None` where one arm has
    /// all, and users cannot be compared.
    pub weight: Option<Weight>,
    /// After how long it is slow ([`super::Latency::limit`]).
    pub limit: Option<Duration>,
}

/// A request that is under way. It is given back to [`Recorder::end`], whatever became of it.
#[derive(Debug)]
#[must_use = "a request that never ends is slow for ever"]
pub struct Ticket {
    start: Start,
    slow_at: Option<Millis>,
    answered: Option<Millis>,
    number: u64,
    rollout: u64,
}

impl Ticket {
    /// When the request is slow, where that is known.
    pub const fn slow_at(&self) -> Option<Millis> {
        self.slow_at
    }
}

/// What became of a request, as far as the arm is concerned that its key was assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with a score or with what is wrong with the request.
    Answered,
    /// It was answered with scores that were all remembered: that says nothing of how long the arm takes, and
    /// the cut-off does not count it.
    Remembered,
    /// It was answered with a failure, not within its deadline, or by another revision.
    Failed,
    /// So many of its scores were no numbers.
    NonFinite(u64),
    /// There was no room for it.
    Refused,
    /// There was nobody to connect to, or the connection was lost.
    Unreachable,
    /// The answer was not waited for: the client left, or stable was faster.
    Abandoned,
    /// Stable, asked later for the same, answered in less than `1/slowFactor` of the time that it has
    /// waited. Where a limit is known, the limit alone says what is slow, for both arms alike.
    Overtaken,
    /// It failed, and stable failed at the same request in the same way.
    Excused,
}

/// The counts of one rollout in one router.
#[derive(Clone, Debug)]
pub struct Recorder {
    bucket: u64,
    ring: [Bucket; BUCKETS],
    total: ByArm<Tally>,
    runs: ByArm<Run>,
    errors: FirstEvents,
    slow: FirstEvents,
    /// By when they are slow.
    outstanding: BTreeMap<(Millis, u64), Start>,
    begun: u64,
    /// Rises with each rollout: what began in another one is not counted.
    rollout: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u64,
    arms: ByArm<Tally>,
}

impl Recorder {
    /// Nothing is counted yet; the window is the table's.
    pub fn new(window: Duration) -> Self {
        Self {
            bucket: width(window),
            ring: [Bucket::default(); BUCKETS],
            total: ByArm::default(),
            runs: ByArm::default(),
            errors: FirstEvents::default(),
            slow: FirstEvents::default(),
            outstanding: BTreeMap::new(),
            begun: 0,
            rollout: 0,
        }
    }

    /// Counts another rollout from now on. What is outstanding of the last one says nothing of this one.
    pub fn restart(&mut self, window: Duration) {
        *self = Self {
            rollout: self.rollout + 1,
            ..Self::new(window)
        };
    }

    /// Another window, as a new table says. What is in the old one is not looked at any more.
    pub fn set_window(&mut self, window: Duration) {
        if self.bucket != width(window) {
            self.bucket = width(window);
            self.ring = [Bucket::default(); BUCKETS];
        }
    }

    /// Forgets what was counted, after a cut-off that nobody confirmed: else the same counts would be
    /// the same verdict. What is outstanding is counted when it is done.
    pub fn forget(&mut self) {
        let outstanding = std::mem::take(&mut self.outstanding);
        let (begun, rollout) = (self.begun, self.rollout);
        *self = Self {
            bucket: self.bucket,
            outstanding,
            begun,
            rollout,
            ..Self::new(Duration::ZERO)
        };
    }

    /// A request begins.
    pub fn begin(&mut self, start: Start, now: Millis) -> Ticket {
        self.begun += 1;
        let slow_at = start.limit.map(|limit| now.plus(limit));
        if let Some(slow_at) = slow_at {
            self.outstanding.insert((slow_at, self.begun), start);
        }
        Ticket {
            start,
            slow_at,
            answered: None,
            number: self.begun,
            rollout: self.rollout,
        }
    }

    /// The input of a request that has one was scored: `input` and `score` stand for both ([`super::fingerprint`]).
    pub fn scored(&mut self, ticket: &Ticket, input: u64, score: u64) {
        if ticket.rollout == self.rollout {
            self.runs.of_mut(ticket.start.arm).saw(input, score);
        }
    }

    /// The inputs of one request were scored. They may be alike, cut to one text or copies of each other, so
    /// that they are no evidence apart: one of them counts towards a run, and two scores end it.
    pub fn scored_together(&mut self, ticket: &Ticket, scored: &[(u64, u64)]) {
        let Some((input, score)) = scored.first() else {
            return;
        };
        self.scored(ticket, *input, *score);
        if let Some((input, score)) = scored.iter().rfind(|(_, other)| other != score) {
            self.scored(ticket, *input, *score);
        }
    }

    /// A request is answered, and what that is worth is not known yet: it takes no longer.
    pub fn answered(&mut self, ticket: &mut Ticket, now: Millis) {
        ticket.answered = Some(now);
        if let Some(slow_at) = ticket.slow_at.filter(|at| *at > now)
            && ticket.rollout == self.rollout
        {
            self.outstanding.remove(&(slow_at, ticket.number));
        }
    }

    /// A request is done.
    pub fn end(&mut self, ticket: Ticket, outcome: Outcome, now: Millis) {
        let Ticket {
            start,
            slow_at,
            answered,
            number,
            rollout,
        } = ticket;
        if rollout != self.rollout {
            return;
        }
        if let Some(slow_at) = slow_at {
            self.outstanding.remove(&(slow_at, number));
        }
        // Where nothing is known of stable, its answer to the same request is.
        let overtaken = slow_at.is_none() && outcome == Outcome::Overtaken;
        let slow = overtaken || slow_at.is_some_and(|slow_at| slow_at <= answered.unwrap_or(now));
        let Some(mut tally) = tally(outcome, slow) else {
            return;
        };
        // Stable cannot be overtaken, so that is no event that the arms could be compared by.
        if let Some(weight) = start.weight.filter(|_| !overtaken) {
            if tally.errors > 0 {
                self.errors.had(start.user, weight, start.arm);
            }
            if tally.slow > 0 {
                self.slow.had(start.user, weight, start.arm);
            }
        }
        tally.requests = 1;
        let counted = self.bucket_of(now).of_mut(start.arm);
        *counted = *counted + tally;
        let counted = self.total.of_mut(start.arm);
        *counted = *counted + tally;
    }

    /// All counts as they are now. What has waited so long that it is slow already is in them.
    pub fn counters(&self, now: Millis) -> Counters {
        let current = now.0 / self.bucket;
        let oldest = u64::try_from(BUCKETS).unwrap_or(u64::MAX);
        let recent = |bucket: &&Bucket| bucket.number + oldest > current;
        let mut window = ByArm::<Tally>::default();
        for bucket in self.ring.iter().filter(recent) {
            window.stable = window.stable + bucket.arms.stable;
            window.canary = window.canary + bucket.arms.canary;
        }
        let (mut total, mut slow) = (self.total, self.slow.clone());
        for start in self
            .outstanding
            .range(..=(now, u64::MAX))
            .map(|(_, start)| start)
        {
            let waiting = Tally {
                requests: 1,
                slow: 1,
                ..Tally::default()
            };
            for counted in [window.of_mut(start.arm), total.of_mut(start.arm)] {
                *counted = *counted + waiting;
            }
            if let Some(weight) = start.weight {
                slow.had(start.user, weight, start.arm);
            }
        }
        Counters {
            window,
            total,
            runs: self.runs.clone(),
            errors: self.errors.clone(),
            slow,
        }
    }

    /// Whether the canary has had one score for so many inputs that it may be one for everything.
    pub fn repeats(&self) -> bool {
        self.runs.canary.length() >= DISTINCT_INPUTS
    }

    /// Whether this router alone has a reason to cut the canary off.
    pub fn judge(&self, rules: &CutOff, now: Millis) -> Option<Finding> {
        judge(&self.counters(now), rules)
    }

    /// When the next request that is outstanding is slow: [`Self::judge`] may say something else then.
    pub fn next_slow(&self, now: Millis) -> Option<Millis> {
        let mut after = self.outstanding.range((now, u64::MAX)..);
        after.next().map(|((slow_at, _), _)| *slow_at)
    }

    fn bucket_of(&mut self, now: Millis) -> &mut ByArm<Tally> {
        let number = now.0 / self.bucket;
        let [first, rest @ ..] = &mut self.ring;
        let place = usize::try_from(number).unwrap_or_default() % BUCKETS;
        let bucket = match place.checked_sub(1) {
            None => first,
            Some(place) => rest.get_mut(place).unwrap_or(first),
        };
        if bucket.number != number {
            *bucket = Bucket {
                number,
                arms: ByArm::default(),
            };
        }
        &mut bucket.arms
    }
}

/// Milliseconds of one bucket.
fn width(window: Duration) -> u64 {
    let buckets = u64::try_from(BUCKETS).unwrap_or(u64::MAX);
    (whole(window) / buckets).max(1)
}

/// What an outcome counts as; `None` where it counts for nobody.
fn tally(outcome: Outcome, slow: bool) -> Option<Tally> {
    let none = Tally::default();
    let mut tally = match outcome {
        Outcome::Answered => none,
        Outcome::Failed => Tally { errors: 1, ..none },
        Outcome::NonFinite(scores) => Tally {
            errors: 1,
            non_finite: scores,
            ..none
        },
        Outcome::Refused => Tally { refused: 1, ..none },
        Outcome::Unreachable => Tally {
            unreachable: 1,
            ..none
        },
        // Nobody knows what it would have been, unless it was slow by then.
        Outcome::Abandoned | Outcome::Overtaken if slow => none,
        Outcome::Abandoned | Outcome::Overtaken | Outcome::Remembered | Outcome::Excused => {
            return None;
        }
    };
    tally.slow = u64::from(slow);
    Some(tally)
}
