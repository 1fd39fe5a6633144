//! How the error level is divided among the tests of an experiment.
//!
//! Owns the budget. Half is for promotion, half for rolling back; levels are fixed at the start, and
//! nothing that is not used is given to another. Invariant: whatever the tests depend on, a false
//! promotion and a false rollback together have a probability of at most alpha.

use std::num::NonZeroU32;

use crate::level::Alpha;

/// How important a metric is beside the others.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Importance(f64);

impl Importance {
    /// `None` unless it lies between 1e-9 and 1e9.
    pub fn new(weight: f64) -> Option<Self> {
        (1e-9..=1e9).contains(&weight).then_some(Self(weight))
    }
}

/// When the goals are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalPolicy {
    /// Each is (an intersection-union test: each has the whole level).
    All,
    /// One is (the level is divided by importance).
    Any,
}

/// The one-sided level of each test, in the order of the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct AlphaBudget {
    /// Of a goal's benefit.
    pub goal_benefit: Vec<Alpha>,
    /// Of a goal's harm.
    pub goal_harm: Vec<Alpha>,
    /// Of a guardrail's harm.
    pub guardrail_harm: Vec<Alpha>,
    /// Of a guardrail's not being worse.
    pub guardrail_non_inferior: Vec<Alpha>,
}

/// The levels of an experiment (stats.md 2.1, `alpha_budget` of the reference). `None` where a level
/// would be too small to be a number.
pub fn alpha_budget(
    alpha: Alpha,
    candidates: NonZeroU32,
    goals: &[Importance],
    guardrails: &[Importance],
    policy: GoalPolicy,
) -> Option<AlphaBudget> {
    let each = alpha.part(0.5)?.part(1.0 / f64::from(candidates.get()))?;
    let sum = |metrics: &[Importance]| metrics.iter().map(|metric| metric.0).sum::<f64>();
    let (of_goals, of_all) = (sum(goals), sum(goals) + sum(guardrails));
    let divide = |metrics: &[Importance], whole: f64| -> Option<Vec<Alpha>> {
        metrics
            .iter()
            .map(|metric| each.part(metric.0 / whole))
            .collect()
    };
    Some(AlphaBudget {
        goal_benefit: match policy {
            GoalPolicy::All => vec![each; goals.len()],
            GoalPolicy::Any => divide(goals, of_goals)?,
        },
        goal_harm: divide(goals, of_all)?,
        guardrail_harm: divide(guardrails, of_all)?,
        guardrail_non_inferior: vec![each; guardrails.len()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_of_all_candidates_together_has_half_of_alpha() {
        let weights: Vec<_> = [1.0, 2.5, 0.1]
            .iter()
            .map(|w| Importance::new(*w).unwrap())
            .collect();
        let three = NonZeroU32::new(3).unwrap();
        let alpha = Alpha::new(0.05).unwrap();
        for policy in [GoalPolicy::All, GoalPolicy::Any] {
            let budget = alpha_budget(alpha, three, &weights, &weights, policy).unwrap();
            let harm = budget.goal_harm.iter().chain(&budget.guardrail_harm);
            let sum: f64 = harm.map(|level| level.get()).sum();
            assert!((3.0 * sum - 0.025).abs() < 1e-15, "{sum}");
            let benefit: f64 = budget.goal_benefit.iter().map(|level| level.get()).sum();
            let most = if policy == GoalPolicy::Any {
                0.025
            } else {
                0.075
            };
            assert!((3.0 * benefit - most).abs() < 1e-15, "{benefit}");
        }
    }

    #[test]
    fn what_is_no_weight_is_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Importance::new(bad), None);
        }
        let one = [Importance::new(1.0).unwrap()];
        let tiny = Alpha::new(5e-324).unwrap();
        assert_eq!(
            alpha_budget(tiny, NonZeroU32::MIN, &one, &one, GoalPolicy::All),
            None
        );
    }
}
