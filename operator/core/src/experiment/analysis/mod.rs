//! One look at an experiment: from what was counted to what it says, and what is to be done.
//!
//! Owns which metric becomes what in [`stats::decide`], what is frozen and what is latched. It must not know
//! pods, routers or resources. Invariants: `tau` is frozen at the first look at which a metric was eligible;
//! harm is latched over eligible looks alone, and a benefit is not; levels are those of the experiment's
//! start, whoever is out since.

mod compare;
mod exact;
mod finding;
#[cfg(test)]
mod methods;
mod roles;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crds::v1alpha1::ab_experiment::{Kind, Mode, Role, Test};
use stats::{
    Alpha, ArmUsers, Candidate, Decision, Experiment, Goal, Guardrail, GuardrailPolicy, Latched,
    Malformed, Scale, Verdict, decide, eligibility, required_error, sample_ratio, still_needed,
};

use super::spec::{Axis, Design, Metric, Size};
use super::totals::Totals;
use finding::{Asked, Levels};
use roles::{Roles, policy};

pub use finding::Finding;

/// What is kept of a metric and a candidate from look to look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Track {
    /// The size of effects that it is tuned for, once it is frozen.
    pub tau: Option<Scale>,
    /// The most evidence of harm so far.
    pub harm: f64,
    /// Answers of Prometheus in a row beyond the bound.
    pub beyond: u32,
}

/// Tracks by the names of metric and candidate.
pub type Tracks = BTreeMap<(String, String), Track>;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Looked<'a> {
    /// What was asked for.
    pub design: &'a Design,
    /// The epochs that are put together, the current one last.
    pub strata: &'a [Totals],
    /// What was kept.
    pub tracks: &'a Tracks,
    /// Slots that each arm uses, in the order of the design.
    pub slots: &'a [u16],
    /// Candidates that are out already.
    pub out: &'a [String],
    /// Since the analysis began.
    pub elapsed: Duration,
    /// Evidence of a sample ratio mismatch of the epochs before.
    pub sample_ratio_before: f64,
}

/// Whether users fall to arms by weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleRatio {
    /// The parts, by arm.
    pub expected: Vec<f64>,
    /// Users, by arm.
    pub observed: Vec<u64>,
    /// Evidence against, a natural logarithm.
    pub log_e: f64,
}

/// What one metric says of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The metric's place in the design.
    pub metric: usize,
    /// The candidate's name.
    pub candidate: String,
    /// What it says.
    pub finding: Finding,
    /// Harm at this look, and the most so far.
    pub harm: f64,
    /// How much longer until the smallest effect that matters would be shown.
    pub eta: Option<Duration>,
}

/// Why a candidate is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// Its name.
    pub candidate: String,
    /// In words.
    pub why: String,
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Every metric of every candidate.
    pub rows: Vec<Row>,
    /// What is kept for the next look.
    pub tracks: Tracks,
    /// Whether users fall to arms by weight.
    pub sample_ratio: SampleRatio,
    /// Candidates that are out at this look and were not before.
    pub out: Vec<Out>,
    /// What to do.
    pub decision: Result<Decision, Malformed>,
    /// The first candidate, by effect on the first goal, that is shown to be no worse on every metric.
    pub no_worse: Option<String>,
}

