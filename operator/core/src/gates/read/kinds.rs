//! What a gate looks at, read and checked kind by kind.

use crds::v1alpha1::reward_model::gate::{
    Comparison as WrittenComparison, Direction as WrittenDirection, Gate as Written, GoldenGate,
    PairedGate, PairedMetric, PreferencesGate, PrometheusGate, RouterGate, RouterMetric, Threshold,
};
use crds::value::Decimal;
use stats::Scale;
use stats::margins::Direction;

use crate::gates::figures;
use crate::gates::gate::{
    Bound, Comparison, GoldenRule, Kind, PairedRule, PreferencesRule, RouterRule, Rule,
};

/// The longest query.
const LONGEST_QUERY: usize = 8192;

/// Whether a gate decides under uncertainty ([`Kind::compares`], before it was read).
pub(super) const fn compares(written: &Written) -> bool {
    written.router.is_some() || written.paired.is_some() || written.preferences.is_some()
}

pub(super) fn read(written: &Written) -> Result<Kind, String> {
    let mut kinds = Vec::new();
    if let Some(gate) = &written.router {
        kinds.push(router(gate).map(Kind::Router));
    }
    if let Some(gate) = &written.golden {
        kinds.push(golden(gate).map(Kind::Golden));
    }
    if let Some(gate) = &written.paired {
        kinds.push(paired(gate).map(Kind::Paired));
    }
    if let Some(gate) = &written.preferences {
        kinds.push(preferences(gate).map(Kind::Preferences));
    }
    if let Some(gate) = &written.prometheus {
        kinds.push(prometheus(gate));
    }
    match (kinds.pop(), kinds.is_empty()) {
        (Some(kind), true) => kind,
        (None, _) => Err(
            "it names no metric: set one of router, golden, paired, preferences and prometheus"
                .to_owned(),
        ),
        (Some(_), false) => Err(
            "it has more than one kind: keep one of router, golden, paired, preferences and prometheus, and make another gate of each other"
                .to_owned(),
        ),
    }
}

fn number(field: &str, written: &Decimal) -> Result<f64, String> {
    figures::number(written).ok_or_else(|| {
        format!(
            "{field} {:?} is no decimal number: write one in quotes, such as \"0.05\"",
            written.as_str()
        )
    })
}

fn within(field: &str, written: &Decimal, least: f64, most: f64) -> Result<f64, String> {
    let value = number(field, written)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{field} is {}: write a number from {least} to {most}",
        written.as_str()
    ))
}

fn bound(written: &Threshold) -> Result<Bound, String> {
    match (&written.min, &written.max) {
        (Some(min), None) => Ok(Bound::AtLeast(number("threshold.min", min)?)),
        (None, Some(max)) => Ok(Bound::AtMost(number("threshold.max", max)?)),
        (None, None) => {
            Err("threshold names no bound: set one of threshold.min and threshold.max".to_owned())
        }
        (Some(_), Some(_)) => Err(
            "threshold has min and max: keep one, and make another gate of the other".to_owned(),
        ),
    }
}

fn margin(written: &WrittenComparison) -> Result<f64, String> {
    let Some(margin) = &written.margin else {
        return Ok(0.0);
    };
    let value = number("compareToStable.margin", margin)?;
    if value == 0.0 || Scale::new(value).is_some() {
        return Ok(value);
    }
    Err(format!(
        "compareToStable.margin is {}: write how much worse is borne, 0 or more",
        margin.as_str()
    ))
}

const fn direction(written: WrittenDirection) -> Direction {
    match written {
        WrittenDirection::Increase => Direction::Higher,
        WrittenDirection::Decrease => Direction::Lower,
    }
}

fn router(written: &RouterGate) -> Result<RouterRule, String> {
    let slower_than = match (&written.slower_than, written.metric) {
        (Some(time), RouterMetric::SlowFraction) => {
            let time = time
                .to_std()
                .map_err(|why| format!("router.slowerThan: {why}"))?;
            if time.is_zero() {
                return Err(
                    "router.slowerThan is 0: write from when on a request is slow, such as 250ms"
                        .to_owned(),
                );
            }
            Some(time)
        }
        (None, RouterMetric::SlowFraction) => {
            return Err("SlowFraction needs router.slowerThan, such as 250ms".to_owned());
        }
        (
            Some(_),
            RouterMetric::ErrorRate | RouterMetric::NonFinite | RouterMetric::ScoreSpread,
        ) => {
            return Err(
                "router.slowerThan is of the metric SlowFraction: remove it, or change the metric"
                    .to_owned(),
            );
        }
        (None, RouterMetric::ErrorRate | RouterMetric::NonFinite | RouterMetric::ScoreSpread) => {
            None
        }
    };
    let rule = match (&written.threshold, &written.compare_to_stable) {
        (Some(threshold), None) => Rule::Threshold(bound(threshold)?),
        (None, Some(comparison)) => Rule::Compare(Comparison {
            margin: margin(comparison)?,
            direction: direction(comparison.direction),
        }),
        (None, None) => {
            return Err(
                "router has nothing to hold the metric against: set threshold or compareToStable"
                    .to_owned(),
            );
        }
        (Some(_), Some(_)) => {
            return Err(
                "router has threshold and compareToStable: keep one, and make another gate of the other"
                    .to_owned(),
            );
        }
    };
    check_rule(written.metric, rule)?;
    Ok(RouterRule {
        metric: written.metric,
        slower_than,
        rule,
    })
}

