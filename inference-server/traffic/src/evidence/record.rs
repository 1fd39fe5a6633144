//! What one router adds to its evidence.
//!
//! Owns what becomes of a request's outcome in the sums, and the request that waits to be compared with
//! the next one. It must not know who was asked. Invariants: no allocation for a request; what was counted
//! is never taken back.

use std::time::Duration;

use super::shadow::{Pair, PairCell};
use super::sums::{ArmCell, SlowCell};
use super::{Admission, Evidence, MAX_THRESHOLDS, Subject, Sums, Unit, Verdict};
use crate::cutoff::{Arm, Outcome};
use crate::time::whole;

/// The largest score that is summed: a million of its squares is a number still.
const LARGEST: f64 = 1e60;

/// A request of an arm that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What became of it, as far as the arm is concerned that its key was assigned to.
    pub outcome: Outcome,
    /// How long that took.
    pub took: Duration,
}

/// Why a request that was to be scored by both was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// The queue was full.
    Full,
    /// The other revision failed, or gave no number.
    Failed,
    /// It did not answer in time.
    Late,
}

/// The evidence of one router and one rollout, while it grows.
#[derive(Clone, Debug)]
pub struct Recorder {
    evidence: Evidence,
    /// A request that is compared with the next one of another cell.
    held: Option<(u16, Pair)>,
}

impl Recorder {
    /// Nothing was seen yet.
    pub fn new(instance: String, pod: String, subject: Subject) -> Self {
        Self {
            evidence: Evidence {
                instance,
                pod,
                subject,
                sequence: 0,
                leaving: false,
                sums: Sums::default(),
            },
            held: None,
        }
    }

    /// Of which rollout it is.
    pub const fn subject(&self) -> &Subject {
        &self.evidence.subject
    }

    /// Looks at these thresholds of slowness from now on, in milliseconds. What was counted by others
    /// stays as long as there is room for it; more than [`MAX_THRESHOLDS`] are not looked at.
    pub fn watch(&mut self, thresholds: &[u32]) {
        let wanted: Vec<u32> = thresholds.iter().copied().take(MAX_THRESHOLDS).collect();
        for arm in [Arm::Stable, Arm::Canary] {
            let slow = &mut self.evidence.sums.arms.of_mut(arm).slow;
            for threshold in &wanted {
                slow.entry(*threshold).or_default();
            }
            while slow.len() > MAX_THRESHOLDS {
                let unwanted = slow.keys().find(|threshold| !wanted.contains(threshold));
                let Some(unwanted) = unwanted.copied() else {
                    break;
                };
                slow.remove(&unwanted);
            }
        }
    }

    /// The highest threshold that is looked at. Until it has passed, it is worth to wait for an answer.
    pub fn patience(&self) -> Duration {
        let highest = self.evidence.sums.arms.canary.slow.keys().next_back();
        Duration::from_millis(highest.copied().unwrap_or_default().into())
    }

    /// A request is done.
    pub fn ended(&mut self, arm: Arm, cell: u16, ended: Ended) {
        let sums = self.evidence.sums.arms.of_mut(arm);
        let mut non_finite = false;
        let (known, is_error) = match ended.outcome {
            Outcome::Answered | Outcome::Remembered => (true, false),
            Outcome::Failed | Outcome::Refused => (true, true),
            Outcome::NonFinite(scores) => {
                sums.non_finite = sums.non_finite.saturating_add(scores);
                non_finite = true;
                (true, true)
            }
            Outcome::Unreachable => {
                sums.unreachable = sums.unreachable.saturating_add(1);
                return;
            }
            // Nobody knows what it would have been, but that it took so long.
            Outcome::Abandoned | Outcome::Overtaken => (false, false),
            Outcome::Excused => return,
        };
        if known {
            let one = ArmCell {
                requests: 1,
                errors: u64::from(is_error),
                non_finite: u64::from(non_finite),
                ..ArmCell::default()
            };
            sums.cells.add(cell, one);
        }
        // What a cache has answered was asked, and says nothing of how long the revision takes.
        if ended.outcome == Outcome::Remembered {
            return;
        }
        let took = whole(ended.took);
        for (threshold, cells) in &mut sums.slow {
            let is_slow = took > u64::from(*threshold);
            if known || is_slow {
                let slow = u64::from(is_slow);
                cells.add(cell, SlowCell { requests: 1, slow });
            }
        }
    }

    /// One of the request's inputs has this score. What is no number is in its outcome.
    pub fn scored(&mut self, arm: Arm, cell: u16, score: f64) {
        if !is_summed(score) {
            return;
        }
        let one = ArmCell {
            scores: 1,
            sum: score,
            squares: score * score,
            ..ArmCell::default()
        };
        self.evidence.sums.arms.of_mut(arm).cells.add(cell, one);
    }

    /// A request is to be scored by both revisions.
    pub fn eligible(&mut self) {
        let shadow = &mut self.evidence.sums.shadow;
        shadow.eligible = shadow.eligible.saturating_add(1);
    }

