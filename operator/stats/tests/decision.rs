//! The order in which evidence is weighed, and that the whole rule is wrong no more often than alpha.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod random;

use std::time::Duration;

use proptest::prelude::*;
use random::Random;
use stats::margins::Role;
use stats::{
    Alpha, Candidate, Decision, Experiment, Factor, Goal, GoalPolicy, Guardrail, GuardrailPolicy,
    Harm, Importance, Inconclusive, Latched, Malformed, Moments, Scale, Verdict, decide,
    difference_of_means,
};

const HOUR: Duration = Duration::from_hours(1);
/// Evidence that is enough for any test here.
const PLENTY: f64 = 9.0;

fn goal() -> Goal {
    Goal {
        effect: 0.1,
        benefit: PLENTY,
        harm: 0.0,
        eligible: true,
        futile: false,
    }
}

fn guardrail() -> Guardrail {
    Guardrail {
        harm: 0.0,
        non_inferior: 0.0,
        eligible: true,
    }
}

/// One that would be promoted.
fn candidate(name: &str) -> Candidate {
    Candidate {
        name: name.to_owned(),
        goals: vec![goal()],
        guardrails: vec![guardrail()],
        rolled_back: false,
    }
}

fn experiment(candidates: Vec<Candidate>) -> Experiment {
    let one = Importance::new(1.0).unwrap();
    Experiment {
        alpha: Alpha::new(0.05).unwrap(),
        sample_ratio: 0.0,
        sample_ratio_alpha: Alpha::new(0.001).unwrap(),
        elapsed: 2 * HOUR,
        at_least: HOUR,
        at_most: 100 * HOUR,
        goal_policy: GoalPolicy::All,
        guardrail_policy: GuardrailPolicy::NoHarm,
        futility: true,
        goals: vec![one],
        guardrails: vec![one],
        candidates,
    }
}

fn verdict(experiment: &Experiment) -> Verdict {
    decide(experiment).unwrap().verdict
}

#[test]
fn a_sample_ratio_mismatch_comes_before_everything() {
    let mut broken = experiment(vec![candidate("b")]);
    assert_eq!(verdict(&broken), Verdict::Promote(0));
    broken.sample_ratio = 7.0;
    broken.candidates[0].guardrails[0].harm = PLENTY;
    let nothing_else = Decision {
        verdict: Verdict::SampleRatioMismatch,
        rolled_back: vec![],
    };
    assert_eq!(decide(&broken), Ok(nothing_else));
}

#[test]
fn harm_rolls_back_before_the_minimal_duration_and_benefit_does_not_promote() {
    let mut young = experiment(vec![candidate("b")]);
    young.elapsed = Duration::ZERO;
    assert_eq!(verdict(&young), Verdict::Running);
    young.candidates[0].goals[0].harm = PLENTY;
    let decision = decide(&young).unwrap();
    assert_eq!(decision.rolled_back, [(0, Harm::Goal(0))]);
    assert_eq!(decision.verdict, Verdict::RollBack);
    young.candidates[0].guardrails[0].harm = PLENTY;
    assert_eq!(
        decide(&young).unwrap().rolled_back,
        [(0, Harm::Guardrail(0))]
    );
}

#[test]
fn a_metric_with_too_little_seen_neither_harms_nor_promotes() {
    for (of_goal, of_guardrail) in [(true, false), (false, true)] {
        let mut early = experiment(vec![candidate("b")]);
        let one = &mut early.candidates[0];
        if of_goal {
            one.goals[0].eligible = false;
            one.goals[0].harm = PLENTY;
        }
        if of_guardrail {
            one.guardrails[0].eligible = false;
            one.guardrails[0].harm = PLENTY;
        }
        assert_eq!(verdict(&early), Verdict::Running);
        early.elapsed = early.at_most;
        let why = if of_goal {
            Inconclusive::InsufficientData
        } else {
            Inconclusive::MaxDuration
        };
        assert_eq!(verdict(&early), Verdict::Inconclusive(why));
    }
}

