//! Labelled preferences that both revisions scored.
//!
//! Owns who was right, once for each unit: the user where one is named, else the prompt. It must not know
//! a text. Invariants: a unit counts once, also where several routers saw it, so each is one event of
//! the sequential `McNemar` test (stats.md 1.2); a unit's cell is a part of its hash; a set that is full
//! takes nobody more, and says how many it did not take: a test that stops looking stays valid.

use std::collections::BTreeMap;

use super::sums::number;
use crate::assignment::{Assigner, CELLS, Key};

/// Units that one router keeps: a difference of two points of accuracy is found with 6,000 in four
/// cases of five (stats.md section 7), and a full document stays below 150 kB.
pub const MAX_UNITS: usize = 8_192;

/// What a unit's key is hashed to: the first 32 bits of what its cell is made of. Of 8,192 units, one
/// in 128 routers is taken for another and not counted, whatever its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(pub u32);

impl Unit {
    /// That of a key.
    pub fn of(assigner: &Assigner, key: Key<'_>) -> Self {
        Self(assigner.unit(key))
    }

    /// Its cell, 0 to 1,023.
    pub fn cell(self) -> u16 {
        let scaled = (u64::from(self.0) * u64::from(CELLS)) >> 32;
        // Below the number of cells by construction.
        u16::try_from(scaled).unwrap_or_default()
    }
}

/// Who put the chosen answer above the rejected one. A tie is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Both revisions.
    BothRight,
    /// Stable alone.
    OnlyStable,
    /// The canary alone.
    OnlyCanary,
    /// Neither.
    BothWrong,
}

impl Verdict {
    /// All, in the order of their numbers in the binary form.
    pub const ALL: [Self; 4] = [
        Self::BothRight,
        Self::OnlyStable,
        Self::OnlyCanary,
        Self::BothWrong,
    ];

    /// Of the margins `chosen - rejected` of both.
    pub fn of(stable: f64, canary: f64) -> Self {
        match (stable > 0.0, canary > 0.0) {
            (true, true) => Self::BothRight,
            (true, false) => Self::OnlyStable,
            (false, true) => Self::OnlyCanary,
            (false, false) => Self::BothWrong,
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::BothRight => 0,
            Self::OnlyStable => 1,
            Self::OnlyCanary => 2,
            Self::BothWrong => 3,
        }
    }
}

/// Whether a labelled pair is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Counted,
    /// Its unit was counted before.
    Repeated,
    /// No more units are kept.
    Full,
}

/// Who was right about which unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    pub(super) units: BTreeMap<Unit, Verdict>,
    /// Pairs of units that were counted before.
    pub repeated: u64,
    /// Pairs that were not counted because [`MAX_UNITS`] were.
    pub beyond: u64,
    /// Pairs that one of the revisions did not score.
    pub failed: u64,
}

/// Which router is believed about a unit that several saw, each with another pair: whose lot is the lowest.
/// A lot is a hash of the router's start and the unit, so that it knows of no verdict: any rule that looks at
/// verdicts, such as the least of them, leans to one side and makes equal revisions look different.
#[derive(Debug, Default)]
pub(super) struct Lots(BTreeMap<Unit, u64>);

impl Lots {
    /// Those of what is put together already, as if one router had seen it.
    pub(super) fn held(units: impl Iterator<Item = Unit>) -> Self {
        let drawn = Self::of("");
        Self(units.map(|unit| (unit, drawn.lot(unit))).collect())
    }

    /// What the lots of the router `instance` are drawn with.
    pub(super) fn of(instance: &str) -> Draw {
        Draw::of(instance)
    }

    /// Whether the router that draws is the one that is believed about a unit, of those that were asked so far.
    pub(super) fn falls_on(&mut self, drawn: &Draw, unit: Unit) -> bool {
        let lot = drawn.lot(unit);
        let best = self.0.entry(unit).or_insert(lot);
        let falls = lot <= *best;
        *best = lot.min(*best);
        falls
    }
}

