//! A document of evidence as evidence, and back.

use stats::Cross;

use super::super::super::check::require;
use super::super::super::{ByCell, CELLS, Refused, Sum, Unit};
use super::super::check::check;
use super::super::{
    ArmSums, Cell, Counts, Evidence, Exposure, LATENCY_EDGES, Latencies, MetricSums, Missing,
    PairSums, Rights, SCHEMA_VERSION, Seen, Sums, Told, Unseen, Users,
};
use super::{
    ArmDocument, CountsDocument, ExperimentEvidenceDocument, MetricSumsDocument, PairsDocument,
    RightsDocument, SubjectDocument,
};

pub(super) fn written(evidence: &Evidence) -> ExperimentEvidenceDocument {
    let sums = &evidence.sums;
    let users = sums.users.iter();
    let unseen = sums.unseen.0.iter();
    ExperimentEvidenceDocument {
        schema_version: SCHEMA_VERSION,
        instance: evidence.instance.clone(),
        pod: evidence.pod.clone(),
        subject: SubjectDocument::of(&evidence.subject),
        sequence: evidence.sequence,
        leaving: evidence.leaving,
        closed: evidence.closed,
        ready: evidence.ready.clone(),
        arms: sums.arms.iter().map(arm).collect(),
        metrics: sums
            .metrics
            .iter()
            .map(|of| of.iter().map(metric).collect())
            .collect(),
        users: users
            .map(|(unit, seen)| (unit.0, seen.arms, seen.events))
            .collect(),
        unseen: unseen
            .map(|(unit, metric, told)| {
                let Cell { count, sum } = told.cell;
                (unit.0, *metric, count, sum, told.is_positive)
            })
            .collect(),
        rights: RightsDocument {
            units: sums.rights.units.iter().map(|(u, of)| (u.0, *of)).collect(),
            repeated: sums.rights.repeated,
            beyond: sums.rights.beyond,
            failed: sums.rights.failed,
            missing: sums.rights.missing,
        },
        counts: counts(sums.counts),
    }
}

fn values(cells: &ByCell<Cell>) -> Vec<(u16, u64, f64)> {
    let active = cells.active();
    active.map(|(cell, of)| (cell, of.count, of.sum)).collect()
}

fn arm(arm: &ArmSums) -> ArmDocument {
    let active = arm.cells.active();
    ArmDocument {
        cells: active
            .map(|(cell, of)| (cell, of.requests, of.errors))
            .collect(),
        fallbacks: arm.fallbacks,
        eligible: arm.eligible,
        paired: arm.paired,
        missing: [arm.missing.full, arm.missing.failed, arm.missing.late],
    }
}

fn metric(of: &MetricSums) -> MetricSumsDocument {
    MetricSumsDocument {
        cells: values(&of.cells),
        squares: of.squares,
        latencies: of.latencies.as_ref().map(|of| of.0.clone()),
        pairs: of.pairs.as_ref().map(|pairs| {
            let cross = pairs.cross;
            PairsDocument {
                cells: values(&pairs.cells),
                differ: pairs.differ,
                pairs: cross.pairs,
                sums: [cross.a, cross.b, cross.aa, cross.bb, cross.ab],
            }
        }),
    }
}

fn counts(counts: Counts) -> CountsDocument {
    CountsDocument {
        missing_key: counts.missing_key,
        refused_key: counts.refused_key,
        overridden: counts.overridden,
        beyond: counts.beyond,
        in_another: counts.in_another,
        events: counts.events,
        late_events: counts.late_events,
        events_after: counts.events_after,
        unknown_users: counts.unknown_users,
        unknown_events: counts.unknown_events,
        repeated_events: counts.repeated_events,
    }
}

pub(super) fn read(document: ExperimentEvidenceDocument) -> Result<Evidence, Refused> {
    let subject = document.subject.subject()?;
    let variants = subject.variants.len();
    let metrics = &document.metrics;
    require(
        document.arms.len() == variants
            && metrics.len() == subject.metrics.len()
            && metrics.iter().all(|of| of.len() == variants),
        "arms and metrics",
        "one for each variant and metric",
    )?;
    let arms: Result<Vec<_>, _> = document.arms.into_iter().map(read_arm).collect();
    let metrics: Result<Vec<Vec<_>>, _> = document
        .metrics
        .into_iter()
        .map(|of| of.into_iter().map(read_metric).collect())
        .collect();
    check(Evidence {
        instance: document.instance,
        pod: document.pod,
        subject,
        sequence: document.sequence,
        leaving: document.leaving,
        closed: document.closed,
        ready: document.ready,
        sums: Sums {
            arms: arms?,
            metrics: metrics?,
            users: read_users(document.users)?,
            unseen: read_unseen(document.unseen)?,
            rights: read_rights(document.rights)?,
            counts: read_counts(&document.counts),
        },
    })
}

