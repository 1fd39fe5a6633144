//! Evidence of an experiment in few bytes.
//!
//! Owns the form alone: the subject as the JSON of its document, sets in order and each as what it is above
//! the one before, sums as whole numbers where they are some. Invariants: the same evidence gives the same
//! bytes; bytes that are left over, or are not the shortest way to write a number, are no evidence.

use stats::Cross;

use super::super::bytes::{Reader, Writer};
use super::super::{ByCell, Refused, Unit};
use super::check::check;
use super::document::SubjectDocument;
use super::unseen::Told;
use super::{
    ArmSums, Cell, Counts, Evidence, Exposure, LATENCY_EDGES, Latencies, MAX_BYTES, MetricSums,
    Missing, PairSums, Rights, SCHEMA_VERSION, Seen, Subject, Sums, Unseen, Users,
};
use crate::table::experiment::{MOST_METRICS, MOST_VARIANTS};

/// What every document begins with. JSON does not.
const MAGIC: [u8; 3] = *b"\xe7XP";

pub(super) fn write(evidence: &Evidence) -> Vec<u8> {
    let mut to = Writer(MAGIC.to_vec());
    to.count(SCHEMA_VERSION.into());
    to.text(&evidence.instance);
    to.text(&evidence.pod);
    to.text(&SubjectDocument::text(&evidence.subject));
    to.count(evidence.sequence);
    to.count(u64::from(evidence.leaving));
    to.count(u64::from(evidence.closed));
    for ready in &evidence.ready {
        to.count((*ready).into());
    }
    let sums = &evidence.sums;
    for arm in &sums.arms {
        to.exposures(arm);
    }
    for of in sums.metrics.iter().flatten() {
        to.metric(of);
    }
    to.users(&sums.users);
    to.unseen(&sums.unseen);
    to.rights(&sums.rights);
    for count in sums.counts.numbers() {
        to.count(count);
    }
    to.0
}

/// A whole number that is the value to the last bit: the bits without their sign, and the sign as the lowest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "what does not come back to the last bit is none"
)]
fn whole(value: f64) -> Option<u64> {
    const MOST: f64 = 4_503_599_627_370_496.0;
    if value.abs() >= MOST {
        return None;
    }
    let size = value.abs() as u64;
    let is_exact = (size as f64).to_bits() == value.abs().to_bits();
    let is_zero_below = size == 0 && value.is_sign_negative();
    (is_exact && !is_zero_below).then(|| size << 1 | u64::from(value < 0.0))
}

#[expect(clippy::cast_precision_loss, reason = "what is read is below 2^53")]
fn of_whole(number: u64) -> f64 {
    let size = (number >> 1) as f64;
    if number & 1 == 1 { -size } else { size }
}

impl Writer {
    /// A sum: whole ones, as those of counts and clicks are, in few bytes.
    fn sum(&mut self, value: f64) {
        if let Some(number) = whole(value) {
            self.count(number << 1);
        } else {
            self.count(1);
            self.number(value);
        }
    }

    fn values(&mut self, cells: &ByCell<Cell>) {
        self.cells(cells, |to, cell| {
            to.count(cell.count);
            to.sum(cell.sum);
        });
    }

    fn exposures(&mut self, arm: &ArmSums) {
        self.cells(&arm.cells, |to, cell| {
            to.count(cell.requests);
            to.count(cell.errors);
        });
        let missing = arm.missing;
        for count in [
            arm.fallbacks,
            arm.eligible,
            arm.paired,
            missing.full,
            missing.failed,
            missing.late,
        ] {
            self.count(count);
        }
    }

    fn metric(&mut self, of: &MetricSums) {
        self.values(&of.cells);
        self.sum(of.squares);
        self.count(u64::from(of.latencies.is_some()));
        for count in of.latencies.iter().flat_map(|of| &of.0) {
            self.count(*count);
        }
        self.count(u64::from(of.pairs.is_some()));
        if let Some(pairs) = &of.pairs {
            self.values(&pairs.cells);
            self.count(pairs.differ);
            let cross = pairs.cross;
            self.count(cross.pairs);
            for sum in [cross.a, cross.b, cross.aa, cross.bb, cross.ab] {
                self.sum(sum);
            }
        }
    }

    fn users(&mut self, users: &Users) {
        self.count(length(users.len()));
        let mut next = 0;
        for (unit, seen) in users.iter() {
            let above = u64::from(unit.0).saturating_sub(next);
            self.count(above << 12 | u64::from(seen.arms) << 8 | u64::from(seen.events));
            next = u64::from(unit.0) + 1;
        }
    }

    fn unseen(&mut self, unseen: &Unseen) {
        self.count(length(unseen.len()));
        let mut last = 0;
        for (unit, metric, told) in &unseen.0 {
            let above = u64::from(unit.0).saturating_sub(last);
            self.count(above << 4 | u64::from(*metric) << 1 | u64::from(told.is_positive));
            self.count(told.cell.count);
            self.sum(told.cell.sum);
            last = u64::from(unit.0);
        }
    }

