//! The rules, which have no second oracle: the budget, the decision, allocations, corrections.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use stats::{
    Allocation, Alpha, Candidate, Experiment, Goal, GoalPolicy, Guardrail, GuardrailPolicy,
    Importance, Inconclusive, Range, Verdict, alpha_budget, decide, e_bh, holm,
};

use crate::given::{Given, count};

pub(crate) fn outcome(function: &str, given: Given) -> Option<Value> {
    Some(match function {
        "holm" => json!({"adjusted": holm(&given.numbers("p")).unwrap()}),
        "e_bh" => json!({"rejected": e_bh(&given.numbers("ln_e"), given.alpha("alpha")).unwrap()}),
        "alpha_budget" => budget(given),
        "decide" => decision(given),
        "initial_allocation" => {
            let coverage = u16::try_from(given.count("coverage_bp")).unwrap();
            ranges(&Allocation::initial(&slots(given, "weights_bp"), coverage).unwrap())
        }
        "reallocate" => ranges(
            &allocation(given)
                .reallocate(&slots(given, "target_slots"))
                .unwrap(),
        ),
        _ => return None,
    })
}

fn policy(given: Given) -> GoalPolicy {
    match given.text("goal_policy") {
        "all" => GoalPolicy::All,
        "any" => GoalPolicy::Any,
        other => panic!("no policy {other}"),
    }
}

fn importance(weight: f64) -> Importance {
    Importance::new(weight).unwrap()
}

fn budget(given: Given) -> Value {
    let weights = |name| -> Vec<_> { given.numbers(name).into_iter().map(importance).collect() };
    let candidates = u32::try_from(given.count("n_candidates")).unwrap();
    let budget = alpha_budget(
        given.alpha("alpha"),
        NonZeroU32::new(candidates).unwrap(),
        &weights("goals"),
        &weights("guardrails"),
        policy(given),
    )
    .unwrap();
    let levels = |levels: &[Alpha]| -> Value { levels.iter().map(|level| level.get()).collect() };
    json!({
        "goal_benefit": levels(&budget.goal_benefit),
        "goal_harm": levels(&budget.goal_harm),
        "guardrail_harm": levels(&budget.guardrail_harm),
        "guardrail_noninferiority": levels(&budget.guardrail_non_inferior),
    })
}

fn candidate(given: Given) -> Candidate {
    Candidate {
        name: given.text("name").to_owned(),
        goals: given
            .each("goals")
            .map(|goal| Goal {
                effect: goal.number("effect"),
                benefit: goal.number("ln_e_benefit"),
                harm: goal.number("ln_e_harm"),
                eligible: goal.flag("eligible"),
                futile: goal.flag("futile"),
            })
            .collect(),
        guardrails: given
            .each("guardrails")
            .map(|guardrail| Guardrail {
                harm: guardrail.number("ln_e_harm"),
                non_inferior: guardrail.number("ln_e_noninf"),
                eligible: guardrail.flag("eligible"),
            })
            .collect(),
        rolled_back: given.flag("rolled_back"),
    }
}

fn experiment(given: Given) -> Experiment {
    let weights = |name| {
        given
            .each(name)
            .map(|metric| importance(metric.number("weight")))
            .collect()
    };
    let seconds = |name| Duration::from_secs_f64(given.number(name));
    Experiment {
        alpha: given.alpha("alpha"),
        sample_ratio: given.number("srm_ln_e"),
        sample_ratio_alpha: given.alpha("srm_alpha"),
        elapsed: seconds("elapsed_s"),
        at_least: seconds("min_duration_s"),
        at_most: seconds("max_duration_s"),
        goal_policy: policy(given),
        guardrail_policy: match given.text("guardrail_policy") {
            "noHarm" => GuardrailPolicy::NoHarm,
            "nonInferior" => GuardrailPolicy::NonInferior,
            other => panic!("no policy {other}"),
        },
        futility: given.flag("futility"),
        goals: weights("goals"),
        guardrails: weights("guardrails"),
        candidates: given.each("candidates").map(candidate).collect(),
    }
}

fn decision(given: Given) -> Value {
    let experiment = experiment(given);
    let decision = decide(&experiment).unwrap();
    let name = |index: usize| {
        experiment
            .candidates
            .get(index)
            .map(|one| one.name.clone())
            .unwrap()
    };
    let (verdict, reason, variant) = match decision.verdict {
        Verdict::SampleRatioMismatch => ("Invalid", "SampleRatioMismatch", None),
        Verdict::Promote(index) => ("Promote", "GoalsMet", Some(name(index))),
        Verdict::RollBack => ("RollBack", "AllCandidatesHarmful", None),
        Verdict::Inconclusive(Inconclusive::Futility) => ("Inconclusive", "Futility", None),
        Verdict::Inconclusive(Inconclusive::MaxDuration) => ("Inconclusive", "MaxDuration", None),
        Verdict::Inconclusive(Inconclusive::InsufficientData) => {
            ("Inconclusive", "InsufficientData", None)
        }
        Verdict::Running => ("Running", "Collecting", None),
    };
    let out: Vec<_> = decision
        .rolled_back
        .iter()
        .map(|(index, _)| name(*index))
        .collect();
    json!({"verdict": verdict, "reason": reason, "variant": variant, "rolled_back": out})
}

fn slots(given: Given, name: &str) -> Vec<u16> {
    let counts = given.counts(name).into_iter();
    counts.map(|slots| u16::try_from(slots).unwrap()).collect()
}

fn allocation(given: Given) -> Allocation {
    let range = |range: Given| {
        let numbers: Vec<u64> = range.0.as_array().unwrap().iter().map(count).collect();
        let [from, to, variant] = numbers.as_slice() else {
            panic!("no range: {}", range.0)
        };
        Range {
            from: u16::try_from(*from).unwrap(),
            to: u16::try_from(*to).unwrap(),
            variant: usize::try_from(*variant).unwrap(),
        }
    };
    Allocation::new(given.each("allocation").map(range).collect()).unwrap()
}

fn ranges(allocation: &Allocation) -> Value {
    let ranges = allocation.ranges().iter();
    let ranges: Vec<_> = ranges
        .map(|range| json!([range.from, range.to, range.variant]))
        .collect();
    json!({"ranges": ranges})
}
