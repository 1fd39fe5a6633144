//! What to do with an experiment, at one look.
//!
//! Owns the order in which evidence is weighed. It must not know of pods, clocks or resources: what is
//! not evidence (a candidate that is not ready, one rolled back before) is said by the caller. Invariants:
//! a sample ratio mismatch comes before everything; harm before benefit, and before the minimal duration
//! too; a metric that is not eligible neither rolls back nor promotes.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::alpha_budget::{AlphaBudget, GoalPolicy, Importance, alpha_budget};
use crate::level::Alpha;

/// What guardrails have to show for a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardrailPolicy {
    /// Enough was seen, and no harm.
    NoHarm,
    /// That they are not worse.
    NonInferior,
}

/// A goal's evidence for one candidate: natural logarithms, better is larger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The effect.
    pub effect: f64,
    /// Of a benefit, now.
    pub benefit: f64,
    /// Of harm, the most so far.
    pub harm: f64,
    /// Whether enough was seen.
    pub eligible: bool,
    /// Whether the effect is surely smaller than the smallest that counts.
    pub futile: bool,
}

/// A guardrail's evidence for one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guardrail {
    /// Of harm, the most so far.
    pub harm: f64,
    /// Of not being worse, now.
    pub non_inferior: f64,
    /// Whether enough was seen.
    pub eligible: bool,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name: of two that are as good, the first by name is promoted.
    pub name: String,
    /// Its goals, the most important first, as many as the experiment has.
    pub goals: Vec<Goal>,
    /// Its guardrails, as many as the experiment has.
    pub guardrails: Vec<Guardrail>,
    /// Whether it was rolled back at an earlier look, or by the breaker.
    pub rolled_back: bool,
}

/// An experiment at one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The error level of promotion and rollback together.
    pub alpha: Alpha,
    /// Evidence of a sample ratio mismatch.
    pub sample_ratio: f64,
    /// The level at which that invalidates.
    pub sample_ratio_alpha: Alpha,
    /// How long the epoch has run.
    pub elapsed: Duration,
    /// Nothing is promoted before.
    pub at_least: Duration,
    /// Nothing runs on after.
    pub at_most: Duration,
    /// When the goals are met.
    pub goal_policy: GoalPolicy,
    /// What guardrails have to show.
    pub guardrail_policy: GuardrailPolicy,
    /// Whether it ends early where no candidate can be good enough.
    pub futility: bool,
    /// How important each goal is.
    pub goals: Vec<Importance>,
    /// How important each guardrail is.
    pub guardrails: Vec<Importance>,
    /// The candidates.
    pub candidates: Vec<Candidate>,
}

/// Why an experiment cannot be decided at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It has no candidate, or more than can be counted.
    NoCandidate,
    /// It has no goal.
    NoGoal,
    /// A candidate has more or fewer metrics than the experiment.
    Metrics,
    /// Some evidence, or an effect, is NaN.
    NotANumber,
    /// Alpha is too small to be divided.
    Alpha,
}

/// Why a candidate is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It was before this look.
    Before,
    /// The guardrail of this index.
    Guardrail(usize),
    /// The goal of this index.
    Goal(usize),
}

/// Why there is no verdict for a candidate at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inconclusive {
    /// No candidate can be good enough.
    Futility,
    /// The time is up.
    MaxDuration,
    /// The time is up, and a goal never had enough.
    InsufficientData,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Users do not fall to arms as they should: nothing is decided, traffic goes to control.
    SampleRatioMismatch,
    /// The candidate of this index is better.
    Promote(usize),
    /// Every candidate is out.
    RollBack,
    /// It ends without one.
    Inconclusive(Inconclusive),
    /// It goes on.
    Running,
}

/// The verdict, and who is out, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// Candidates that are out, and why, in their order. Empty in an invalid experiment.
    pub rolled_back: Vec<(usize, Harm)>,
}

/// Where a candidate stands at this look.
enum Standing {
    Out(Harm),
    Winner,
    Futile,
    Pending,
}

/// The decision (stats.md 2.3, `decide` of the reference). The non-statistical breaker comes before it:
/// its candidates are rolled back already.
pub fn decide(experiment: &Experiment) -> Result<Decision, Malformed> {
    check(experiment)?;
    if experiment
        .sample_ratio_alpha
        .rejects(experiment.sample_ratio)
    {
        return Ok(Decision {
            verdict: Verdict::SampleRatioMismatch,
            rolled_back: Vec::new(),
        });
    }
    let candidates = u32::try_from(experiment.candidates.len()).ok();
    let budget = alpha_budget(
        experiment.alpha,
        candidates
            .and_then(NonZeroU32::new)
            .ok_or(Malformed::NoCandidate)?,
        &experiment.goals,
        &experiment.guardrails,
        experiment.goal_policy,
    )
    .ok_or(Malformed::Alpha)?;
    let mut sorted = Sorted::default();
    for (index, candidate) in experiment.candidates.iter().enumerate() {
        match standing(experiment, &budget, candidate) {
            Standing::Out(harm) => sorted.out.push((index, harm)),
            Standing::Winner => sorted.winners.push((index, candidate)),
            Standing::Futile => sorted.futile = true,
            Standing::Pending => sorted.pending.push(candidate),
        }
    }
    Ok(Decision {
        verdict: sorted.verdict(experiment),
        rolled_back: sorted.out,
    })
}

