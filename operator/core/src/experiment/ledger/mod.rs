//! What routers told of one metric of one epoch, kept and added up.
//!
//! Owns which documents count, and the object that keeps them ([`object`]). Invariants: a document that comes
//! twice, late, or through two operators changes nothing; what a router that is gone has told stays; the
//! documents of another epoch are never added; users are merged by union, so that one who met two routers is
//! one.

mod object;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crds::v1alpha1::ab_experiment::status::LeftOut;
use crds::v1alpha1::ab_experiment::{Kind, Mode};
use traffic::evidence::experiment::{Evidence, Subject, Sums, Together};
use traffic::table::experiment::Arm;

use super::analysis::{Track, Tracks};
use super::spec::{Design, Source};
use super::totals::{self, Counted, Labelled, Pairs, Totals};

pub use object::{KEPT_BYTES, Unreadable};
pub use subject::subjects;

/// What routers told of one metric of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// Those that may tell more.
    live: Together,
    /// Those that are gone, added up.
    gone: Sums,
    /// Their instances, and the last document of each.
    retired: BTreeMap<String, u64>,
    /// Of them, those that went without a last word: what they counted after their last document is lost.
    lost: u64,
    /// What is kept of each candidate from look to look.
    pub tracks: BTreeMap<String, Track>,
}

impl Ledger {
    /// Nobody has told anything.
    pub fn new(subject: Subject) -> Self {
        Self {
            gone: Sums::new(&subject),
            live: Together::new(subject),
            retired: BTreeMap::new(),
            lost: 0,
            tracks: BTreeMap::new(),
        }
    }

    /// Of what.
    pub const fn subject(&self) -> &Subject {
        self.live.subject()
    }

    /// Takes what a router tells, where it is of this metric and epoch; answers whether it is news.
    pub fn take(&mut self, document: Evidence) -> bool {
        if self.retired.contains_key(&document.instance) {
            return false;
        }
        let instance = document.instance.clone();
        let before = self.live.of(&instance).map(|kept| kept.sequence);
        self.live.fold(document).is_ok()
            && self.live.of(&instance).map(|kept| kept.sequence) != before
    }

    /// Routers whose pods are not among `pods` will tell no more: they are added up, and forgotten one by one.
    /// Those that had not said that they leave are counted as lost.
    pub fn retire(&mut self, pods: &[String]) {
        let subject = self.subject().clone();
        let mut live = Together::new(subject);
        for document in self.live.snapshots() {
            if pods.contains(&document.pod) {
                // It is of this subject: it was taken before.
                let _ = live.fold(document.clone());
                continue;
            }
            self.gone.absorb(&document.sums, &document.instance);
            self.retired
                .insert(document.instance.clone(), document.sequence);
            self.lost += u64::from(!document.leaving);
        }
        self.live = live;
    }

    /// Everything, of all routers.
    pub fn total(&self) -> Sums {
        let mut total = self.live.total();
        total.absorb(&self.gone, object::GONE);
        total.settled()
    }

    /// Whether nobody has told anything.
    pub fn is_empty(&self) -> bool {
        self.live.snapshots().next().is_none() && self.retired.is_empty()
    }

