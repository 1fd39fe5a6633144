//! What is said of an experiment: phase, message, conditions, results, columns.
//!
//! Invariants: rendering the same twice gives the same status, times included; evidence is written as a
//! logarithm, so that it never overflows; what a look does not know stays as it was said last.

mod conditions;

use crds::ABExperimentStatus;
use crds::v1alpha1::ab_experiment::Role;
use crds::v1alpha1::ab_experiment::status::{
    LeaderStatus, LogEvidence, Phase, ResultStatus, SampleRatioStatus, VariantStatus,
};
use crds::value::Decimal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::analysis::{Look, Row};
use super::machine::{Standing, Step, Waiting};
use super::seen::Seen;
use super::spec::{Axis, Design};
use super::totals::Totals;
use crate::gates::figures::{plain, shown};
use crate::rollout::commands;
use conditions::conditions;
use kube::ResourceExt;

/// The status after a step. `totals` are those of the look.
pub fn render(step: &Step, seen: &Seen<'_>, totals: Option<&Totals>) -> ABExperimentStatus {
    let before = seen.experiment.status.clone().unwrap_or_default();
    let generation = seen.experiment.metadata.generation;
    // A state of another version is held: nothing of it is written over but the conditions, which are
    // said of the newest spec.
    let is_held = matches!(
        &step.standing,
        Standing::Stalled(crds::conditions::ExperimentStalledReason::UnknownState, _)
    );
    if is_held {
        return ABExperimentStatus {
            observed_generation: generation,
            conditions: conditions(step, seen, None, true, &before.conditions),
            ..before
        };
    }
    let message = message(step, seen);
    let state = &step.state;
    let same = before.epoch.as_ref().map(|epoch| epoch.id)
        == state
            .epoch
            .as_ref()
            .and_then(|epoch| i64::try_from(epoch.id).ok());
    let look = seen.look.filter(|_| same);
    let totals = totals.filter(|_| same);
    // Of another epoch nothing is known yet.
    let kept = if same {
        before.clone()
    } else {
        ABExperimentStatus::default()
    };
    // The first status says of each that nothing is known.
    let is_told = before.phase.is_some();
    let design = step.design.as_ref();
    let decided = state.conclusion.is_some() && before.decision.is_some();
    let ends = state.started_at.zip(design).and_then(|(start, design)| {
        let length = SignedDuration::try_from(design.at_most).ok()?;
        start.checked_add(length).ok()
    });
    ABExperimentStatus {
        observed_generation: generation,
        phase: Some(phase(step).into()),
        message: Some(message),
        started_at: state.started_at.map(Time),
        ends_at: ends.map(Time),
        salt: design.map(|design| design.salt.clone()).or(before.salt),
        last_command: step.acknowledged.clone().or(before.last_command),
        epoch: state.epoch_status(),
        paused: state.paused.then_some(true),
        variants: design
            .map(|design| variants(step, seen, design, totals, &kept))
            .or(before.variants),
        users: totals.map(|totals| count(totals.users())).or(kept.users),
        left_out: totals
            .map(|totals| totals.left_out.clone())
            .or(kept.left_out),
        // What the verdict rests on stays as it was when it was given.
        sample_ratio: match look.zip(design) {
            Some((look, design)) if !decided => Some(sample_ratio(look, design)),
            Some(_) | None => kept.sample_ratio,
        },
        results: match look.zip(design) {
            Some((look, design)) if !decided => Some(results(look, design, seen.now)),
            Some(_) | None => kept.results,
        },
        leader: match look.zip(design) {
            Some((look, design)) if !decided => leader(look, design),
            Some(_) | None => kept.leader,
        },
        decision: state.decision_status(),
        conditions: conditions(step, seen, look, same && is_told, &before.conditions),
    }
}

/// One word for the whole.
pub const fn phase(step: &Step) -> Phase {
    match &step.standing {
        Standing::Pending(_) | Standing::Suspended => Phase::Pending,
        Standing::Running => Phase::Running,
        Standing::Paused => Phase::Paused,
        Standing::AwaitingApproval | Standing::Applying => Phase::Decided,
        Standing::Applied => Phase::Applied,
        Standing::Stalled(..) => Phase::Stalled,
    }
}