/// Of a share of requests less is better, and it lies between 0 and 1.
fn check_rule(metric: RouterMetric, rule: Rule) -> Result<(), String> {
    match metric {
        RouterMetric::ScoreSpread => match rule {
            Rule::Threshold(bound) if bound.get() <= 0.0 => Err(
                "a spread is never below 0: write a threshold above 0, in units of the score"
                    .to_owned(),
            ),
            Rule::Threshold(_) | Rule::Compare(_) => Ok(()),
        },
        RouterMetric::ErrorRate | RouterMetric::SlowFraction | RouterMetric::NonFinite => {
            match rule {
                Rule::Threshold(Bound::AtLeast(_)) => Err(format!(
                    "threshold.min would fail a revision with too low a {metric:?}: write threshold.max"
                )),
                Rule::Threshold(Bound::AtMost(most)) if !(0.0..1.0).contains(&most) => {
                    Err(format!(
                        "threshold.max is {most}, and {metric:?} is a share of requests: write 0 or more, below 1"
                    ))
                }
                Rule::Compare(Comparison {
                    direction: Direction::Higher,
                    ..
                }) => Err(format!(
                    "less is better of {metric:?}: write compareToStable.direction: Decrease"
                )),
                Rule::Compare(Comparison { margin, .. }) if margin >= 1.0 => Err(format!(
                    "compareToStable.margin is {margin}, and {metric:?} is a share of requests: write one below 1, such as \"0.01\""
                )),
                Rule::Threshold(Bound::AtMost(_)) | Rule::Compare(_) => Ok(()),
            }
        }
    }
}

fn golden(written: &GoldenGate) -> Result<GoldenRule, String> {
    let read = |field: &str, value: &Option<Decimal>, least: f64, most: f64| {
        let value = value.as_ref();
        value
            .map(|value| within(&format!("golden.{field}"), value, least, most))
            .transpose()
    };
    let rule = GoldenRule {
        min_accuracy: read("minAccuracy", &written.min_accuracy, 0.0, 1.0)?,
        max_accuracy_drop: read("maxAccuracyDrop", &written.max_accuracy_drop, 0.0, 1.0)?,
        min_rank_correlation: read(
            "minRankCorrelation",
            &written.min_rank_correlation,
            -1.0,
            1.0,
        )?,
        max_score_shift: read("maxScoreShift", &written.max_score_shift, 0.0, 1e60)?,
    };
    if rule == GoldenRule::default() {
        return Err("golden asks for nothing: set one of minAccuracy, maxAccuracyDrop, minRankCorrelation and maxScoreShift".to_owned());
    }
    Ok(rule)
}

fn paired(written: &PairedGate) -> Result<PairedRule, String> {
    let value = number("paired.within", &written.within)?;
    let (sound, write) = match written.metric {
        PairedMetric::ScoreShift => (
            Scale::new(value).is_some(),
            "the most that the mean score may differ, above 0",
        ),
        PairedMetric::RankAgreement => (
            value > -1.0 && value < 1.0,
            "the least Kendall's tau, such as \"0.9\", below 1",
        ),
        PairedMetric::PreferenceFlips => (
            value > 0.0 && value < 1.0,
            "the largest share of requests whose best candidate changes, between 0 and 1",
        ),
    };
    if !sound {
        return Err(format!(
            "paired.within is {}: write {write}",
            written.within.as_str()
        ));
    }
    Ok(PairedRule {
        metric: written.metric,
        within: value,
    })
}

fn preferences(written: &PreferencesGate) -> Result<PreferencesRule, String> {
    match (&written.min_accuracy, &written.compare_to_stable) {
        (Some(least), None) => {
            let least_value = number("preferences.minAccuracy", least)?;
            if least_value > 0.0 && least_value < 1.0 {
                return Ok(PreferencesRule::MinAccuracy(least_value));
            }
            Err(format!(
                "preferences.minAccuracy is {}: write a share between 0 and 1",
                least.as_str()
            ))
        }
        (None, Some(comparison)) => {
            if direction(comparison.direction) == Direction::Lower {
                return Err(
                    "more is better of an accuracy: write compareToStable.direction: Increase"
                        .to_owned(),
                );
            }
            let margin = margin(comparison)?;
            if margin >= 1.0 {
                return Err("compareToStable.margin is a difference of accuracies: write one below 1, such as \"0.02\"".to_owned());
            }
            Ok(PreferencesRule::Compare { margin })
        }
        (None, None) => {
            Err("preferences asks for nothing: set minAccuracy or compareToStable".to_owned())
        }
        (Some(_), Some(_)) => Err(
            "preferences has minAccuracy and compareToStable: keep one, and make another gate of the other"
                .to_owned(),
        ),
    }
}

fn prometheus(written: &PrometheusGate) -> Result<Kind, String> {
    if written.query.trim().is_empty() {
        return Err("prometheus.query is empty: write one that answers one number".to_owned());
    }
    if written.query.len() > LONGEST_QUERY {
        return Err(format!(
            "prometheus.query has {} bytes, more than {LONGEST_QUERY}: put it into a recording rule and ask for that",
            written.query.len()
        ));
    }
    Ok(Kind::Prometheus {
        query: written.query.clone(),
        bound: bound(&written.threshold)?,
    })
}