/// Candidates by where they stand.
#[derive(Default)]
struct Sorted<'a> {
    out: Vec<(usize, Harm)>,
    winners: Vec<(usize, &'a Candidate)>,
    futile: bool,
    pending: Vec<&'a Candidate>,
}

impl Sorted<'_> {
    fn verdict(&self, experiment: &Experiment) -> Verdict {
        // The largest effect on the first goal, then the first name.
        let effect =
            |candidate: &Candidate| candidate.goals.first().map_or(0.0, |goal| goal.effect);
        let best = self.winners.iter().min_by(|(_, one), (_, other)| {
            let larger = effect(other).total_cmp(&effect(one));
            larger.then_with(|| one.name.cmp(&other.name))
        });
        if let Some((index, _)) = best {
            return Verdict::Promote(*index);
        }
        if self.pending.is_empty() {
            return if self.futile {
                Verdict::Inconclusive(Inconclusive::Futility)
            } else {
                Verdict::RollBack
            };
        }
        if experiment.elapsed < experiment.at_most {
            return Verdict::Running;
        }
        let mut goals = self.pending.iter().flat_map(|candidate| &candidate.goals);
        Verdict::Inconclusive(if goals.any(|goal| !goal.eligible) {
            Inconclusive::InsufficientData
        } else {
            Inconclusive::MaxDuration
        })
    }
}

fn standing(experiment: &Experiment, budget: &AlphaBudget, candidate: &Candidate) -> Standing {
    if candidate.rolled_back {
        return Standing::Out(Harm::Before);
    }
    if let Some(harm) = harm(budget, candidate) {
        return Standing::Out(harm);
    }
    let old_enough = experiment.elapsed >= experiment.at_least;
    let goals = goals_met(experiment.goal_policy, budget, candidate);
    let guardrails = guardrails_pass(experiment.guardrail_policy, budget, candidate);
    let futile = || experiment.futility && candidate.goals.iter().any(|goal| goal.futile);
    if old_enough && goals && guardrails {
        Standing::Winner
    } else if old_enough && futile() {
        Standing::Futile
    } else {
        Standing::Pending
    }
}

fn harm(budget: &AlphaBudget, candidate: &Candidate) -> Option<Harm> {
    let guardrails = candidate.guardrails.iter().zip(&budget.guardrail_harm);
    let goals = candidate.goals.iter().zip(&budget.goal_harm);
    let guardrail = guardrails
        .map(|(metric, level)| metric.eligible && level.rejects(metric.harm))
        .position(|harmed| harmed);
    let goal = || {
        goals
            .map(|(metric, level)| metric.eligible && level.rejects(metric.harm))
            .position(|harmed| harmed)
    };
    guardrail
        .map(Harm::Guardrail)
        .or_else(|| goal().map(Harm::Goal))
}

fn goals_met(policy: GoalPolicy, budget: &AlphaBudget, candidate: &Candidate) -> bool {
    let mut met = candidate
        .goals
        .iter()
        .zip(&budget.goal_benefit)
        .map(|(goal, level)| goal.eligible && level.rejects(goal.benefit));
    match policy {
        GoalPolicy::All => met.all(|met| met),
        GoalPolicy::Any => met.any(|met| met),
    }
}

fn guardrails_pass(policy: GuardrailPolicy, budget: &AlphaBudget, candidate: &Candidate) -> bool {
    let mut guardrails = candidate
        .guardrails
        .iter()
        .zip(&budget.guardrail_non_inferior);
    guardrails.all(|(guardrail, level)| {
        let shown = match policy {
            GuardrailPolicy::NoHarm => true,
            GuardrailPolicy::NonInferior => level.rejects(guardrail.non_inferior),
        };
        guardrail.eligible && shown
    })
}

fn check(experiment: &Experiment) -> Result<(), Malformed> {
    if experiment.candidates.is_empty() {
        return Err(Malformed::NoCandidate);
    }
    if experiment.goals.is_empty() {
        return Err(Malformed::NoGoal);
    }
    let fits = |candidate: &Candidate| {
        candidate.goals.len() == experiment.goals.len()
            && candidate.guardrails.len() == experiment.guardrails.len()
    };
    if !experiment.candidates.iter().all(fits) {
        return Err(Malformed::Metrics);
    }
    let goals = experiment.candidates.iter().flat_map(|one| &one.goals);
    let guardrails = experiment.candidates.iter().flat_map(|one| &one.guardrails);
    let nan = experiment.sample_ratio.is_nan()
        || goals
            .flat_map(|goal| [goal.effect, goal.benefit, goal.harm])
            .any(f64::is_nan)
        || guardrails
            .flat_map(|one| [one.harm, one.non_inferior])
            .any(f64::is_nan);
    if nan {
        Err(Malformed::NotANumber)
    } else {
        Ok(())
    }
}
