//! Conditions of an experiment, merged with those that are there.
//!
//! Invariant: a transition time moves only when the status of its condition does; what an epoch before has
//! shown is not said of this one.

use crds::conditions::{
    AS_EXPECTED, AppliedReason, CompleteReason, ExperimentConditionType as Type,
    ExperimentReadyReason as Ready, NOT_YET_KNOWN, PausedReason, WARMING_VARIANTS,
};
use crds::v1alpha1::ab_experiment::Role;
use crds::v1alpha1::ab_experiment::status::Verdict;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::super::analysis::{Look, Row};
use super::super::machine::{Standing, Step, Waiting};
use super::super::seen::Seen;
use super::super::spec::Design;
use super::super::state::{ABORTED, Action, Conclusion};
use super::message;

/// A condition that is to be.
struct Claim {
    kind: Type,
    status: &'static str,
    reason: String,
    message: String,
}

fn claim(kind: Type, status: &'static str, reason: impl ToString, message: &str) -> Claim {
    Claim {
        kind,
        status,
        reason: reason.to_string(),
        message: message.to_owned(),
    }
}

pub(super) fn conditions(
    step: &Step,
    seen: &Seen<'_>,
    look: Option<&Look>,
    is_same_epoch: bool,
    before: &[Condition],
) -> Vec<Condition> {
    let text = message(step, seen);
    let mut claims = vec![ready(step, seen, &text)];
    match &step.standing {
        Standing::Pending(Waiting::Variants(what)) => {
            claims.push(claim(Type::Reconciling, "True", WARMING_VARIANTS, what));
        }
        Standing::AwaitingApproval => {
            claims.push(claim(
                Type::Paused,
                "True",
                PausedReason::AwaitingApproval,
                &text,
            ));
        }
        Standing::Paused | Standing::Suspended => {
            claims.push(claim(
                Type::Paused,
                "True",
                PausedReason::UserRequested,
                &text,
            ));
        }
        Standing::Stalled(reason, message) => {
            claims.push(claim(Type::Stalled, "True", reason, message));
        }
        Standing::Pending(_) | Standing::Running | Standing::Applying | Standing::Applied => {}
    }
    if let Some(conclusion) = &step.state.conclusion {
        claims.push(claim(
            Type::Complete,
            "True",
            complete(conclusion),
            &conclusion.message,
        ));
        let applied = if conclusion.applied_at.is_some() {
            "True"
        } else {
            "False"
        };
        claims.push(claim(
            Type::Applied,
            applied,
            applied_reason(conclusion),
            &conclusion.message,
        ));
    }
    let told = look.is_some() || !is_same_epoch;
    if told {
        claims.extend(informative(step, look));
    }
    let generation = seen.experiment.metadata.generation;
    let made = claims.into_iter().map(|claim| {
        let old = before.iter().find(|old| old.type_ == claim.kind.as_str());
        let unchanged = old.filter(|old| old.status == claim.status);
        Condition {
            type_: claim.kind.to_string(),
            status: claim.status.to_owned(),
            reason: claim.reason,
            message: claim.message,
            observed_generation: generation,
            last_transition_time: unchanged
                .map_or(Time(seen.now), |old| old.last_transition_time.clone()),
        }
    });
    // Between two looks nothing new is known: what the last one has shown stands.
    let last = before.iter().filter(|old| {
        let shown = [
            Type::SampleRatioOK,
            Type::GuardrailsOK,
            Type::SufficientData,
        ];
        !told && shown.iter().any(|kind| kind.as_str() == old.type_)
    });
    made.chain(last.cloned()).collect()
}

/// True while it runs, or a test of 14 days would keep a tool that waits for it waiting.
fn ready(step: &Step, seen: &Seen<'_>, text: &str) -> Claim {
    let gone = step
        .design
        .iter()
        .flat_map(|design| &design.variants)
        .find(|variant| {
            let is_out = step.state.out.contains_key(&variant.name);
            !is_out
                && !seen
                    .models
                    .get(&variant.model)
                    .is_some_and(|model| model.ready)
        });
    let (status, reason) = match (&step.standing, gone) {
        (Standing::Stalled(..), _) => ("False", Ready::Stalled),
        (Standing::Suspended, _) => ("False", Ready::Suspended),
        (Standing::Pending(Waiting::Start(_) | Waiting::Rollout), _) => {
            ("False", Ready::NotStarted)
        }
        (Standing::Pending(Waiting::Variants(_)), _) => ("False", Ready::VariantsNotReady),
        (Standing::AwaitingApproval | Standing::Applying | Standing::Applied, _) => {
            ("True", Ready::Concluded)
        }
        (Standing::Running | Standing::Paused, Some(variant)) => {
            let what = format!(
                "variant {} has no ready pod: control answers its users, and each answer counts as its error",
                variant.name
            );
            return claim(Type::Ready, "False", Ready::VariantsNotReady, &what);
        }
        (Standing::Running | Standing::Paused, None) => ("True", Ready::Running),
    };
    claim(Type::Ready, status, reason, text)
}

