//! What one metric says of one candidate at one look.
//!
//! Owns which method each metric is judged by (stats.md 1 and 2.2). Every effect is turned so that more is
//! better. Invariants: what is not eligible neither promotes nor rolls back, and is not latched; what is
//! exact needs no guard.

use crds::v1alpha1::ab_experiment::{Kind, Mode, Test};
use stats::eligibility::{self, Collecting, Seen, Shape};
use stats::margins::RelativeMargin;
use stats::{
    Alpha, Arm, Estimate, Factor, Moments, NormalMixture, Null, Proportion, Scale, Tally,
    Undefined, difference_of_proportions, equivalence, exceeds, stratified, tau_of_relative,
    tau_of_spread,
};

use super::super::spec::{Axis, Design, Metric, Size, Source};
use super::super::totals::{Counted, Sums, Totals};
use super::Track;
use super::compare::{self, number};
use crate::gates::figures::percent;

/// The levels of a metric (stats.md 2.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Levels {
    /// Of the benefit, or of not being worse.
    pub(super) benefit: Alpha,
    /// Of harm.
    pub(super) harm: Alpha,
}

/// What one metric says of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The test that was used.
    pub method: &'static str,
    /// The candidate's value.
    pub mean: Option<f64>,
    /// Control's value.
    pub control: Option<f64>,
    /// Values of the candidate.
    pub count: u64,
    /// Users, or pairs, of the candidate.
    pub users: u64,
    /// The difference, more is better.
    pub effect: Option<f64>,
    /// Its standard error.
    pub error: Option<f64>,
    /// It is at least this, at the level of a promotion.
    pub lower: Option<f64>,
    /// It is at most this, at the level of a rollback.
    pub upper: Option<f64>,
    /// Evidence of what a promotion needs, a natural logarithm.
    pub benefit: f64,
    /// Evidence of harm at this look.
    pub harm: f64,
    /// Evidence that it is not worse by the margin.
    pub non_inferior: f64,
    /// Why not enough was seen, where it was not.
    pub collecting: Option<String>,
    /// The size of effects that it is tuned for.
    pub tau: Option<Scale>,
    /// Why the candidate is out whatever control does.
    pub breaks: Option<String>,
    /// Answers in a row beyond the bound.
    pub beyond: u32,
}

impl Finding {
    pub(super) fn new(method: &'static str) -> Self {
        Self {
            method,
            mean: None,
            control: None,
            count: 0,
            users: 0,
            effect: None,
            error: None,
            lower: None,
            upper: None,
            benefit: f64::NEG_INFINITY,
            harm: f64::NEG_INFINITY,
            non_inferior: f64::NEG_INFINITY,
            collecting: None,
            tau: None,
            breaks: None,
            beyond: 0,
        }
    }

    /// Why nothing at all is known: too few were seen of one arm. `None` where enough were, of whom too few may
    /// have had an event, or all the same.
    pub fn few(&self) -> Option<&str> {
        let words = self.collecting.as_deref()?;
        let is_few = words.contains("users") || words.ends_with(" pairs");
        is_few.then_some(words)
    }

    pub(super) fn undefined(mut self, why: Undefined) -> Self {
        self.collecting = Some(match why {
            Undefined::NoVariance => told(Collecting::DegenerateMetric),
            Undefined::TooFewUnits | Undefined::NoExposure => "collecting: no users yet".to_owned(),
            Undefined::OutOfRange => "a sum is out of range: clip the metric".to_owned(),
        });
        self
    }
}

/// What is compared.
pub(super) struct Asked<'a> {
    pub(super) design: &'a Design,
    pub(super) metric: &'a Metric,
    /// The metric's place.
    pub(super) place: usize,
    /// The candidate's arm.
    pub(super) arm: usize,
    /// The epochs that are put together, the current one last.
    pub(super) strata: &'a [Totals],
    /// The parts of control and the candidate in the traffic.
    pub(super) weights: (f64, f64),
    pub(super) levels: Levels,
    pub(super) track: &'a Track,
}

