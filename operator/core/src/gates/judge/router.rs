//! Gates on what the routers count: a ratio of sums over hash cells of users.
//!
//! Owns which arm stands for a metric, and how the tests of one gate share its level. Invariants: a
//! comparison fails only beyond its margin; a threshold only where the sequence excludes it; the tests
//! of one gate together have its level and no more.

use crds::v1alpha1::reward_model::gate::RouterMetric;
use crds::v1alpha1::reward_model::status::Verdict;
use stats::margins::Role;
use stats::{Alpha, Arm, Cells, Estimate, NormalMixture, Null, Scale, Undefined};

use super::super::figures::{percent, plain};
use super::super::gate::{Bound, Comparison, Gate, RouterRule, Rule};
use super::super::measurement::{Stratum, Sums};
use super::super::track::Frozen;
use super::difference::{Shape, comparable, difference, total};
use super::events::FirstErrors;
use super::{Finding, Judgement, collecting, events, normal, whole};

pub(super) fn judge(
    gate: &Gate,
    rule: &RouterRule,
    frozen: &Frozen,
    strata: &[Stratum],
) -> Finding {
    let metric = Metric(rule.metric);
    match rule.rule {
        Rule::Threshold(bound) => threshold(gate, metric, bound, frozen, strata),
        Rule::Compare(comparison) => compare(gate, metric, comparison, frozen, strata),
    }
}

/// What is counted.
#[derive(Clone, Copy)]
struct Metric(RouterMetric);

impl Metric {
    /// Whether it is a share of the requests, of which less is better.
    const fn is_rate(self) -> bool {
        match self.0 {
            RouterMetric::ErrorRate | RouterMetric::SlowFraction | RouterMetric::NonFinite => true,
            RouterMetric::ScoreSpread => false,
        }
    }

    /// What there is too little of.
    const fn wanted(self) -> &'static str {
        match self.0 {
            RouterMetric::ErrorRate | RouterMetric::NonFinite | RouterMetric::ScoreSpread => {
                "requests in the smaller arm"
            }
            RouterMetric::SlowFraction => {
                "requests in the smaller arm, without those that a score cache answered"
            }
        }
    }

    const fn name(self) -> &'static str {
        match self.0 {
            RouterMetric::ErrorRate => "errors",
            RouterMetric::SlowFraction => "slow requests",
            RouterMetric::NonFinite => "scores that are not finite",
            RouterMetric::ScoreSpread => "spread of the scores",
        }
    }

    /// With its unit.
    fn show(self, value: f64) -> String {
        if self.is_rate() {
            percent(value)
        } else {
            plain(value)
        }
    }

    /// An interval as it is shown: a share lies between `least` and 1.
    const fn within(self, (lower, upper): (f64, f64), least: f64) -> (f64, f64) {
        if self.is_rate() {
            (lower.clamp(least, 1.0), upper.clamp(least, 1.0))
        } else {
            (lower, upper)
        }
    }

    /// A spread is the root of a mean square.
    const fn shape(self) -> Shape {
        if self.is_rate() {
            Shape::Ratio
        } else {
            Shape::Root
        }
    }
}

/// How a gate's level is shared: of rates half is the exact test's, which finds rare events sooner.
fn levels(gate: &Gate, metric: Metric) -> (Alpha, Option<Alpha>) {
    match gate.alpha.part(0.5) {
        Some(half) if metric.is_rate() => (half, Some(half)),
        Some(_) | None => (gate.alpha, None),
    }
}

/// The sums of one arm over strata.
fn sums<'s>(strata: impl Iterator<Item = &'s Sums>) -> Cells {
    Cells::of(total(strata))
}

fn compare(
    gate: &Gate,
    metric: Metric,
    comparison: Comparison,
    frozen: &Frozen,
    strata: &[Stratum],
) -> Finding {
    let plainly = |judgement| Finding::of(judgement, frozen);
    let strata = comparable(strata);
    let a = sums(strata.iter().map(|stratum| &stratum.stable));
    let b = sums(strata.iter().map(|stratum| &stratum.canary));
    let canary = whole(b.x);
    let samples = whole(a.x).min(canary);
    if samples < gate.min_samples {
        let judgement = collecting(metric.wanted(), samples, gate.min_samples);
        return plainly(judgement);
    }
    let (alpha, exact) = levels(gate, metric);
    if let Some(half) = exact
        && let Some(harm) = split(metric, comparison, half, &strata, (a, b))
    {
        return plainly(harm.on(canary));
    }
    let compared = metric.shape().arm(a).and_then(|a| {
        let b = metric.shape().arm(b)?;
        Ok((a, b, difference(metric.shape(), &strata)?))
    });
    let (a, b, estimate) = match compared {
        Ok(compared) => compared,
        Err(why) => return plainly(undefined(why, samples)),
    };
    if metric.is_rate() && b.mean() <= 0.0 && a.mean() <= 0.0 && b.units() >= normal::CELLS {
        return plainly(without_events(metric, comparison.margin, alpha, canary));
    }
    if let Err(why) = normal::enough(a, b, estimate) {
        let judgement = Judgement::new(Verdict::Inconclusive, normal::told(why));
        return plainly(judgement.on(canary).estimated(estimate.effect()));
    }
    let Some((tau, frozen)) = normal::tau(frozen, comparison.margin, a, b) else {
        return plainly(undefined(Undefined::NoVariance, samples));
    };
    let (verdict, bounds) = match known(comparison, alpha, tau, estimate) {
        Ok(known) => known,
        Err(why) => return plainly(undefined(why, samples)),
    };
    let bounds = metric.within(bounds, -1.0);
    let message = told(metric, comparison.margin, verdict, (a, b), bounds);
    let judgement = Judgement::new(verdict, message).on(canary);
    Finding::of(
        judgement
            .estimated(estimate.effect())
            .between(bounds.0, bounds.1),
        &frozen,
    )
}