#[test]
fn of_two_winners_the_larger_effect_is_promoted_and_then_the_first_name() {
    let mut both = experiment(vec![candidate("c"), candidate("b")]);
    assert_eq!(verdict(&both), Verdict::Promote(1));
    both.candidates[0].goals[0].effect = 0.2;
    assert_eq!(verdict(&both), Verdict::Promote(0));
}

#[test]
fn who_was_rolled_back_stays_out_while_the_other_goes_on() {
    let mut both = experiment(vec![candidate("b"), candidate("c")]);
    both.candidates[0].rolled_back = true;
    both.candidates[1].goals[0].benefit = 0.0;
    let decision = decide(&both).unwrap();
    assert_eq!(decision.verdict, Verdict::Running);
    assert_eq!(decision.rolled_back, [(0, Harm::Before)]);
}

#[test]
fn no_worse_has_to_be_shown_where_the_policy_wants_it() {
    let mut strict = experiment(vec![candidate("b")]);
    strict.guardrail_policy = GuardrailPolicy::NonInferior;
    assert_eq!(verdict(&strict), Verdict::Running);
    strict.candidates[0].guardrails[0].non_inferior = PLENTY;
    assert_eq!(verdict(&strict), Verdict::Promote(0));
}

#[test]
fn what_cannot_be_good_enough_ends_early_where_that_is_wanted() {
    let mut futile = experiment(vec![candidate("b")]);
    futile.candidates[0].goals[0].benefit = 0.0;
    futile.candidates[0].goals[0].futile = true;
    assert_eq!(
        verdict(&futile),
        Verdict::Inconclusive(Inconclusive::Futility)
    );
    futile.futility = false;
    assert_eq!(verdict(&futile), Verdict::Running);
}

#[test]
fn what_is_malformed_is_not_decided() {
    let whole = experiment(vec![candidate("b")]);
    let with = |change: fn(&mut Experiment)| {
        let mut changed = whole.clone();
        change(&mut changed);
        decide(&changed).unwrap_err()
    };
    assert_eq!(with(|one| one.candidates.clear()), Malformed::NoCandidate);
    assert_eq!(with(|one| one.goals.clear()), Malformed::NoGoal);
    assert_eq!(with(|one| one.guardrails.clear()), Malformed::Metrics);
    assert_eq!(
        with(|one| one.sample_ratio = f64::NAN),
        Malformed::NotANumber
    );
    assert_eq!(
        with(|one| one.candidates[0].goals[0].harm = f64::NAN),
        Malformed::NotANumber
    );
    assert_eq!(
        with(|one| one.candidates[0].guardrails[0].harm = f64::NAN),
        Malformed::NotANumber
    );
    assert_eq!(
        with(|one| one.alpha = Alpha::new(5e-324).unwrap()),
        Malformed::Alpha
    );
}

fn evidence() -> impl Strategy<Value = f64> {
    prop_oneof![-5.0_f64..12.0, Just(f64::NEG_INFINITY), Just(f64::INFINITY)]
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let goal = (
        -1.0_f64..1.0,
        evidence(),
        evidence(),
        any::<bool>(),
        any::<bool>(),
    );
    let guardrail = (evidence(), evidence(), any::<bool>());
    ("[a-d]", goal, guardrail, any::<bool>()).prop_map(|(name, goal, guardrail, rolled_back)| {
        Candidate {
            name,
            goals: vec![Goal {
                effect: goal.0,
                benefit: goal.1,
                harm: goal.2,
                eligible: goal.3,
                futile: goal.4,
            }],
            guardrails: vec![Guardrail {
                harm: guardrail.0,
                non_inferior: guardrail.1,
                eligible: guardrail.2,
            }],
            rolled_back,
        }
    })
}