fn message(step: &Step, seen: &Seen<'_>) -> String {
    let say = |command: &str| {
        let namespace = seen.experiment.namespace().unwrap_or_default();
        commands::line("abx", &namespace, &seen.experiment.name_any(), command)
    };
    let verdict = || {
        let conclusion = step.state.conclusion.as_ref();
        conclusion.map_or("", |conclusion| &conclusion.message)
    };
    let decided = step
        .state
        .conclusion
        .as_ref()
        .and_then(|one| one.variant.as_deref());
    match &step.standing {
        Standing::Pending(Waiting::Start(start)) => format!("it begins at {start}"),
        Standing::Pending(Waiting::Variants(what)) => what.clone(),
        Standing::Pending(Waiting::Rollout) => {
            "it waits for the endpoint's rollout to end".to_owned()
        }
        Standing::Running => match step.state.out.iter().next() {
            Some((name, why)) => format!("users are dealt and counted; {name} is out: {why}"),
            None => "users are dealt and counted".to_owned(),
        },
        Standing::Paused => {
            format!(
                "users stay in their arms, and nothing is decided until the command resume: {}",
                say("resume")
            )
        }
        Standing::Suspended => "spec.suspend: everybody is control's until it is false".to_owned(),
        Standing::AwaitingApproval => format!(
            "{}; say approve to roll it out, or abort: {}",
            verdict(),
            say(&format!("approve/{}", decided.unwrap_or_default()))
        ),
        Standing::Applying | Standing::Applied => verdict().to_owned(),
        Standing::Stalled(_, message) => message.clone(),
    }
}

fn variants(
    step: &Step,
    seen: &Seen<'_>,
    design: &Design,
    totals: Option<&Totals>,
    kept: &ABExperimentStatus,
) -> Vec<VariantStatus> {
    let epoch = step.state.epoch.as_ref();
    let each = design.variants.iter().enumerate();
    each.map(|(place, variant)| {
        let model = seen.models.get(&variant.model);
        let revision = match epoch {
            Some(epoch) => epoch.revisions.get(&variant.name).cloned(),
            None => model.and_then(|model| model.revision.clone()),
        };
        let before = kept
            .variants
            .iter()
            .flatten()
            .find(|one| one.name == variant.name);
        let counted = totals.map(|totals| totals.arm(place));
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more than 53 bits"
        )]
        let rate = counted
            .filter(|of| of.requests > 0)
            .and_then(|of| shown(of.errors as f64 / of.requests as f64));
        VariantStatus {
            name: variant.name.clone(),
            model: variant.model.clone(),
            revision,
            ready: model.is_some_and(|model| model.ready),
            weight: epoch.map_or(0, |epoch| i32::from(epoch.slots.owned(&variant.name))),
            users: counted.map(|of| count(of.users)).or_else(|| before?.users),
            requests: counted
                .map(|of| count(of.requests))
                .or_else(|| before?.requests),
            error_rate: rate.or_else(|| before?.error_rate.clone()),
            rolled_back: step.state.out.get(&variant.name).cloned(),
        }
    })
    .collect()
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A logarithm as it is shown: evidence that is impossible is a very small number.
fn log(ln_e: f64) -> Option<Decimal> {
    shown(ln_e.clamp(-1e6, 1e6))
}

fn sample_ratio(look: &Look, design: &Design) -> SampleRatioStatus {
    let ratio = &look.sample_ratio;
    let is_mismatch = design.srm_alpha.rejects(ratio.log_e);
    SampleRatioStatus {
        expected: ratio
            .expected
            .iter()
            .filter_map(|part| shown(*part))
            .collect(),
        observed: ratio.observed.iter().map(|users| count(*users)).collect(),
        log_evidence: log(ratio.log_e),
        p_value: shown(stats::p_value(ratio.log_e)),
        verdict: if is_mismatch { "Mismatch" } else { "OK" }.to_owned(),
    }
}