impl Asked<'_> {
    pub(super) fn of(&self, arm: usize) -> Vec<Counted> {
        let each = self.strata.iter();
        each.map(|totals| totals.counted(self.place, arm)).collect()
    }

    /// What the metric says.
    pub(super) fn finding(&self) -> Finding {
        match (&self.metric.source, self.metric.kind) {
            (Source::Prometheus(_), _) => self.prometheus(),
            (Source::Preferences, _) => self.labelled(),
            (Source::Score, _) if self.design.mode == Mode::Paired => self.paired(),
            (_, Kind::Proportion) => self.proportion(),
            (_, _) => self.ratio(),
        }
    }

    fn ratio(&self) -> Finding {
        let (a, b) = (self.of(0), self.of(self.arm));
        let strata: Vec<_> = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (&a.cells, &b.cells))
            .collect();
        let rate = self.metric.is_rate().then(|| compare::pooled_rate(&strata));
        let (all_a, all_b) = (all_cells(&a), all_cells(&b));
        let mut finding = Finding::new("ratio over cells");
        finding.count = all_b.iter().map(|(x, _)| *x).fold(0, u64::saturating_add);
        finding.users = users(&b);
        if rate.is_some() {
            let events: f64 = all_b.iter().map(|(_, y)| *y).sum();
            finding.breaks = self.breaks(whole(events), finding.count);
        }
        let arms = compare::arm(&all_a, rate).and_then(|a| Ok((a, compare::arm(&all_b, rate)?)));
        let (arm_a, arm_b) = match arms {
            Ok(arms) => arms,
            Err(why) => return finding.undefined(why),
        };
        let seen = |arm: Arm, users: u64| Seen {
            users: match self.design.mode {
                Mode::Split => users,
                Mode::Paired => arm.units(),
            },
            cells: arm.units(),
        };
        let (seen_a, seen_b) = (seen(arm_a, users(&a)), seen(arm_b, users(&b)));
        self.asymptotic(
            finding,
            (arm_a, arm_b),
            |factor| compare::difference(&strata, rate, factor),
            |estimate| eligibility::means(seen_a, seen_b, estimate),
        )
    }

    /// What is approximately normal (stats.md 1.1).
    fn asymptotic(
        &self,
        mut finding: Finding,
        (a, b): (Arm, Arm),
        difference: impl Fn(Factor) -> Result<Estimate, Undefined>,
        enough: impl Fn(Estimate) -> Result<(), Collecting>,
    ) -> Finding {
        (finding.control, finding.mean) = (Some(a.mean()), Some(b.mean()));
        let direction = self.metric.direction;
        let plain = match difference(Factor::PLAIN) {
            Ok(plain) => direction.turn(plain),
            Err(why) => return finding.undefined(why),
        };
        (finding.effect, finding.error) = (Some(plain.effect()), Some(plain.error()));
        finding.collecting = enough(plain).err().map(told);
        let Some(tau) = self.track.tau.or_else(|| self.tau(a, b)) else {
            return finding.undefined(Undefined::NoVariance);
        };
        finding.tau = Some(tau);
        let margin = self.at_margin(plain, difference);
        self.judged(finding, plain, margin, tau)
    }

    /// The effect that is held against the margin, and what it is held against.
    fn at_margin(
        &self,
        plain: Estimate,
        difference: impl FnOnce(Factor) -> Result<Estimate, Undefined>,
    ) -> Result<(Estimate, Null), Undefined> {
        match (self.metric.margin, self.metric.axis) {
            (None, _) => Ok((plain, Null::ZERO)),
            (Some(Size::Absolute(margin)), _) => Ok((plain, Null::below(margin))),
            (Some(Size::Relative(part)), axis) => {
                let margin = RelativeMargin::new(part.get()).ok_or(Undefined::OutOfRange)?;
                match axis {
                    Axis::Logarithm => Ok((plain, margin.of_logarithm())),
                    Axis::Plain => margin
                        .effect(self.metric.direction, difference)
                        .map(|effect| (effect, Null::ZERO)),
                }
            }
        }
    }

    fn judged(
        &self,
        mut finding: Finding,
        plain: Estimate,
        margin: Result<(Estimate, Null), Undefined>,
        tau: Scale,
    ) -> Finding {
        let levels = self.levels;
        let mixture = match NormalMixture::new(plain, tau) {
            Ok(mixture) => mixture,
            Err(why) => return finding.undefined(why),
        };
        finding.lower = Some(mixture.lower(levels.benefit));
        finding.upper = Some(mixture.upper(levels.harm));
        if self.metric.kind == Kind::Equivalence {
            return self.equivalent(finding, plain, tau);
        }
        let at_margin =
            margin.and_then(|(effect, null)| Ok(NormalMixture::new(effect, tau)?.log_e(null)));
        let at_margin = match at_margin {
            Ok(evidence) => evidence,
            Err(why) => return finding.undefined(why),
        };
        finding.non_inferior = at_margin.greater;
        let tested = match self.metric.test {
            Test::Superiority => mixture.log_e(Null::ZERO),
            Test::NonInferiority | Test::NoHarm => at_margin,
        };
        (finding.benefit, finding.harm) = (tested.greater, tested.less);
        finding
    }

    /// Passes where both sides are excluded; harms where one is surely passed. Of two e-values half the larger
    /// is one.
    fn equivalent(&self, mut finding: Finding, plain: Estimate, tau: Scale) -> Finding {
        let Some(Size::Absolute(margin)) = self.metric.margin else {
            return finding.undefined(Undefined::OutOfRange);
        };
        let both = equivalence(plain, tau, margin).and_then(|within| {
            let mixture = NormalMixture::new(plain, tau)?;
            let below = mixture.log_e(Null::below(margin)).less;
            let above = mixture.log_e(Null::above(margin)).greater;
            Ok((within, below.max(above)))
        });
        match both {
            Ok((within, beyond)) => {
                finding.method = "equivalence";
                finding.non_inferior = within.not_lower.min(within.not_higher);
                finding.benefit = finding.non_inferior;
                finding.harm = beyond - std::f64::consts::LN_2;
                finding
            }
            Err(why) => finding.undefined(why),
        }
    }

    /// The prior's standard deviation (stats.md 1.1): the smallest effect that matters; else the margin of an
    /// equivalence; else 0.08 standard deviations of a unit.
    fn tau(&self, a: Arm, b: Arm) -> Option<Scale> {
        let of = |size: Size| match (size, self.metric.axis) {
            (Size::Absolute(scale), _) => Some(scale),
            (Size::Relative(part), Axis::Logarithm) => Scale::new(part.get().ln_1p()),
            (Size::Relative(part), Axis::Plain) => tau_of_relative(part, a),
        };
        let margin = self
            .metric
            .margin
            .filter(|_| self.metric.kind == Kind::Equivalence);
        let chosen = self.metric.smallest.or(margin).and_then(of);
        chosen.or_else(|| tau_of_spread(a, b))
    }

    fn paired(&self) -> Finding {
        let counted = self.of(self.arm);
        let pairs = counted.iter().filter_map(|counted| counted.pairs.as_ref());
        let cells = compare::together(pairs.clone().map(|pairs| &pairs.cells));
        let differ = pairs.map(|pairs| pairs.differ).fold(0, u64::saturating_add);
        let mut finding = Finding::new("paired differences over cells");
        finding.count = cells.iter().map(|(x, _)| *x).fold(0, u64::saturating_add);
        finding.users = finding.count;
        let mean = |counted: &[Counted]| compare::arm(&all_cells(counted), None).ok();
        finding.mean = mean(&counted).map(Arm::mean);
        let estimate = compare::arm(&cells, None).and_then(|arm| {
            let estimate = Estimate::new(arm.mean(), arm.variance_of_mean().sqrt())?;
            Ok((arm, estimate))
        });
        let (arm, estimate) = match estimate {
            Ok(estimate) => estimate,
            Err(why) => return finding.undefined(why),
        };
        finding.control = finding.mean.map(|mean| mean - estimate.effect());
        let plain = self.metric.direction.turn(estimate);
        (finding.effect, finding.error) = (Some(plain.effect()), Some(plain.error()));
        let shape = match self.metric.clip {
            Some(_) => Shape::Symmetric,
            None => Shape::Skewed,
        };
        finding.collecting = eligibility::pairs(finding.count, differ, shape, plain)
            .err()
            .map(told);
        let Some(tau) = self.track.tau.or_else(|| self.tau(arm, arm)) else {
            return finding.undefined(Undefined::NoVariance);
        };
        finding.tau = Some(tau);
        // A part of control's value is refused of scores when the design is read.
        let margin = self.at_margin(plain, |_| Err(Undefined::OutOfRange));
        self.judged(finding, plain, margin, tau)
    }

    fn proportion(&self) -> Finding {
        let (a, b) = (self.of(0), self.of(self.arm));
        let of = |counted: &[Counted]| {
            let had = counted
                .iter()
                .map(|one| one.had)
                .fold(0, u64::saturating_add);
            Proportion::new(users(counted), had)
        };
        let mut finding = Finding::new("proportion of users");
        let (Some(all_a), Some(all_b)) = (of(&a), of(&b)) else {
            return finding.undefined(Undefined::OutOfRange);
        };
        (finding.count, finding.users) = (all_b.had(), all_b.users());
        finding.breaks = self.breaks(all_b.had(), all_b.users());
        let arm = |of: Proportion| {
            let p = number(of.had()) / number(of.users()).max(1.0);
            Arm::new(of.users(), p, p * (1.0 - p))
        };
        let arms = arm(all_a).and_then(|a| Ok((a, arm(all_b)?)));
        let (arm_a, arm_b) = match arms {
            Ok(arms) => arms,
            Err(why) => return finding.undefined(why),
        };
        let seen = |of: Proportion| Seen {
            users: of.users(),
            cells: of.users(),
        };
        let finding = self.asymptotic(
            finding,
            (arm_a, arm_b),
            |factor| {
                if self.strata.len() == 1 {
                    return difference_of_proportions(all_a, all_b, factor);
                }
                stratified(&epochs(&a, &b, factor).ok_or(Undefined::OutOfRange)?)
            },
            |estimate| {
                eligibility::means(seen(all_a), seen(all_b), estimate)?;
                eligibility::events(all_a, all_b)
            },
        );
        self.split(finding, &a, &b)
    }

    /// Whether a rate is surely above what it may ever be (stats.md 2.3, 2.).
    fn breaks(&self, events: u64, of: u64) -> Option<String> {
        let most = self.metric.absolute_max?;
        let tally = Tally {
            successes: events.min(of),
            failures: of.saturating_sub(events),
        };
        let share = number(events) / number(of).max(1.0);
        (of > 0 && exceeds(tally, most)).then(|| {
            format!(
                "{} of {of}, surely above absoluteMax, {}",
                percent(share),
                percent(most)
            )
        })
    }
}