    /// Routers that went without a last word.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// Ledgers by metric.
pub type Ledgers = BTreeMap<String, Ledger>;

/// What was kept from look to look, of all ledgers.
pub fn tracks(ledgers: &Ledgers) -> Tracks {
    let each = ledgers.iter().flat_map(|(metric, ledger)| {
        let own = ledger.tracks.iter();
        own.map(|(candidate, track)| ((metric.clone(), candidate.clone()), *track))
    });
    each.collect()
}

/// Keeps what a look leaves.
pub fn keep(ledgers: &mut Ledgers, tracks: &Tracks) {
    for ((metric, candidate), track) in tracks {
        if let Some(ledger) = ledgers.get_mut(metric) {
            ledger.tracks.insert(candidate.clone(), *track);
        }
    }
}

/// What a look leaves that no ledger keeps: that of metrics which no router counts, and Prometheus answers.
pub fn unkept(ledgers: &Ledgers, tracks: &Tracks) -> Tracks {
    let each = tracks.iter();
    let each = each.filter(|((metric, _), _)| !ledgers.contains_key(metric));
    each.map(|(of, track)| (of.clone(), *track)).collect()
}

/// What was counted, as the analysis reads it; `answers` are those of Prometheus by metric, and then by arm.
/// What all metrics have in common is read from the first that was told of.
pub fn totals(
    design: &Design,
    ledgers: &Ledgers,
    answers: &BTreeMap<String, Vec<Option<f64>>>,
) -> Totals {
    let all: BTreeMap<&str, Sums> = ledgers
        .iter()
        .map(|(metric, ledger)| (metric.as_str(), ledger.total()))
        .collect();
    let arms = design.variants.iter().enumerate();
    let arms: Vec<Option<Arm>> = arms.map(|(place, _)| Arm::new(place)).collect();
    // Routers are asked for one metric after another: the one that was asked last knows the most users.
    let common = all.values().max_by_key(|sums| sums.users.len());
    let metrics = design.metrics.iter().map(|metric| {
        let sums = all.get(metric.name.as_str());
        let answers = answers.get(&metric.name);
        let of = |(place, arm): (usize, &Option<Arm>)| {
            let counted = sums.zip(*arm);
            let mut counted = counted.map_or_else(Counted::default, |(sums, arm)| {
                self::counted(sums, arm, metric.kind, &metric.source, design.mode)
            });
            counted.answer = answers.and_then(|all| all.get(place).copied().flatten());
            counted
        };
        arms.iter().enumerate().map(of).collect()
    });
    Totals {
        metrics: metrics.collect(),
        arms: arms
            .iter()
            .map(|arm| {
                common
                    .zip(*arm)
                    .map_or_else(totals::Arm::default, |(sums, arm)| of_arm(sums, arm))
            })
            .collect(),
        left_out: common.map_or_else(LeftOut::default, |sums| {
            let lost = ledgers.values().map(Ledger::lost).max().unwrap_or(0);
            left_out(sums, lost)
        }),
    }
}

fn counted(sums: &Sums, arm: Arm, kind: Kind, source: &Source, mode: Mode) -> Counted {
    // A document of one metric has it as the first.
    const PLACE: usize = 0;
    let of = sums.metric(PLACE, arm);
    let cells = match (source, kind) {
        (Source::Event(_), Kind::Mean) => per_user(sums, PLACE, arm),
        (_, _) => of.map_or_else(totals::Sums::new, |of| {
            of.cells
                .active()
                .fold(totals::Sums::new(), |mut cells, (cell, sum)| {
                    put(&mut cells, cell, sum.count, sum.sum);
                    cells
                })
        }),
    };
    let pairs = of
        .and_then(|of| of.pairs.as_ref())
        .filter(|_| mode == Mode::Paired);
    let pairs = pairs.map(|pairs| {
        let mut cells = totals::Sums::new();
        for (cell, sum) in pairs.cells.active() {
            put(&mut cells, cell, sum.count, sum.sum);
        }
        Pairs {
            cells,
            differ: pairs.differ,
        }
    });
    let is_labelled = *source == Source::Preferences && !arm.is_control();
    Counted {
        cells,
        users: sums.users.of(arm),
        had: sums.users.with(arm, PLACE),
        pairs,
        labelled: is_labelled.then(|| {
            let counts = sums.rights.counts(arm);
            Labelled {
                both_right: counts.both_right,
                control_alone: counts.control_alone,
                candidate_alone: counts.candidate_alone,
                both_wrong: counts.both_wrong,
            }
        }),
        answer: None,
    }
}

/// Users who were served and the sum of their events' values, by cell: the mean of all who were served, and not
/// of those who answered (stats.md, domain trap 4).
fn per_user(sums: &Sums, metric: usize, arm: Arm) -> totals::Sums {
    let mut cells = totals::Sums::new();
    for (unit, seen) in sums.users.iter() {
        if seen.arm() == Some(arm) {
            put(&mut cells, unit.cell(), 1, 0.0);
        }
    }
    for (cell, sum) in sums
        .metric(metric, arm)
        .into_iter()
        .flat_map(|of| of.cells.active())
    {
        put(&mut cells, cell, 0, sum.sum);
    }
    cells
}

fn put(cells: &mut totals::Sums, cell: u16, count: u64, sum: f64) {
    let place = usize::from(cell);
    if cells.len() <= place {
        cells.resize(place + 1, (0, 0.0));
    }
    if let Some((x, y)) = cells.get_mut(place) {
        *x = x.saturating_add(count);
        *y += sum;
    }
}

fn of_arm(sums: &Sums, arm: Arm) -> totals::Arm {
    let of = sums.arm(arm);
    let all = of.map(|of| of.cells.total()).unwrap_or_default();
    totals::Arm {
        users: sums.users.of(arm),
        requests: all.requests,
        errors: all.errors,
        eligible: of.map_or(0, |of| of.paired.saturating_add(of.missing.total())),
        answered: of.map_or(0, |of| of.paired),
    }
}

fn left_out(sums: &Sums, lost: u64) -> LeftOut {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let counts = sums.counts;
    LeftOut {
        missing_key: count(counts.missing_key.saturating_add(counts.refused_key)),
        in_two_variants: count(sums.users.in_two()),
        beyond_cap: count(counts.beyond),
        unknown_users: count(counts.unknown_users),
        after_verdict: count(counts.events_after),
        lost_routers: count(lost),
    }
}