fn results(look: &Look, design: &Design, now: Timestamp) -> Vec<ResultStatus> {
    let rows = look.rows.iter();
    rows.filter_map(|row| Some(result(row, design.metrics.get(row.metric)?, now)))
        .collect()
}

/// An end of an interval, as it is shown: two shares differ by 1 at most.
fn end_as_read(metric: &super::spec::Metric, end: f64) -> f64 {
    let end = metric.effect_as_read(end);
    if metric.is_rate() {
        end.clamp(-1.0, 1.0)
    } else {
        end
    }
}

fn result(row: &Row, metric: &super::spec::Metric, now: Timestamp) -> ResultStatus {
    let finding = &row.finding;
    let effect = finding.effect.map(|effect| metric.effect_as_read(effect));
    let relative = match metric.axis {
        Axis::Logarithm => effect,
        Axis::Plain => effect
            .zip(finding.control)
            .filter(|(_, control)| control.abs() > 0.0)
            .map(|(effect, control)| effect / control.abs()),
    };
    let end = |end: Option<f64>| end.and_then(|end| shown(end_as_read(metric, end)));
    let mean = |mean: Option<f64>| mean.and_then(|mean| shown(metric.mean_as_read(mean)));
    let eligible = finding.collecting.is_none();
    // From a handful of users no time can be told.
    let eta = row.eta.filter(|_| eligible).and_then(|left| {
        let left = SignedDuration::try_from(left).ok()?;
        now.checked_add(left).ok()
    });
    ResultStatus {
        metric: metric.name.clone(),
        variant: row.candidate.clone(),
        role: format!("{:?}", metric.role),
        method: finding.method.to_owned(),
        mean: mean(finding.mean),
        control_mean: mean(finding.control),
        min: metric.clip.as_ref().map(|(min, _)| min.clone()),
        max: metric.clip.as_ref().map(|(_, max)| max.clone()),
        count: Some(count(finding.count)),
        users: Some(count(finding.users)),
        effect: effect.and_then(shown),
        relative_effect: relative.and_then(shown),
        lower: end(finding.lower),
        upper: end(finding.upper),
        p_value: shown(stats::p_value(finding.benefit)),
        log_evidence: metric.is_counted().then(|| LogEvidence {
            benefit: log(finding.benefit),
            harm: log(row.harm),
        }),
        tau: finding.tau.and_then(|tau| shown(tau.get())),
        eligible,
        reason: finding.collecting.clone(),
        eta: eta.map(Time),
    }
}

/// The candidate that is ahead on the first goal; nobody is before enough users were seen.
fn leader(look: &Look, design: &Design) -> Option<LeaderStatus> {
    let goal = design
        .metrics
        .iter()
        .position(|metric| metric.role == Role::Goal)?;
    let metric = design.metrics.get(goal)?;
    let rows = look.rows.iter().filter(|row| row.metric == goal);
    let effect = |row: &Row| row.finding.effect;
    let enough = |row: &&Row| row.finding.collecting.is_none();
    let known = rows.filter(|row| effect(row).is_some()).filter(enough);
    let ahead = known.max_by(|one, other| {
        effect(one)
            .unwrap_or(f64::MIN)
            .total_cmp(&effect(other).unwrap_or(f64::MIN))
    })?;
    let value = metric.effect_as_read(effect(ahead)?);
    let is_ahead = value > 0.0;
    let end = |end: Option<f64>| {
        end.map_or_else(|| "?".to_owned(), |end| plain(end_as_read(metric, end)))
    };
    Some(LeaderStatus {
        variant: if is_ahead {
            ahead.candidate.clone()
        } else {
            design.control().to_owned()
        },
        effect: format!("{}{}", if is_ahead { "+" } else { "" }, plain(value)),
        interval: format!(
            "[{}, {}]",
            end(ahead.finding.lower),
            end(ahead.finding.upper)
        ),
    })
}
