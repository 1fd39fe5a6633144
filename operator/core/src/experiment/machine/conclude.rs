//! The verdict of a look, and what is done about it.

use crds::v1alpha1::ab_experiment::status::Verdict;
use crds::v1alpha1::ab_experiment::{OnInconclusive, OnLoss, OnWin, Role};
use k8s_openapi::jiff::Timestamp;
use stats::Inconclusive;

use super::super::analysis::{self, Look};
use super::super::spec::Design;
use super::{Action, Conclusion, Notice, Step};
use crate::gates::figures::plain;

/// What a look decides, if anything.
pub(super) fn weigh(step: &mut Step, look: &Look, design: &Design, now: Timestamp) {
    let Ok(decision) = &look.decision else {
        return;
    };
    if !analysis::is_final(&decision.verdict) {
        return;
    }
    let name = |index: usize| design.candidates().get(index).map(|one| one.name.clone());
    let (verdict, variant, reason, message, action) = match decision.verdict {
        stats::Verdict::Running => return,
        stats::Verdict::SampleRatioMismatch => (
            Verdict::Invalid,
            None,
            "SampleRatioMismatch",
            format!(
                "users do not fall to variants as their weights say ({:?} instead of parts of {:?}): something loses users of an arm, and no number of this epoch can be trusted; find it before the next one",
                look.sample_ratio.observed, look.sample_ratio.expected
            ),
            Action::ReturnToControl,
        ),
        stats::Verdict::Promote(index) => {
            let variant = name(index);
            let message = won(look, variant.as_deref(), design);
            (Verdict::Promote, variant, "Won", message, win(design))
        }
        stats::Verdict::RollBack => (
            Verdict::RollBack,
            None,
            "Lost",
            lost(step, look),
            match design.policy.on_loss {
                OnLoss::RollBack => Action::ReturnToControl,
                OnLoss::Report => Action::Report,
            },
        ),
        stats::Verdict::Inconclusive(why) => inconclusive(why, look, design),
    };
    conclude(
        step,
        design,
        now,
        (verdict, variant, reason, message, action),
    );
}

type Outcome = (Verdict, Option<String>, &'static str, String, Action);

fn win(design: &Design) -> Action {
    match design.policy.on_win {
        OnWin::Promote => Action::Promote,
        OnWin::Report => Action::Report,
    }
}

fn inconclusive(why: Inconclusive, look: &Look, design: &Design) -> Outcome {
    let (reason, words) = match why {
        Inconclusive::Futility => ("Futility", "no variant can be better by minimumEffect"),
        Inconclusive::MaxDuration => ("MaxDuration", "maxDuration is over without a winner"),
        Inconclusive::InsufficientData => (
            "InsufficientData",
            "maxDuration is over and a goal never had enough users",
        ),
    };
    let (variant, action) = match (design.policy.on_inconclusive, &look.no_worse) {
        (OnInconclusive::PromoteIfNonInferior, Some(variant)) => {
            (Some(variant.clone()), Action::Promote)
        }
        (OnInconclusive::PromoteIfNonInferior, None) | (OnInconclusive::KeepControl, _) => {
            (None, Action::ReturnToControl)
        }
        (OnInconclusive::Report, _) => (None, Action::Report),
    };
    let message = match &variant {
        Some(variant) => format!("{words}; {variant} is shown to be no worse on every metric"),
        None => words.to_owned(),
    };
    (Verdict::Inconclusive, variant, reason, message, action)
}

/// What it is better on: the first goal that shows it.
fn won(look: &Look, variant: Option<&str>, design: &Design) -> String {
    let name = variant.unwrap_or_default();
    let of = look.rows.iter().filter(|row| row.candidate == name);
    let goals = of.filter_map(|row| {
        let metric = design.metrics.get(row.metric)?;
        let ends = row.finding.effect.zip(row.finding.lower)?;
        (metric.role == Role::Goal).then_some((metric, ends))
    });
    let shown: Vec<_> = goals.collect();
    let better = shown.iter().find(|(_, (_, lower))| *lower > 0.0);
    match better.or_else(|| shown.first()) {
        Some((metric, (effect, lower))) => format!(
            "{name} is better: by {} on {}, and surely by {}",
            plain(metric.effect_as_read(*effect)),
            metric.name,
            plain(metric.effect_as_read(*lower))
        ),
        None => format!("{name} is better"),
    }
}

fn lost(step: &Step, look: &Look) -> String {
    let known = step
        .state
        .out
        .iter()
        .map(|(name, why)| format!("{name}: {why}"));
    let now = look
        .out
        .iter()
        .filter(|out| !step.state.out.contains_key(&out.candidate));
    let now = now.map(|out| format!("{}: {}", out.candidate, out.why));
    format!(
        "every variant is out ({})",
        known.chain(now).collect::<Vec<_>>().join("; ")
    )
}

/// Writes the verdict down.
pub(super) fn conclude(
    step: &mut Step,
    design: &Design,
    now: Timestamp,
    (verdict, variant, reason, message, action): Outcome,
) {
    let waits = action == Action::Promote && design.policy.require_approval;
    step.notices.push(Notice {
        reason: "Decided",
        message: message.clone(),
    });
    step.state.paused = false;
    step.state.conclusion = Some(Conclusion {
        verdict,
        variant,
        reason: reason.to_owned(),
        message,
        decided_at: now,
        epoch: step.state.epoch.as_ref().map_or(0, |epoch| epoch.id),
        action,
        approved_at: (!waits).then_some(now),
        applied_at: None,
    });
}