proptest! {
    #[test]
    fn nobody_who_does_harm_or_was_out_is_promoted_and_time_ends_everything(
        candidates in prop::collection::vec(any_candidate(), 1..4), hours in 0_u32..200,
    ) {
        let mut any = experiment(candidates);
        any.elapsed = hours * HOUR;
        let decision = decide(&any).unwrap();
        let out = |index: usize| decision.rolled_back.iter().any(|(one, _)| *one == index);
        match decision.verdict {
            Verdict::Promote(index) => {
                let one = &any.candidates[index];
                prop_assert!(!out(index) && !one.rolled_back && any.elapsed >= any.at_least);
                prop_assert!(one.goals[0].eligible && one.guardrails[0].eligible);
                prop_assert!(one.goals[0].benefit > 3.0);
            }
            Verdict::RollBack => prop_assert_eq!(decision.rolled_back.len(), any.candidates.len()),
            Verdict::Running => prop_assert!(any.elapsed < any.at_most),
            Verdict::Inconclusive(Inconclusive::Futility) => prop_assert!(any.elapsed >= any.at_least),
            Verdict::Inconclusive(_) => prop_assert!(any.elapsed >= any.at_most),
            Verdict::SampleRatioMismatch => prop_assert!(false, "there is none"),
        }
        prop_assert!(any.candidates.iter().enumerate().all(|(index, one)| !one.rolled_back || out(index)));
    }
}

/// Control and two candidates that are no different, a goal and a guardrail, until the end or a verdict.
fn equal_candidates(random: &mut Random) -> Verdict {
    let mut arms = [[Moments::default(); 2]; 3];
    let mut harm = [[Latched::START; 2]; 2];
    let tau = Scale::new(0.1).unwrap();
    for hour in 1..=100 {
        for metric in arms.iter_mut().flatten() {
            for _ in 0..20 {
                *metric = metric
                    .merge(Moments::of([random.normal()]).unwrap())
                    .unwrap();
            }
        }
        let mut seen = experiment(vec![candidate("b"), candidate("c")]);
        seen.alpha = Alpha::new(0.1).unwrap();
        seen.elapsed = hour * HOUR;
        for (index, one) in seen.candidates.iter_mut().enumerate() {
            let test = |metric: usize| {
                let (a, b) = (
                    arms[0][metric].arm().unwrap(),
                    arms[index + 1][metric].arm().unwrap(),
                );
                let effect = difference_of_means(a, b, Factor::PLAIN).unwrap();
                (effect, Role::Superior.evidence(effect, tau).unwrap())
            };
            let [(effect, goal), (_, guardrail)] = [test(0), test(1)];
            let eligible = hour >= 10;
            if eligible {
                harm[index] = [
                    harm[index][0].look(goal.harm),
                    harm[index][1].look(guardrail.harm),
                ];
            }
            one.goals = vec![Goal {
                effect: effect.effect(),
                benefit: goal.benefit,
                harm: harm[index][0].most,
                eligible,
                futile: false,
            }];
            one.guardrails = vec![Guardrail {
                harm: harm[index][1].most,
                non_inferior: guardrail.benefit,
                eligible,
            }];
        }
        let decision = decide(&seen).unwrap();
        if !decision.rolled_back.is_empty() {
            return Verdict::RollBack;
        }
        if decision.verdict != Verdict::Running {
            return decision.verdict;
        }
    }
    Verdict::Running
}

#[test]
fn of_equal_candidates_one_is_promoted_or_rolled_back_no_more_often_than_alpha() {
    let runs = 300_u32;
    let verdicts: Vec<_> = (0..runs)
        .map(|seed| equal_candidates(&mut Random::new(u64::from(seed))))
        .collect();
    let count = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|one| wanted(one)).count();
    let promoted = count(|one| matches!(one, Verdict::Promote(_)));
    let rolled_back = count(|one| matches!(one, Verdict::RollBack));
    let ended = count(|one| matches!(one, Verdict::Inconclusive(Inconclusive::MaxDuration)));
    // Half of alpha each: 15 of 300, and three standard errors.
    assert!(
        promoted <= 26 && rolled_back <= 26,
        "{promoted} {rolled_back}"
    );
    assert_eq!(promoted + rolled_back + ended, verdicts.len());
}