    fn rights(&mut self, rights: &Rights) {
        self.count(length(rights.units.len()));
        let mut next = 0;
        for (unit, right) in &rights.units {
            let above = u64::from(unit.0).saturating_sub(next);
            self.count(above << 4 | u64::from(*right));
            next = u64::from(unit.0) + 1;
        }
        for count in [rights.repeated, rights.beyond, rights.failed] {
            self.count(count);
        }
        for count in rights.missing {
            self.count(count);
        }
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
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
    let torn = || shape("it breaks off, goes on, or has a wrong number");
    let (instance, pod) = from.text().zip(from.text()).ok_or_else(torn)?;
    let subject = SubjectDocument::read(&from.text().ok_or_else(torn)?)?;
    let evidence = from.document(instance, pod, subject);
    check(evidence.filter(|_| from.0.is_empty()).ok_or_else(torn)?)
}

impl Reader<'_> {
    fn sum(&mut self) -> Option<f64> {
        match self.count()? {
            1 => self.number().filter(|value| whole(*value).is_none()),
            number if number & 1 == 0 => {
                let value = of_whole(number >> 1);
                (whole(value) == Some(number >> 1)).then_some(value)
            }
            _ => None,
        }
    }

    fn values(&mut self) -> Option<ByCell<Cell>> {
        self.cells(|from| {
            Some(Cell {
                count: from.count()?,
                sum: from.sum()?,
            })
        })
    }

    fn document(&mut self, instance: String, pod: String, subject: Subject) -> Option<Evidence> {
        let sequence = self.count()?;
        let (leaving, closed) = (self.flag()?, self.flag()?);
        let mut ready = Vec::new();
        for _ in subject.arms() {
            ready.push(u32::try_from(self.count()?).ok()?);
        }
        let mut arms = Vec::new();
        for _ in subject.arms() {
            arms.push(self.exposures()?);
        }
        let mut metrics = Vec::new();
        for _ in &subject.metrics {
            let mut of = Vec::new();
            for _ in subject.arms() {
                of.push(self.metric()?);
            }
            metrics.push(of);
        }
        let sums = Sums {
            arms,
            metrics,
            users: self.users()?,
            unseen: self.unseen()?,
            rights: self.rights()?,
            counts: self.counts()?,
        };
        Some(Evidence {
            instance,
            pod,
            subject,
            sequence,
            leaving,
            closed,
            ready,
            sums,
        })
    }

    fn exposures(&mut self) -> Option<ArmSums> {
        let cells = self.cells(|from| {
            Some(Exposure {
                requests: from.count()?,
                errors: from.count()?,
            })
        })?;
        Some(ArmSums {
            cells,
            fallbacks: self.count()?,
            eligible: self.count()?,
            paired: self.count()?,
            missing: Missing {
                full: self.count()?,
                failed: self.count()?,
                late: self.count()?,
            },
        })
    }

    fn metric(&mut self) -> Option<MetricSums> {
        let (cells, squares) = (self.values()?, self.sum()?);
        let mut latencies = None;
        if self.flag()? {
            let mut counts = Vec::with_capacity(LATENCY_EDGES + 1);
            for _ in 0..=LATENCY_EDGES {
                counts.push(self.count()?);
            }
            latencies = Some(Latencies(counts));
        }
        let pairs = if self.flag()? {
            Some(self.pairs()?)
        } else {
            None
        };
        Some(MetricSums {
            cells,
            squares,
            latencies,
            pairs,
        })
    }

    fn pairs(&mut self) -> Option<PairSums> {
        Some(PairSums {
            cells: self.values()?,
            differ: self.count()?,
            cross: Cross {
                pairs: self.count()?,
                a: self.sum()?,
                b: self.sum()?,
                aa: self.sum()?,
                bb: self.sum()?,
                ab: self.sum()?,
            },
        })
    }

    fn users(&mut self) -> Option<Users> {
        let mut users = Vec::new();
        let mut next = 0_u64;
        for _ in 0..self.count()? {
            let written = self.count()?;
            let unit = u32::try_from(next.checked_add(written >> 12)?).ok()?;
            let seen = Seen {
                arms: u8::try_from(written >> 8 & 0xf).ok()?,
                events: u8::try_from(written & 0xff).ok()?,
            };
            users.push((Unit(unit), seen));
            next = u64::from(unit) + 1;
        }
        Some(Users(users))
    }

    fn unseen(&mut self) -> Option<Unseen> {
        let mut unseen: Vec<(Unit, u8, Told)> = Vec::new();
        let mut last = 0_u64;
        for _ in 0..self.count()? {
            let written = self.count()?;
            let unit = u32::try_from(last.checked_add(written >> 4)?).ok()?;
            let metric = u8::try_from(written >> 1 & 0x7).ok()?;
            let cell = Cell {
                count: self.count()?,
                sum: self.sum()?,
            };
            let before = unseen.last().map(|(unit, metric, _)| (*unit, *metric));
            if before.is_some_and(|before| before >= (Unit(unit), metric)) {
                return None;
            }
            let is_positive = written & 1 == 1;
            unseen.push((Unit(unit), metric, Told { cell, is_positive }));
            last = u64::from(unit);
        }
        Some(Unseen(unseen))
    }

    fn rights(&mut self) -> Option<Rights> {
        let mut units = Vec::new();
        let mut next = 0_u64;
        for _ in 0..self.count()? {
            let written = self.count()?;
            let unit = u32::try_from(next.checked_add(written >> 4)?).ok()?;
            units.push((Unit(unit), u8::try_from(written & 0xf).ok()?));
            next = u64::from(unit) + 1;
        }
        Some(Rights {
            units,
            repeated: self.count()?,
            beyond: self.count()?,
            failed: self.count()?,
            missing: [self.count()?, self.count()?, self.count()?, self.count()?],
        })
    }

    fn counts(&mut self) -> Option<Counts> {
        let mut numbers = [0; Counts::LENGTH];
        for number in &mut numbers {
            *number = self.count()?;
        }
        Some(Counts::of(numbers))
    }
}

// What a set's bits are written in.
const _: () = assert!(MOST_VARIANTS == 4 && MOST_METRICS == 8);