/// The verdict over a difference, and the bounds of the difference (stats.md 2.2: with a margin
/// `nonInferior`, without one `noHarm`).
fn known(
    comparison: Comparison,
    alpha: Alpha,
    tau: Scale,
    estimate: Estimate,
) -> Result<(Verdict, (f64, f64)), Undefined> {
    let effect = comparison.direction.turn(estimate);
    let role = Scale::new(comparison.margin).map_or(Role::Superior, Role::NotWorse);
    let sides = role.evidence(effect, tau)?;
    let mixture = NormalMixture::new(estimate, tau)?;
    let verdict = if alpha.rejects(sides.harm) {
        Verdict::Fail
    } else if comparison.margin <= 0.0 || alpha.rejects(sides.benefit) {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    Ok((verdict, (mixture.lower(alpha), mixture.upper(alpha))))
}

fn told(
    metric: Metric,
    margin: f64,
    verdict: Verdict,
    (a, b): (Arm, Arm),
    (lower, upper): (f64, f64),
) -> String {
    let numbers = format!(
        "{} {} against {} of the stable revision, a difference of {} to {}",
        metric.name(),
        metric.show(b.mean()),
        metric.show(a.mean()),
        metric.show(lower),
        metric.show(upper)
    );
    match verdict {
        Verdict::Fail => format!("{numbers}: worse by more than {}", metric.show(margin)),
        Verdict::Pass if margin <= 0.0 => format!("{numbers}: no harm is seen"),
        Verdict::Pass => format!("{numbers}: no worse by {}", metric.show(margin)),
        Verdict::Inconclusive | Verdict::NoData | Verdict::Error => format!(
            "{numbers}: not yet known whether it is worse by {}",
            metric.show(margin)
        ),
    }
}

/// No event in either arm: `(1 - rate)^n` is below the level from `n rate = ln(1/alpha)` on.
fn without_events(metric: Metric, margin: f64, alpha: Alpha, canary: u64) -> Judgement {
    let most = alpha.threshold() / f64::from(u32::try_from(canary).unwrap_or(u32::MAX)).max(1.0);
    let verdict = if margin <= 0.0 || most <= margin {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    let message = format!(
        "no {} in either revision: {} at most",
        metric.name(),
        metric.show(most.min(1.0))
    );
    Judgement::new(verdict, message)
        .on(canary)
        .estimated(0.0)
        .between(0.0, most.min(1.0))
}

/// Whether first events fall to the new revision too often for the margin (stats.md 1.2): the rate's
/// excess is `rate_A (ratio - 1)` at least, with the lower ends of both at half of the level each.
fn split(
    metric: Metric,
    comparison: Comparison,
    alpha: Alpha,
    strata: &[&Stratum],
    (a, b): (Cells, Cells),
) -> Option<Judgement> {
    let first = FirstErrors::of(strata);
    let share = strata.iter().map(|stratum| stratum.share).max()?;
    let share = f64::from(share.get()) / 100.0;
    let rate = |cells: Cells| cells.y / cells.x.max(1.0);
    let tell = |ratio: f64, rest: String| {
        let message = format!(
            "{} {} against {} of the stable revision, begun at least {} times as often ({} of {} groups of users that had any){rest}",
            metric.name(),
            metric.show(rate(b)),
            metric.show(rate(a)),
            plain(ratio),
            first.canary_alone(),
            first.any(),
        );
        Judgement::new(Verdict::Fail, message).estimated(rate(b) - rate(a))
    };
    if comparison.margin <= 0.0 {
        let ratio = events::ratio_at_least(first, share, alpha);
        return (ratio > 1.0).then(|| tell(ratio, String::new()));
    }
    let half = alpha.part(0.5)?;
    let ratio = events::ratio_at_least(first, share, half);
    let least = events::rate_at_least(first.stable(), whole(a.x), half);
    let excess = least * (ratio - 1.0);
    (excess > comparison.margin).then(|| {
        let rest = format!(
            ", at least {} more: worse by more than {}",
            metric.show(excess),
            metric.show(comparison.margin)
        );
        tell(ratio, rest)
    })
}

fn threshold(
    gate: &Gate,
    metric: Metric,
    bound: Bound,
    frozen: &Frozen,
    strata: &[Stratum],
) -> Finding {
    let plainly = |judgement| Finding::of(judgement, frozen);
    let cells = total(strata.iter().map(|stratum| &stratum.canary));
    let had = cells.iter().filter(|(_, y)| *y > 0.0).count();
    let sums = Cells::of(cells);
    let samples = whole(sums.x);
    if samples < gate.min_samples {
        return plainly(collecting("requests", samples, gate.min_samples));
    }
    let (alpha, exact) = levels(gate, metric);
    if let Some(half) = exact
        && let Some(harm) = too_often(metric, bound, half, had, sums)
    {
        return plainly(harm.on(samples));
    }
    let arm = match metric.shape().arm(sums) {
        Ok(arm) if arm.units() >= normal::CELLS => arm,
        Ok(arm) => {
            let judgement = collecting(normal::NEEDED, arm.units(), normal::CELLS);
            return plainly(judgement.on(samples).estimated(arm.mean()));
        }
        Err(why) => return plainly(undefined(why, samples)),
    };
    // Of a constant nothing is unknown.
    if arm.variance() <= 0.0 && (!metric.is_rate() || bound.holds(arm.mean())) {
        let verdict = if bound.holds(arm.mean()) {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        let message = format!("{} {} throughout", metric.name(), metric.show(arm.mean()));
        return plainly(
            Judgement::new(verdict, message)
                .on(samples)
                .estimated(arm.mean()),
        );
    }
    let arm = if metric.is_rate() {
        normal::at_least_binomial(arm, bound.get(), sums.x)
    } else {
        arm
    };
    let Some((tau, frozen)) = normal::tau(frozen, 0.0, arm, arm) else {
        return plainly(undefined(Undefined::NoVariance, samples));
    };
    let (Some(mixture), Some(null)) = (normal::one(arm, tau), Null::new(bound.get())) else {
        return plainly(undefined(Undefined::OutOfRange, samples));
    };
    let evidence = mixture.log_e(null);
    let harm = match bound {
        Bound::AtLeast(_) => evidence.less,
        Bound::AtMost(_) => evidence.greater,
    };
    let bounds = metric.within((mixture.lower(alpha), mixture.upper(alpha)), 0.0);
    let (verdict, word) = if alpha.rejects(harm) {
        (Verdict::Fail, "beyond")
    } else if bound.holds(arm.mean()) {
        (Verdict::Pass, "within")
    } else {
        (Verdict::Inconclusive, "not surely beyond")
    };
    let message = format!(
        "{} {} ({} to {}): {word} the threshold of {}",
        metric.name(),
        metric.show(arm.mean()),
        metric.show(bounds.0),
        metric.show(bounds.1),
        metric.show(bound.get())
    );
    let judgement = Judgement::new(verdict, message).on(samples);
    Finding::of(
        judgement.estimated(arm.mean()).between(bounds.0, bounds.1),
        &frozen,
    )
}

/// Whether cells begin to have events more often than the bound allows.
fn too_often(
    metric: Metric,
    bound: Bound,
    alpha: Alpha,
    had: usize,
    canary: Cells,
) -> Option<Judgement> {
    let Bound::AtMost(most) = bound else {
        return None;
    };
    let (cells, requests) = (u64::try_from(had).ok()?, whole(canary.x));
    events::is_rate_above(cells, requests, most, alpha).then(|| {
        let least = events::rate_at_least(cells, requests, alpha).max(most);
        let message = format!(
            "{} {} or more: beyond the threshold of {}",
            metric.name(),
            metric.show(least),
            metric.show(most)
        );
        let estimate = canary.y / canary.x.max(1.0);
        Judgement::new(Verdict::Fail, message)
            .estimated(estimate)
            .between(least, 1.0)
    })
}

fn undefined(why: Undefined, samples: u64) -> Judgement {
    let verdict = match why {
        Undefined::TooFewUnits | Undefined::NoExposure | Undefined::NoVariance => {
            Verdict::Inconclusive
        }
        Undefined::OutOfRange => Verdict::Error,
    };
    let needs = match why {
        Undefined::TooFewUnits | Undefined::NoExposure => {
            format!(
                " (of {} {} in each revision)",
                normal::CELLS,
                normal::NEEDED
            )
        }
        Undefined::NoVariance | Undefined::OutOfRange => String::new(),
    };
    Judgement::new(verdict, format!("nothing can be said yet: {why}{needs}")).on(samples)
}