fn complete(conclusion: &Conclusion) -> CompleteReason {
    if conclusion.reason == ABORTED {
        return CompleteReason::Aborted;
    }
    match conclusion.verdict {
        Verdict::Promote => CompleteReason::Won,
        Verdict::RollBack => CompleteReason::Lost,
        Verdict::Inconclusive => CompleteReason::Inconclusive,
        Verdict::Invalid => CompleteReason::Invalid,
    }
}

fn applied_reason(conclusion: &Conclusion) -> AppliedReason {
    match (conclusion.action, conclusion.verdict) {
        (Action::Promote, _) => AppliedReason::Promoted,
        (Action::Report, _) => AppliedReason::Reported,
        (Action::ReturnToControl, Verdict::RollBack) => AppliedReason::RolledBack,
        (Action::ReturnToControl, Verdict::Promote | Verdict::Inconclusive | Verdict::Invalid) => {
            AppliedReason::KeptControl
        }
    }
}

/// What guards users: the guardrails, or the goals where there are none.
fn guarding<'l>(look: &'l Look, design: &'l Design) -> impl Iterator<Item = &'l Row> {
    let role = |row: &Row| design.metrics.get(row.metric).map(|metric| metric.role);
    let has_own = look
        .rows
        .iter()
        .any(|row| role(row) == Some(Role::Guardrail));
    let wanted = if has_own { Role::Guardrail } else { Role::Goal };
    look.rows
        .iter()
        .filter(move |row| role(row) == Some(wanted))
}

/// What the evidence says, apart from the verdict.
fn informative(step: &Step, look: Option<&Look>) -> Vec<Claim> {
    let unknown = |kind| claim(kind, "Unknown", NOT_YET_KNOWN, "nothing was counted yet");
    let (Some(look), Some(design)) = (look, step.design.as_ref()) else {
        return [
            Type::SampleRatioOK,
            Type::GuardrailsOK,
            Type::SufficientData,
        ]
        .map(unknown)
        .into();
    };
    let of_role = |role: Role| {
        let rows = look.rows.iter();
        rows.filter(move |row| {
            design.metrics.get(row.metric).map(|metric| metric.role) == Some(role)
        })
    };
    let srm = if design.srm_alpha.rejects(look.sample_ratio.log_e) {
        claim(
            Type::SampleRatioOK,
            "False",
            "SampleRatioMismatch",
            "users do not fall to variants as their weights say",
        )
    } else {
        claim(
            Type::SampleRatioOK,
            "True",
            AS_EXPECTED,
            "users fall to variants as their weights say",
        )
    };
    let harmed: Vec<String> = step
        .state
        .out
        .iter()
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    let few = guarding(look, design).find_map(|row| {
        let name = &design.metrics.get(row.metric)?.name;
        let words = row.finding.few()?;
        Some(format!("{name} of {}: {words}", row.candidate))
    });
    let guardrails = match (harmed.as_slice(), few) {
        ([], None) => claim(Type::GuardrailsOK, "True", AS_EXPECTED, "no variant is out"),
        ([], Some(few)) => claim(Type::GuardrailsOK, "Unknown", NOT_YET_KNOWN, &few),
        (harmed, _) => claim(Type::GuardrailsOK, "False", "Harm", &harmed.join("; ")),
    };
    let missing = of_role(Role::Goal).find_map(|row| {
        let name = &design.metrics.get(row.metric)?.name;
        Some(format!(
            "{name} of {}: {}",
            row.candidate,
            row.finding.collecting.as_ref()?
        ))
    });
    let data = match missing {
        Some(missing) => claim(Type::SufficientData, "False", "Collecting", &missing),
        None => claim(
            Type::SufficientData,
            "True",
            AS_EXPECTED,
            "every goal has enough users",
        ),
    };
    vec![srm, guardrails, data]
}