/// Cells in order: one that is written twice, or from [`CELLS`], would be another sum.
fn cells<T: Sum>(cells: impl IntoIterator<Item = (u16, T)>) -> Result<ByCell<T>, Refused> {
    let mut by_cell = ByCell::default();
    let mut next = 0;
    for (cell, of) in cells {
        require(
            (next..CELLS).contains(&cell),
            format!("cells[{cell}]"),
            "a cell below 1024, in order",
        )?;
        by_cell.add(cell, of);
        next = cell + 1;
    }
    Ok(by_cell)
}

fn read_values(values: Vec<(u16, u64, f64)>) -> Result<ByCell<Cell>, Refused> {
    let values = values.into_iter();
    cells(values.map(|(cell, count, sum)| (cell, Cell { count, sum })))
}

fn read_arm(document: ArmDocument) -> Result<ArmSums, Refused> {
    let of = document.cells.into_iter();
    let [full, failed, late] = document.missing;
    Ok(ArmSums {
        cells: cells(of.map(|(cell, requests, errors)| (cell, Exposure { requests, errors })))?,
        fallbacks: document.fallbacks,
        eligible: document.eligible,
        paired: document.paired,
        missing: Missing { full, failed, late },
    })
}

fn read_metric(document: MetricSumsDocument) -> Result<MetricSums, Refused> {
    let latencies = document.latencies;
    require(
        latencies
            .as_ref()
            .is_none_or(|counts| counts.len() == LATENCY_EDGES + 1),
        "latencies",
        "one count more than edges",
    )?;
    let pairs = document.pairs.map(|pairs| {
        let [a, b, aa, bb, ab] = pairs.sums;
        Ok(PairSums {
            cells: read_values(pairs.cells)?,
            differ: pairs.differ,
            cross: Cross {
                pairs: pairs.pairs,
                a,
                b,
                aa,
                bb,
                ab,
            },
        })
    });
    Ok(MetricSums {
        cells: read_values(document.cells)?,
        squares: document.squares,
        latencies: latencies.map(Latencies),
        pairs: pairs.transpose()?,
    })
}

fn in_order<T: Ord>(of: impl Iterator<Item = T> + Clone, member: &str) -> Result<(), Refused> {
    let is_next = |(one, next): (T, T)| one < next;
    let all = of.clone().zip(of.skip(1)).all(is_next);
    require(all, member, "each once, in order")
}

fn read_users(users: Vec<(u32, u8, u8)>) -> Result<Users, Refused> {
    in_order(users.iter().map(|(unit, _, _)| *unit), "users")?;
    let users = users.into_iter();
    let users = users.map(|(unit, arms, events)| (Unit(unit), Seen { arms, events }));
    Ok(Users(users.collect()))
}

fn read_unseen(unseen: Vec<(u32, u8, u64, f64, bool)>) -> Result<Unseen, Refused> {
    let keys = unseen.iter().map(|(unit, metric, ..)| (*unit, *metric));
    in_order(keys, "unseen")?;
    let unseen = unseen.into_iter();
    let unseen = unseen.map(|(unit, metric, count, sum, is_positive)| {
        let cell = Cell { count, sum };
        (Unit(unit), metric, Told { cell, is_positive })
    });
    Ok(Unseen(unseen.collect()))
}

fn read_rights(document: RightsDocument) -> Result<Rights, Refused> {
    in_order(document.units.iter().map(|(unit, _)| *unit), "rights")?;
    let units = document.units.into_iter();
    Ok(Rights {
        units: units.map(|(unit, right)| (Unit(unit), right)).collect(),
        repeated: document.repeated,
        beyond: document.beyond,
        failed: document.failed,
        missing: document.missing,
    })
}

const fn read_counts(document: &CountsDocument) -> Counts {
    Counts {
        missing_key: document.missing_key,
        refused_key: document.refused_key,
        overridden: document.overridden,
        beyond: document.beyond,
        in_another: document.in_another,
        events: document.events,
        late_events: document.late_events,
        events_after: document.events_after,
        unknown_users: document.unknown_users,
        unknown_events: document.unknown_events,
        repeated_events: document.repeated_events,
    }
}
