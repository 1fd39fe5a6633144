//! What a gate is held against, of the routers' evidence.
//!
//! Owns which sums a metric is made of. Invariant: the sums of all shares together are those of the whole
//! rollout.

use crds::v1alpha1::reward_model::gate::RouterMetric;
use traffic::cutoff::{Arm, ByArm};
use traffic::evidence::{ArmSums, CELLS};

use super::Ledger;
use crate::gates::{Gate, Kind, Labelled, Measurement, Pairs, RouterRule, Stratum, Sums};

/// What `ledger` has for `gate`; `None` where the gate is not about what routers count.
pub fn measurement(gate: &Gate, ledger: Option<&Ledger>) -> Option<Measurement> {
    let of = |measure: &dyn Fn(&Ledger) -> Measurement| {
        let told = ledger.filter(|ledger| !ledger.is_empty());
        Some(told.map_or_else(nothing, measure))
    };
    match &gate.kind {
        Kind::Router(rule) => of(&|ledger| Measurement::Router(strata(rule, ledger))),
        Kind::Paired(_) => of(&|ledger| Measurement::Paired(pairs(ledger))),
        Kind::Preferences(_) => of(&|ledger| Measurement::Preferences(labelled(ledger))),
        Kind::Golden(_) | Kind::Prometheus { .. } => None,
    }
}

fn nothing() -> Measurement {
    Measurement::Nothing("no router has told of this rollout yet".to_owned())
}

/// What was counted at each share: sums up to its end, less those up to its beginning.
fn strata(rule: &RouterRule, ledger: &Ledger) -> Vec<Stratum> {
    let total = ledger.total().arms;
    let metric = Metric::of(rule, &total);
    let over = ledger.over.iter().map(|over| (over.share, &over.until));
    let mut before: Option<Stratum> = None;
    let mut strata = Vec::new();
    for (share, arms) in over.chain([(ledger.share, &total)]) {
        let until = Stratum {
            share,
            stable: metric.sums(arms, Arm::Stable),
            canary: metric.sums(arms, Arm::Canary),
        };
        strata.push(match &before {
            None => until.clone(),
            Some(before) => Stratum {
                share,
                stable: less(&until.stable, &before.stable),
                canary: less(&until.canary, &before.canary),
            },
        });
        before = Some(until);
    }
    strata
}

/// What is counted of a cell.
#[derive(Clone, Copy)]
enum Metric {
    Errors,
    NonFinite,
    Slow(u32),
    /// Squared distances from the arms' means.
    Spread(f64, f64),
}

impl Metric {
    fn of(rule: &RouterRule, total: &ByArm<ArmSums>) -> Self {
        let mean = |arm: &ArmSums| {
            let all = arm.cells.total();
            if all.scores == 0 {
                0.0
            } else {
                all.sum / number(all.scores)
            }
        };
        match rule.metric {
            RouterMetric::ErrorRate => Self::Errors,
            RouterMetric::NonFinite => Self::NonFinite,
            RouterMetric::SlowFraction => {
                let than = rule.slower_than.map(|time| time.as_millis());
                Self::Slow(than.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)))
            }
            RouterMetric::ScoreSpread => Self::Spread(mean(&total.stable), mean(&total.canary)),
        }
    }

    fn sums(self, arms: &ByArm<ArmSums>, arm: Arm) -> Sums {
        let (of, all) = (arms.of(arm), 0..CELLS);
        match self {
            Self::Errors => all
                .map(|cell| of.cells.get(cell))
                .map(|cell| (cell.requests, number(cell.errors)))
                .collect(),
            Self::NonFinite => all
                .map(|cell| of.cells.get(cell))
                .map(|cell| (cell.requests, number(cell.non_finite)))
                .collect(),
            Self::Slow(than) => of.slow.get(&than).map_or_else(Sums::default, |cells| {
                all.map(|cell| cells.get(cell))
                    .map(|cell| (cell.requests, number(cell.slow)))
                    .collect()
            }),
            Self::Spread(stable, canary) => {
                let centre = match arm {
                    Arm::Stable => stable,
                    Arm::Canary => canary,
                };
                all.map(|cell| of.cells.get(cell))
                    .map(|cell| (cell.scores, cell.squares_about(centre)))
                    .collect()
            }
        }
    }
}

/// What came since: sums only grow, so what is below nothing is rounding.
fn less(until: &Sums, before: &Sums) -> Sums {
    let mut before = before.iter();
    let since = until.iter().map(|(x, y)| match before.next() {
        Some((old_x, old_y)) => (x.saturating_sub(*old_x), (y - old_y).max(0.0)),
        None => (*x, *y),
    });
    since.collect()
}

fn pairs(ledger: &Ledger) -> Pairs {
    let shadow = ledger.total().shadow;
    let all = shadow.cells.total();
    Pairs {
        differences: shadow.cells.moments(|cell| (cell.pairs, cell.sum)),
        orders: shadow.order_moments(),
        concordant: shadow.concordant,
        discordant: shadow.discordant,
        flips: shadow.flip_moments(),
        compared: all.compared,
        flipped: all.flipped,
        eligible: shadow.eligible,
        answered: shadow.paired,
    }
}

fn labelled(ledger: &Ledger) -> Labelled {
    let counts = ledger.total().preferences.counts();
    Labelled {
        both_right: counts.both_right,
        stable_alone: counts.only_stable,
        canary_alone: counts.only_canary,
        both_wrong: counts.both_wrong,
    }
}

/// A count as the statistics take it.
#[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
const fn number(count: u64) -> f64 {
    count as f64
}
