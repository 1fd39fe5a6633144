//! Evidence as JSON.
//!
//! Owns the shape alone. Cells are lists of numbers, and those with nothing in them are left out. Members
//! that are not known are ignored: a newer router has written them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stats::Cross;

use super::check::{MOST_THRESHOLDS, check, require};
use super::{
    ArmCell, ArmSums, ByCell, CELLS, Dropped, Evidence, MAX_BYTES, PairCell, Preferences, Refused,
    SCHEMA_VERSION, Shadow, SlowCell, Subject, Sum, Sums, Unit, Verdict,
};
use crate::cutoff::ByArm;

/// What is read first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    schema_version: u32,
}

/// What one router has seen of one rollout since the rollout, or the router, began.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Router evidence", rename = "RouterEvidence"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvidenceDocument {
    /// The version of this schema: 1.
    #[cfg_attr(test, schemars(range(min = 1, max = 1)))]
    schema_version: u32,
    /// Another text for each start of a router.
    #[cfg_attr(test, schemars(length(min = 1, max = 253)))]
    instance: String,
    /// The name of its pod.
    pod: String,
    /// Of which rollout.
    subject: Subject,
    /// Rises with each document of the instance.
    sequence: u64,
    /// Whether the router is about to go.
    #[serde(default)]
    leaving: bool,
    stable: ArmDocument,
    canary: ArmDocument,
    shadow: ShadowDocument,
    preferences: PreferencesDocument,
}

/// Requests by the arm that their key was assigned to.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidenceArm"))]
#[serde(rename_all = "camelCase")]
struct ArmDocument {
    /// Cell, requests, errors, those of them with a score that was no number, scores, their sum, the sum of
    /// their squares.
    cells: Vec<(u16, u64, u64, u64, u64, f64, f64)>,
    /// By each threshold.
    slow: Vec<SlowDocument>,
    /// Scores that were no numbers.
    non_finite: u64,
    /// Requests that found nobody to connect to.
    unreachable: u64,
}

/// Requests that took longer than a threshold.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidenceSlow"))]
#[serde(rename_all = "camelCase")]
struct SlowDocument {
    /// The threshold in milliseconds.
    than_ms: u32,
    /// Cell, requests, those that took longer.
    cells: Vec<(u16, u64, u64)>,
}

/// A cell and what its [`PairCell`] has, in its order.
type PairRow = (u16, u64, f64, f64, u64, u64, u64, u64);

/// Requests that both revisions scored.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidenceShadow"))]
#[serde(rename_all = "camelCase")]
struct ShadowDocument {
    /// Cell, pairs, the sum of canary less stable, the sum of its squares, requests with several answers,
    /// those of which the best one differs, comparisons with a request of another cell, those that both put
    /// in one order.
    cells: Vec<PairRow>,
    /// Sums over pairs of a, b, a squared, b squared and a times b: a is stable's score, b the canary's.
    sums: [f64; 5],
    /// Pairs in these sums.
    pairs: u64,
    /// Times that both put two requests in one order.
    concordant: u64,
    /// Times that they did not.
    discordant: u64,
    /// Requests that were to be scored by both.
    eligible: u64,
    /// Those that were.
    paired: u64,
    /// Those that were not.
    dropped: Dropped,
}

/// Units, by the first 32 bits of their hash, of which both revisions scored a labelled pair.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "EvidencePreferences"))]
#[serde(rename_all = "camelCase")]
struct PreferencesDocument {
    /// Both revisions were right.
    both_right: Vec<u32>,
    /// Stable alone.
    only_stable: Vec<u32>,
    /// The canary alone.
    only_canary: Vec<u32>,
    /// Neither.
    both_wrong: Vec<u32>,
    /// Pairs of units that were counted before.
    repeated: u64,
    /// Pairs that were not counted because so many were.
    beyond: u64,
    /// Pairs that one of the revisions did not score.
    failed: u64,
}

pub(super) fn to_json(evidence: &Evidence) -> String {
    // Strings, finite numbers and lists of them: there is nothing that JSON could not write.
    serde_json::to_string(&written(evidence)).unwrap_or_default()
}

pub(super) fn parse(bytes: &[u8]) -> Result<Evidence, Refused> {
    if bytes.len() > MAX_BYTES {
        return Err(Refused::TooLong { bytes: bytes.len() });
    }
    let shape = |error: serde_json::Error| Refused::Shape {
        detail: error.to_string(),
    };
    let schema: Schema = serde_json::from_slice(bytes).map_err(shape)?;
    if schema.schema_version != SCHEMA_VERSION {
        return Err(Refused::Schema {
            found: schema.schema_version,
        });
    }
    read(serde_json::from_slice(bytes).map_err(shape)?)
}

fn written(evidence: &Evidence) -> EvidenceDocument {
    let sums = &evidence.sums;
    EvidenceDocument {
        schema_version: SCHEMA_VERSION,
        instance: evidence.instance.clone(),
        pod: evidence.pod.clone(),
        subject: evidence.subject.clone(),
        sequence: evidence.sequence,
        leaving: evidence.leaving,
        stable: arm(&sums.arms.stable),
        canary: arm(&sums.arms.canary),
        shadow: shadow(&sums.shadow),
        preferences: preferences(&sums.preferences),
    }
}

