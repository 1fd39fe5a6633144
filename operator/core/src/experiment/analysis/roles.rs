//! Which metrics decide what, and at which levels (stats.md 2.1).
//!
//! Invariant: levels are those of the experiment's start, whoever is out since.

use std::num::NonZeroU32;

use crds::v1alpha1::ab_experiment::{GoalPolicy, Role};
use stats::{Alpha, AlphaBudget, Harm, alpha_budget};

use super::super::spec::{Design, Metric};
use super::finding::Levels;

/// Which metrics decide what, and at which levels.
pub(super) struct Roles<'a> {
    pub(super) goals: Vec<(usize, &'a Metric)>,
    pub(super) guardrails: Vec<(usize, &'a Metric)>,
    budget: AlphaBudget,
    info: Alpha,
}

impl<'a> Roles<'a> {
    pub(super) fn of(design: &'a Design) -> Option<Self> {
        let of_role = |role: Role| -> Vec<(usize, &Metric)> {
            let metrics = design.metrics.iter().enumerate();
            metrics.filter(|(_, metric)| metric.role == role).collect()
        };
        let (goals, guardrails) = (of_role(Role::Goal), of_role(Role::Guardrail));
        Some(Self {
            budget: budget(design, &goals, &guardrails)?,
            info: design.alpha.part(0.5)?,
            goals,
            guardrails,
        })
    }

    pub(super) fn levels(&self, place: usize) -> Levels {
        let at = |of: &[(usize, &Metric)]| of.iter().position(|(metric, _)| *metric == place);
        let pick = |levels: &[Alpha], index: usize| levels.get(index).copied().unwrap_or(self.info);
        let budget = &self.budget;
        let (benefit, harm) = match (at(&self.goals), at(&self.guardrails)) {
            (Some(index), _) => (
                pick(&budget.goal_benefit, index),
                pick(&budget.goal_harm, index),
            ),
            (None, Some(index)) => (
                pick(&budget.guardrail_non_inferior, index),
                pick(&budget.guardrail_harm, index),
            ),
            (None, None) => (self.info, self.info),
        };
        Levels { benefit, harm }
    }

    pub(super) fn why(&self, harm: Harm) -> Option<String> {
        let name = |list: &[(usize, &Metric)], index: usize| {
            let metric = list.get(index).map(|(_, metric)| metric.name.clone());
            metric.unwrap_or_default()
        };
        match harm {
            Harm::Before => None,
            Harm::Guardrail(place) => Some(format!(
                "guardrail {} shows harm",
                name(&self.guardrails, place)
            )),
            Harm::Goal(place) => Some(format!("goal {} shows harm", name(&self.goals, place))),
        }
    }
}

pub(super) fn policy(design: &Design) -> stats::GoalPolicy {
    match design.goal_policy {
        GoalPolicy::All => stats::GoalPolicy::All,
        GoalPolicy::Any => stats::GoalPolicy::Any,
    }
}

fn budget(
    design: &Design,
    goals: &[(usize, &Metric)],
    guardrails: &[(usize, &Metric)],
) -> Option<AlphaBudget> {
    let weights = |of: &[(usize, &Metric)]| {
        of.iter()
            .map(|(_, metric)| metric.importance)
            .collect::<Vec<_>>()
    };
    let candidates = u32::try_from(design.candidates().len()).ok();
    alpha_budget(
        design.alpha,
        candidates.and_then(NonZeroU32::new)?,
        &weights(goals),
        &weights(guardrails),
        policy(design),
    )
}