fn users(counted: &[Counted]) -> u64 {
    let users = counted.iter().map(|one| one.users);
    users.fold(0, u64::saturating_add)
}

fn all_cells(counted: &[Counted]) -> Sums {
    compare::together(counted.iter().map(|one| &one.cells))
}

fn epochs(a: &[Counted], b: &[Counted], factor: Factor) -> Option<Vec<stats::Epoch>> {
    let r = factor.get();
    let of = |one: &Counted, r: f64| {
        Moments::new(one.users, r * number(one.had), r * r * number(one.had))
    };
    let each = a.iter().zip(b);
    each.map(|(a, b)| {
        Some(stats::Epoch {
            a: of(a, r)?,
            b: of(b, 1.0)?,
        })
    })
    .collect()
}

/// Counts are whole and below 2^53, where sums of floating point are exact.
fn whole(sum: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast stops at 0 and at the largest count"
    )]
    let count = sum as u64;
    count
}

/// In words.
pub(super) fn told(collecting: Collecting) -> String {
    match collecting {
        Collecting::Users { seen, needed } => {
            format!("collecting: {seen} of {needed} users in the smaller arm")
        }
        Collecting::Cells { seen, needed } => {
            format!("collecting: {seen} of {needed} groups of users in the smaller arm")
        }
        Collecting::Requests { seen, needed } => format!("collecting: {seen} of {needed} requests"),
        Collecting::Events { seen, needed } => {
            format!("collecting: {seen:.1} of {needed:.0} events in the smaller arm")
        }
        Collecting::Pairs { seen, needed } => format!("collecting: {seen} of {needed} pairs"),
        Collecting::Differences { seen, needed } => {
            format!("collecting: {seen} of {needed} pairs that differ")
        }
        Collecting::Exceedances { seen, needed } => {
            format!("collecting: {seen} of {needed} slow requests")
        }
        Collecting::DegenerateMetric => {
            "nothing varies: a constant is not judged (DegenerateMetric)".to_owned()
        }
        Collecting::ShadowCoverage => {
            "fewer than 95 % of the requests were scored by the variant too (ShadowCoverage)"
                .to_owned()
        }
    }
}