    /// The canary gave so many scores that are no numbers to a request that it was to score too.
    pub fn not_finite(&mut self, scores: u64) {
        let count = &mut self.evidence.sums.arms.canary.non_finite;
        *count = count.saturating_add(scores);
    }

    /// It was not.
    pub fn dropped(&mut self, why: Drop) {
        let dropped = &mut self.evidence.sums.shadow.dropped;
        let count = match why {
            Drop::Full => &mut dropped.full,
            Drop::Failed => &mut dropped.failed,
            Drop::Late => &mut dropped.late,
        };
        *count = count.saturating_add(1);
    }

    /// It was: the scores of its inputs in order, which are `alternatives` where they answer one prompt.
    pub fn paired(&mut self, cell: u16, pairs: impl IntoIterator<Item = Pair>, alternatives: bool) {
        let shadow = &mut self.evidence.sums.shadow;
        shadow.paired = shadow.paired.saturating_add(1);
        let (mut first, mut best) = (None, None);
        let mut sums = PairCell::default();
        for (place, pair) in (0_u64..).zip(pairs) {
            if !is_summed(pair.stable) || !is_summed(pair.canary) {
                continue;
            }
            let difference = pair.canary - pair.stable;
            sums.pairs += 1;
            sums.sum += difference;
            sums.squares += difference * difference;
            let cross = &mut shadow.cross;
            cross.pairs += 1;
            cross.a += pair.stable;
            cross.b += pair.canary;
            cross.aa += pair.stable * pair.stable;
            cross.bb += pair.canary * pair.canary;
            cross.ab += pair.stable * pair.canary;
            first = first.or(Some(pair));
            best = Some(better(best, place, pair));
        }
        if let Some(best) = best.filter(|_| alternatives && sums.pairs > 1) {
            sums.compared = 1;
            sums.flipped = u64::from(best.stable.0 != best.canary.0);
        }
        shadow.cells.add(cell, sums);
        if let Some(pair) = first {
            self.compared(cell, pair);
        }
    }

    /// Compares a request with the one that is held, where that is of another cell.
    fn compared(&mut self, cell: u16, pair: Pair) {
        match self.held {
            None => self.held = Some((cell, pair)),
            Some((held, _)) if held == cell => {}
            Some((other, held)) => {
                self.held = None;
                let order = |one: f64, two: f64| one.total_cmp(&two) as i8;
                let (stable, canary) = (
                    order(held.stable + 0.0, pair.stable + 0.0),
                    order(held.canary + 0.0, pair.canary + 0.0),
                );
                if (stable, canary) == (0, 0) {
                    return;
                }
                let concordant = u64::from(stable == canary);
                let shadow = &mut self.evidence.sums.shadow;
                shadow.concordant += concordant;
                shadow.discordant += 1 - concordant;
                let one = PairCell {
                    ordered: 1,
                    concordant,
                    ..PairCell::default()
                };
                shadow.cells.add(cell, one);
                shadow.cells.add(other, one);
            }
        }
    }

    /// Whether a labelled pair of the unit would be counted.
    pub fn admission(&self, unit: Unit) -> Admission {
        self.evidence.sums.preferences.admission(unit)
    }

    /// Both revisions have scored a labelled pair.
    pub fn preferred(&mut self, unit: Unit, verdict: Verdict) -> Admission {
        self.evidence.sums.preferences.scored(unit, verdict)
    }

    /// Labelled pairs were not scored at all: so many of units that were counted before, and so many of
    /// more than are kept.
    pub fn not_admitted(&mut self, repeated: usize, beyond: usize) {
        let preferences = &mut self.evidence.sums.preferences;
        let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
        preferences.repeated = preferences.repeated.saturating_add(count(repeated));
        preferences.beyond = preferences.beyond.saturating_add(count(beyond));
    }

    /// One of them did not.
    pub fn not_preferred(&mut self) {
        let failed = &mut self.evidence.sums.preferences.failed;
        *failed = failed.saturating_add(1);
    }

    /// The router is about to go.
    pub fn leave(&mut self) {
        self.evidence.leaving = true;
    }

    /// What was seen so far, under the next sequence.
    pub fn snapshot(&mut self) -> Evidence {
        self.evidence.sequence += 1;
        self.evidence.clone()
    }
}

/// The best answer of each revision so far, and where it is. Of equals, it is the first.
#[derive(Clone, Copy)]
struct Best {
    stable: (u64, f64),
    canary: (u64, f64),
}

fn better(best: Option<Best>, place: u64, pair: Pair) -> Best {
    let Some(best) = best else {
        return Best {
            stable: (place, pair.stable),
            canary: (place, pair.canary),
        };
    };
    let of = |best: (u64, f64), score: f64| {
        if score > best.1 { (place, score) } else { best }
    };
    Best {
        stable: of(best.stable, pair.stable),
        canary: of(best.canary, pair.canary),
    }
}

fn is_summed(score: f64) -> bool {
    score.abs() <= LARGEST
}
