//! Evidence in few bytes, for where a ConfigMap keeps it.
//!
//! Owns the form alone; how a number is written is [`super::bytes`]'. Invariants: the same evidence gives the
//! same bytes; bytes that are left over are no evidence.

use std::collections::BTreeMap;

use stats::Cross;

use super::bytes::{Reader, Writer};
use super::check::{MOST_THRESHOLDS, check};
use super::{
    ArmCell, ArmSums, Dropped, Evidence, MAX_BYTES, PairCell, Preferences, Refused, SCHEMA_VERSION,
    Shadow, SlowCell, Subject, Sums, Unit, Verdict,
};
use crate::Revision;
use crate::cutoff::ByArm;

/// What every document begins with. JSON does not.
const MAGIC: [u8; 3] = *b"\xe7EV";

pub(super) fn write(evidence: &Evidence) -> Vec<u8> {
    let mut to = Writer(MAGIC.to_vec());
    let subject = &evidence.subject;
    to.count(SCHEMA_VERSION.into());
    to.text(&evidence.instance);
    to.text(&evidence.pod);
    to.count(u64::from(subject.rollout.is_some()));
    to.text(subject.rollout.as_deref().unwrap_or_default());
    to.text(subject.stable.as_str());
    to.text(subject.canary.as_str());
    to.count(evidence.sequence);
    to.count(u64::from(evidence.leaving));
    to.arm(&evidence.sums.arms.stable);
    to.arm(&evidence.sums.arms.canary);
    to.shadow(&evidence.sums.shadow);
    to.preferences(&evidence.sums.preferences);
    to.0
}

impl Writer {
    fn arm(&mut self, arm: &ArmSums) {
        self.cells(&arm.cells, |to, cell| {
            to.count(cell.requests);
            to.count(cell.errors);
            to.count(cell.non_finite);
            to.count(cell.scores);
            to.number(cell.sum);
            to.number(cell.squares);
        });
        self.count(u64::try_from(arm.slow.len()).unwrap_or(u64::MAX));
        for (threshold, cells) in &arm.slow {
            self.count((*threshold).into());
            self.cells(cells, |to, cell| {
                to.count(cell.requests);
                to.count(cell.slow);
            });
        }
        self.count(arm.non_finite);
        self.count(arm.unreachable);
    }

    fn shadow(&mut self, shadow: &Shadow) {
        self.cells(&shadow.cells, |to, cell| {
            to.count(cell.pairs);
            to.number(cell.sum);
            to.number(cell.squares);
            to.count(cell.compared);
            to.count(cell.flipped);
            to.count(cell.ordered);
            to.count(cell.concordant);
        });
        let cross = shadow.cross;
        self.count(cross.pairs);
        for sum in [cross.a, cross.b, cross.aa, cross.bb, cross.ab] {
            self.number(sum);
        }
        let dropped = shadow.dropped;
        for count in [
            shadow.concordant,
            shadow.discordant,
            shadow.eligible,
            shadow.paired,
            dropped.full,
            dropped.failed,
            dropped.late,
        ] {
            self.count(count);
        }
    }

    /// Units in order, each as what it is above the one before, and two bits of verdict.
    fn preferences(&mut self, preferences: &Preferences) {
        self.count(u64::try_from(preferences.units.len()).unwrap_or(u64::MAX));
        let mut next = 0;
        for (unit, verdict) in &preferences.units {
            let above = u64::from(unit.0).saturating_sub(next);
            self.count(above << 2 | u64::from(verdict.number()));
            next = u64::from(unit.0) + 1;
        }
        self.count(preferences.repeated);
        self.count(preferences.beyond);
        self.count(preferences.failed);
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Evidence, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(Refused::TooLong { bytes: bytes.len() });
    }
    let shape = |detail: &str| Refused::Shape {
        detail: detail.to_owned(),
    };
    let rest = bytes.strip_prefix(&MAGIC);
    let mut from = Reader(rest.ok_or_else(|| shape("it begins with something else"))?);
    let version = from.count().and_then(|version| u32::try_from(version).ok());
    match version {
        Some(SCHEMA_VERSION) => {}
        Some(found) => return Err(Refused::Schema { found }),
        None => return Err(shape("it has no version")),
    }
    let evidence = from.evidence().filter(|_| from.0.is_empty());
    check(evidence.ok_or_else(|| shape("it breaks off, goes on, or has a wrong number"))?)
}

impl Reader<'_> {
    fn evidence(&mut self) -> Option<Evidence> {
        let (instance, pod) = (self.text()?, self.text()?);
        let named = self.flag()?;
        let rollout = self.text()?;
        if !named && !rollout.is_empty() {
            return None;
        }
        Some(Evidence {
            instance,
            pod,
            subject: Subject {
                rollout: named.then_some(rollout),
                stable: Revision::parse(&self.text()?)?,
                canary: Revision::parse(&self.text()?)?,
            },
            sequence: self.count()?,
            leaving: self.flag()?,
            sums: Sums {
                arms: ByArm {
                    stable: self.arm()?,
                    canary: self.arm()?,
                },
                shadow: self.shadow()?,
                preferences: self.preferences()?,
            },
        })
    }

    fn arm(&mut self) -> Option<ArmSums> {
        let cells = self.cells(|from| {
            Some(ArmCell {
                requests: from.count()?,
                errors: from.count()?,
                non_finite: from.count()?,
                scores: from.count()?,
                sum: from.number()?,
                squares: from.number()?,
            })
        })?;
        let mut slow = BTreeMap::new();
        let thresholds = usize::try_from(self.count()?).ok()?;
        if thresholds > MOST_THRESHOLDS {
            return None;
        }
        for _ in 0..thresholds {
            let threshold = u32::try_from(self.count()?).ok()?;
            let later = slow.keys().next_back().is_none_or(|last| *last < threshold);
            let of = self.cells(|from| {
                Some(SlowCell {
                    requests: from.count()?,
                    slow: from.count()?,
                })
            })?;
            slow.insert(threshold, of);
            if !later {
                return None;
            }
        }
        Some(ArmSums {
            cells,
            slow,
            non_finite: self.count()?,
            unreachable: self.count()?,
        })
    }

    fn shadow(&mut self) -> Option<Shadow> {
        let cells = self.cells(|from| {
            Some(PairCell {
                pairs: from.count()?,
                sum: from.number()?,
                squares: from.number()?,
                compared: from.count()?,
                flipped: from.count()?,
                ordered: from.count()?,
                concordant: from.count()?,
            })
        })?;
        Some(Shadow {
            cells,
            cross: Cross {
                pairs: self.count()?,
                a: self.number()?,
                b: self.number()?,
                aa: self.number()?,
                bb: self.number()?,
                ab: self.number()?,
            },
            concordant: self.count()?,
            discordant: self.count()?,
            eligible: self.count()?,
            paired: self.count()?,
            dropped: Dropped {
                full: self.count()?,
                failed: self.count()?,
                late: self.count()?,
            },
        })
    }

    fn preferences(&mut self) -> Option<Preferences> {
        let mut units = BTreeMap::new();
        let mut next = 0_u64;
        for _ in 0..self.count()? {
            let written = self.count()?;
            let unit = u32::try_from(next.checked_add(written >> 2)?).ok()?;
            let verdict = Verdict::ALL
                .into_iter()
                .find(|verdict| u64::from(verdict.number()) == written & 3)?;
            units.insert(Unit(unit), verdict);
            next = u64::from(unit) + 1;
        }
        Some(Preferences {
            units,
            repeated: self.count()?,
            beyond: self.count()?,
            failed: self.count()?,
        })
    }
}