/// One look.
pub fn look(looked: &Looked<'_>) -> Look {
    let design = looked.design;
    let Some(roles) = Roles::of(design) else {
        return nothing(looked, Malformed::Alpha);
    };
    let mut tracks = looked.tracks.clone();
    let (mut rows, mut out, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
    for (arm, candidate) in (1..).zip(design.candidates()) {
        let own = self::rows(looked, &roles, (arm, &candidate.name), &mut tracks);
        let was_out = looked.out.contains(&candidate.name);
        let breaks = own.iter().find_map(|row| {
            let (why, metric) = (
                row.finding.breaks.as_ref()?,
                design.metrics.get(row.metric)?,
            );
            // What is Info is only told.
            (metric.role != Role::Info).then(|| format!("{}: {why}", metric.name))
        });
        let is_covered = is_covered(looked, arm);
        let goals = roles.goals.iter();
        let guardrails = roles.guardrails.iter();
        candidates.push(Candidate {
            name: candidate.name.clone(),
            goals: goals
                .filter_map(|(place, metric)| Some(goal(metric, own.get(*place)?, is_covered)))
                .collect(),
            guardrails: guardrails
                .filter_map(|(place, metric)| Some(guardrail(metric, own.get(*place)?)))
                .collect(),
            rolled_back: was_out || breaks.is_some(),
        });
        if let Some(why) = breaks.filter(|_| !was_out) {
            let candidate = candidate.name.clone();
            out.push(Out { candidate, why });
        }
        rows.extend(own);
    }
    let sample_ratio = ratio(looked);
    let experiment = experiment(looked, &roles, candidates, sample_ratio.log_e);
    let decision = decide(&experiment);
    for (index, harm) in decision.iter().flat_map(|decision| &decision.rolled_back) {
        let candidate = experiment.candidates.get(*index);
        if let Some((candidate, why)) = candidate.zip(roles.why(*harm)) {
            let candidate = candidate.name.clone();
            out.push(Out { candidate, why });
        }
    }
    let no_worse = no_worse(&experiment, &decision, &rows, &roles, looked);
    Look {
        rows,
        tracks,
        sample_ratio,
        out,
        decision,
        no_worse,
    }
}

/// The level at which each metric has to show what a promotion needs, in the order of the design (stats.md 2.1).
/// `None` where a level would be too small to be a number.
pub fn benefit_levels(design: &Design) -> Option<Vec<Alpha>> {
    let roles = Roles::of(design)?;
    let places = 0..design.metrics.len();
    Some(places.map(|place| roles.levels(place).benefit).collect())
}

/// What every metric says of a candidate.
fn rows(
    looked: &Looked<'_>,
    roles: &Roles<'_>,
    (arm, name): (usize, &str),
    tracks: &mut Tracks,
) -> Vec<Row> {
    let mut rows = Vec::with_capacity(looked.design.metrics.len());
    for (place, metric) in looked.design.metrics.iter().enumerate() {
        let levels = roles.levels(place);
        let key = (metric.name.clone(), name.to_owned());
        let before = looked.tracks.get(&key).copied().unwrap_or_default();
        let weight = |arm: usize| f64::from(looked.slots.get(arm).copied().unwrap_or(0));
        let asked = Asked {
            design: looked.design,
            metric,
            place,
            arm,
            strata: looked.strata,
            weights: (weight(0), weight(arm)),
            levels,
            track: &before,
        };
        let finding = asked.finding();
        let track = next(before, &finding);
        rows.push(Row {
            metric: place,
            candidate: name.to_owned(),
            harm: track.harm,
            eta: eta(metric, &finding, levels, looked.elapsed),
            finding,
        });
        tracks.insert(key, track);
    }
    rows
}

fn experiment(
    looked: &Looked<'_>,
    roles: &Roles<'_>,
    candidates: Vec<Candidate>,
    sample_ratio: f64,
) -> Experiment {
    let design = looked.design;
    let importance = |of: &[(usize, &Metric)]| of.iter().map(|(_, one)| one.importance).collect();
    Experiment {
        alpha: design.alpha,
        sample_ratio,
        sample_ratio_alpha: design.srm_alpha,
        elapsed: looked.elapsed,
        at_least: design.at_least,
        at_most: design.at_most,
        goal_policy: policy(design),
        // Guardrails that need not show it have shown it ([`guardrail`]).
        guardrail_policy: GuardrailPolicy::NonInferior,
        futility: design.futility,
        goals: importance(&roles.goals),
        guardrails: importance(&roles.guardrails),
        candidates,
    }
}

fn nothing(looked: &Looked<'_>, why: Malformed) -> Look {
    Look {
        rows: Vec::new(),
        tracks: looked.tracks.clone(),
        sample_ratio: ratio(looked),
        out: Vec::new(),
        decision: Err(why),
        no_worse: None,
    }
}

/// After a look: tau is frozen and harm latched where enough was seen.
fn next(before: Track, finding: &Finding) -> Track {
    let beyond = finding.beyond;
    if finding.collecting.is_some() {
        return Track { beyond, ..before };
    }
    let latched = Latched {
        current: 0.0,
        most: before.harm,
    }
    .look(finding.harm);
    Track {
        tau: before.tau.or(finding.tau),
        harm: latched.most,
        beyond,
    }
}

/// Whether enough requests were scored by the candidate too for a promotion (Paired).
fn is_covered(looked: &Looked<'_>, arm: usize) -> bool {
    let all = looked.strata.iter().map(|totals| totals.arm(arm));
    let (eligible, answered) = all.fold((0, 0), |(eligible, answered): (u64, u64), of| {
        (
            eligible.saturating_add(of.eligible),
            answered.saturating_add(of.answered),
        )
    });
    looked.design.mode == Mode::Split || eligibility::coverage(eligible, answered).is_ok()
}

fn goal(metric: &Metric, row: &Row, is_covered: bool) -> Goal {
    let finding = &row.finding;
    // Of a goal that was never seen there is no effect: it is not eligible then.
    let effect = finding.effect.unwrap_or(0.0);
    let smallest = match (metric.smallest, metric.axis) {
        (None, _) => None,
        (Some(Size::Absolute(size)), _) => Some(size.get()),
        (Some(Size::Relative(part)), Axis::Logarithm) => Some(part.get().ln_1p()),
        (Some(Size::Relative(part)), Axis::Plain) => {
            finding.control.map(|control| part.get() * control.abs())
        }
    };
    let eligible = finding.collecting.is_none();
    let futile = finding
        .upper
        .zip(smallest)
        .is_some_and(|(upper, smallest)| upper < smallest);
    Goal {
        effect,
        benefit: if is_covered {
            finding.benefit
        } else {
            f64::NEG_INFINITY
        },
        harm: row.harm,
        eligible,
        futile: futile && eligible,
    }
}

/// One whose test asks for no more than that no harm is seen has shown it.
fn guardrail(metric: &Metric, row: &Row) -> Guardrail {
    let finding = &row.finding;
    let must_show = metric.kind == Kind::Equivalence || metric.test == Test::NonInferiority;
    Guardrail {
        harm: row.harm,
        non_inferior: if must_show {
            finding.non_inferior
        } else {
            f64::INFINITY
        },
        eligible: finding.collecting.is_none(),
    }
}

/// Users of arms that are still dealt to, against their slots. In Paired nobody is dealt.
fn ratio(looked: &Looked<'_>) -> SampleRatio {
    let design = looked.design;
    let totals = looked.strata.last();
    let each = design
        .variants
        .iter()
        .enumerate()
        .filter(|(_, variant)| !looked.out.contains(&variant.name));
    let arms: Vec<ArmUsers> = each
        .map(|(arm, _)| ArmUsers {
            users: totals.map_or(0, |totals| totals.arm(arm).users),
            weight: f64::from(looked.slots.get(arm).copied().unwrap_or(0)),
        })
        .collect();
    let whole: f64 = arms.iter().map(|arm| arm.weight).sum();
    let now = match design.mode {
        Mode::Split => sample_ratio(&arms).unwrap_or(0.0),
        Mode::Paired => 0.0,
    };
    SampleRatio {
        expected: arms.iter().map(|arm| arm.weight / whole.max(1.0)).collect(),
        observed: arms.iter().map(|arm| arm.users).collect(),
        log_e: stats::carried(looked.sample_ratio_before, now),
    }
}

fn eta(metric: &Metric, finding: &Finding, levels: Levels, elapsed: Duration) -> Option<Duration> {
    let smallest = match (metric.smallest?, metric.axis) {
        (Size::Absolute(size), _) => size,
        (Size::Relative(part), Axis::Logarithm) => Scale::new(part.get().ln_1p())?,
        (Size::Relative(part), Axis::Plain) => Scale::new(part.get() * finding.control?.abs())?,
    };
    let error = Scale::new(finding.error?)?;
    let required = Scale::new(required_error(smallest, finding.tau?, levels.benefit))?;
    let seconds = elapsed.as_secs_f64() * still_needed(error, required);
    // A century is as good as never.
    (seconds < 3.2e9)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

fn no_worse(
    experiment: &Experiment,
    decision: &Result<Decision, Malformed>,
    rows: &[Row],
    roles: &Roles<'_>,
    looked: &Looked<'_>,
) -> Option<String> {
    let out: Vec<usize> = decision
        .iter()
        .flat_map(|one| &one.rolled_back)
        .map(|(index, _)| *index)
        .collect();
    let shown = |row: &&Row| {
        let metric = looked.design.metrics.get(row.metric);
        metric.map(|metric| metric.role) != Some(Role::Info)
            && !(row.finding.collecting.is_none()
                && roles
                    .levels(row.metric)
                    .benefit
                    .rejects(row.finding.non_inferior))
    };
    let fits = |(index, candidate): &(usize, &Candidate)| {
        let mut own = rows.iter().filter(|row| row.candidate == candidate.name);
        let is_in = !out.contains(index) && !candidate.rolled_back;
        is_in && is_covered(looked, index + 1) && !own.any(|row| shown(&row))
    };
    let effect = |candidate: &Candidate| candidate.goals.first().map_or(0.0, |goal| goal.effect);
    let all = experiment.candidates.iter().enumerate().filter(fits);
    let best = all.min_by(|(_, one), (_, other)| {
        effect(other)
            .total_cmp(&effect(one))
            .then_with(|| one.name.cmp(&other.name))
    });
    best.map(|(_, candidate)| candidate.name.clone())
}

/// Whether a look ends the experiment.
pub const fn is_final(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::SampleRatioMismatch
        | Verdict::Promote(_)
        | Verdict::RollBack
        | Verdict::Inconclusive(_) => true,
        Verdict::Running => false,
    }
}