/// What the lots of one router are drawn with.
pub(super) struct Draw(u64);

impl Draw {
    fn of(instance: &str) -> Self {
        // FNV-1a.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(instance.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    /// As the end of a round of `SplitMix64` mixes (Steele and others 2014).
    const fn lot(&self, unit: Unit) -> u64 {
        let mut lot = self.0 ^ (unit.0 as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        lot = (lot ^ (lot >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        lot = (lot ^ (lot >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        lot ^ (lot >> 31)
    }
}

/// How many units have each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Both revisions were right.
    pub both_right: u64,
    /// Stable alone.
    pub only_stable: u64,
    /// The canary alone.
    pub only_canary: u64,
    /// Neither.
    pub both_wrong: u64,
}

impl Counts {
    /// All units.
    pub const fn total(self) -> u64 {
        self.both_right + self.only_stable + self.only_canary + self.both_wrong
    }
}

impl Preferences {
    /// Whether a pair of the unit would be counted.
    pub fn admission(&self, unit: Unit) -> Admission {
        if self.units.contains_key(&unit) {
            Admission::Repeated
        } else if self.units.len() >= MAX_UNITS {
            Admission::Full
        } else {
            Admission::Counted
        }
    }

    /// Both revisions have scored a labelled pair.
    pub fn scored(&mut self, unit: Unit, verdict: Verdict) -> Admission {
        let admission = self.admission(unit);
        match admission {
            Admission::Counted => {
                self.units.insert(unit, verdict);
            }
            Admission::Repeated => self.repeated = self.repeated.saturating_add(1),
            Admission::Full => self.beyond = self.beyond.saturating_add(1),
        }
        admission
    }

    /// Adds those of the router `instance`, where a unit that others saw too is counted as the one saw it that
    /// the lot falls on.
    pub(super) fn merge(&mut self, other: &Self, instance: &str, lots: &mut Lots) {
        let drawn = Lots::of(instance);
        for (unit, verdict) in &other.units {
            if lots.falls_on(&drawn, *unit) {
                self.units.insert(*unit, *verdict);
            }
        }
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.beyond = self.beyond.saturating_add(other.beyond);
        self.failed = self.failed.saturating_add(other.failed);
    }

    /// How many units have each verdict.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for verdict in self.units.values() {
            match verdict {
                Verdict::BothRight => counts.both_right += 1,
                Verdict::OnlyStable => counts.only_stable += 1,
                Verdict::OnlyCanary => counts.only_canary += 1,
                Verdict::BothWrong => counts.both_wrong += 1,
            }
        }
        counts
    }

    /// Units by cell, and the sum of what `of` makes of each: 1 where the canary is right, say.
    pub fn moments(&self, of: impl Fn(Verdict) -> f64) -> stats::Cells {
        // Units are in order, and so their cells are.
        let mut cells: Vec<(u16, u64, f64)> = Vec::new();
        for (unit, verdict) in &self.units {
            match cells.last_mut() {
                Some((cell, units, sum)) if *cell == unit.cell() => {
                    *units += 1;
                    *sum += of(*verdict);
                }
                Some(_) | None => cells.push((unit.cell(), 1, of(*verdict))),
            }
        }
        stats::Cells::of(cells.into_iter().map(|(_, units, sum)| (units, sum)))
    }

    /// Units by cell, and how often the canary is right more often than stable, less the other way round.
    pub fn difference_moments(&self) -> stats::Cells {
        self.moments(|verdict| match verdict {
            Verdict::OnlyCanary => 1.0,
            Verdict::OnlyStable => -1.0,
            Verdict::BothRight | Verdict::BothWrong => 0.0,
        })
    }

    /// The share of units that the canary is right about; `None` before the first.
    pub fn canary_accuracy(&self) -> Option<f64> {
        let counts = self.counts();
        let right = counts.both_right + counts.only_canary;
        (counts.total() > 0).then(|| number(right) / number(counts.total()))
    }
}