fn arm(sums: &ArmSums) -> ArmDocument {
    let active = sums.cells.active();
    let slow = sums.slow.iter().map(|(than_ms, cells)| SlowDocument {
        than_ms: *than_ms,
        cells: cells
            .active()
            .map(|(cell, of)| (cell, of.requests, of.slow))
            .collect(),
    });
    ArmDocument {
        cells: active
            .map(|(cell, of)| {
                let counts = (of.requests, of.errors, of.non_finite, of.scores);
                (
                    cell, counts.0, counts.1, counts.2, counts.3, of.sum, of.squares,
                )
            })
            .collect(),
        slow: slow.collect(),
        non_finite: sums.non_finite,
        unreachable: sums.unreachable,
    }
}

fn shadow(sums: &Shadow) -> ShadowDocument {
    let cross = sums.cross;
    let active = sums.cells.active();
    ShadowDocument {
        cells: active
            .map(|(cell, of)| {
                let PairCell {
                    pairs,
                    sum,
                    squares,
                    compared,
                    flipped,
                    ordered,
                    concordant,
                } = of;
                (
                    cell, pairs, sum, squares, compared, flipped, ordered, concordant,
                )
            })
            .collect(),
        sums: [cross.a, cross.b, cross.aa, cross.bb, cross.ab],
        pairs: cross.pairs,
        concordant: sums.concordant,
        discordant: sums.discordant,
        eligible: sums.eligible,
        paired: sums.paired,
        dropped: sums.dropped,
    }
}

fn preferences(sums: &Preferences) -> PreferencesDocument {
    let of = |verdict: Verdict| {
        let units = sums.units.iter().filter(|(_, found)| **found == verdict);
        units.map(|(unit, _)| unit.0).collect()
    };
    PreferencesDocument {
        both_right: of(Verdict::BothRight),
        only_stable: of(Verdict::OnlyStable),
        only_canary: of(Verdict::OnlyCanary),
        both_wrong: of(Verdict::BothWrong),
        repeated: sums.repeated,
        beyond: sums.beyond,
        failed: sums.failed,
    }
}

fn read(document: EvidenceDocument) -> Result<Evidence, Refused> {
    check(Evidence {
        instance: document.instance,
        pod: document.pod,
        subject: document.subject,
        sequence: document.sequence,
        leaving: document.leaving,
        sums: Sums {
            arms: ByArm {
                stable: read_arm(document.stable, "stable")?,
                canary: read_arm(document.canary, "canary")?,
            },
            shadow: read_shadow(document.shadow)?,
            preferences: read_preferences(document.preferences)?,
        },
    })
}

/// Cells in order: one that is written twice, or from [`CELLS`], would be another sum.
fn cells<T: Sum>(
    cells: impl Iterator<Item = (u16, T)>,
    member: &str,
) -> Result<ByCell<T>, Refused> {
    let mut by_cell = ByCell::default();
    let mut next = 0;
    for (cell, of) in cells {
        require(
            (next..CELLS).contains(&cell),
            format!("{member}[{cell}]"),
            "a cell below 1024, in order",
        )?;
        by_cell.add(cell, of);
        next = cell + 1;
    }
    Ok(by_cell)
}

fn read_arm(document: ArmDocument, arm: &str) -> Result<ArmSums, Refused> {
    let of = document.cells.into_iter();
    let of = of.map(
        |(cell, requests, errors, non_finite, scores, sum, squares)| {
            let of = ArmCell {
                requests,
                errors,
                non_finite,
                scores,
                sum,
                squares,
            };
            (cell, of)
        },
    );
    require(
        document.slow.len() <= MOST_THRESHOLDS,
        format!("{arm}.slow"),
        "at most 64 thresholds",
    )?;
    let mut slow = BTreeMap::new();
    for one in document.slow {
        let member = format!("{arm}.slow[{}]", one.than_ms);
        let of = one.cells.into_iter();
        let of = of.map(|(cell, requests, slow)| (cell, SlowCell { requests, slow }));
        let of = cells(of, &member)?;
        require(
            slow.insert(one.than_ms, of).is_none(),
            member,
            "written once",
        )?;
    }
    Ok(ArmSums {
        cells: cells(of, &format!("{arm}.cells"))?,
        slow,
        non_finite: document.non_finite,
        unreachable: document.unreachable,
    })
}

fn read_shadow(document: ShadowDocument) -> Result<Shadow, Refused> {
    let of = document.cells.into_iter();
    let of = of.map(
        |(cell, pairs, sum, squares, compared, flipped, ordered, concordant)| {
            let of = PairCell {
                pairs,
                sum,
                squares,
                compared,
                flipped,
                ordered,
                concordant,
            };
            (cell, of)
        },
    );
    let [a, b, aa, bb, ab] = document.sums;
    Ok(Shadow {
        cells: cells(of, "shadow.cells")?,
        cross: Cross {
            pairs: document.pairs,
            a,
            b,
            aa,
            bb,
            ab,
        },
        concordant: document.concordant,
        discordant: document.discordant,
        eligible: document.eligible,
        paired: document.paired,
        dropped: document.dropped,
    })
}

fn read_preferences(document: PreferencesDocument) -> Result<Preferences, Refused> {
    let mut units = BTreeMap::new();
    for (of, verdict) in [
        (document.both_right, Verdict::BothRight),
        (document.only_stable, Verdict::OnlyStable),
        (document.only_canary, Verdict::OnlyCanary),
        (document.both_wrong, Verdict::BothWrong),
    ] {
        for unit in of {
            require(
                units.insert(Unit(unit), verdict).is_none(),
                "preferences",
                "each unit once",
            )?;
        }
    }
    Ok(Preferences {
        units,
        repeated: document.repeated,
        beyond: document.beyond,
        failed: document.failed,
    })
}
