//! What an `ABExperiment` asks for, as plain types.
//!
//! Owns the reading of the resource, and what is wrong with it beyond what its schema and CEL rules refuse.
//! They are checked again here, because the definition in the cluster may be older than this operator.
//! Invariants: a design that was read can be dealt, analysed and decided; the variants are in the order in
//! which routers count them, control first and the others by name; every refusal says what to do.

mod metric;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::ABExperiment;
use crds::v1alpha1::ab_experiment::{
    DecisionPolicy, GoalPolicy, Method, Mode, OnMissingKey, Override, Role,
};
use crds::v1alpha1::reward_model::traffic::Key;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use stats::Alpha;

use crate::gates::figures;
use crate::identity::canonical;

pub use metric::{Axis, Metric, Size, Source};

/// The part of the slots that a variant has to have, in hundredths of a percent: at 1 % coverage it has one
/// slot then.
const LEAST: u64 = 100;
const MIN_DURATION: Duration = Duration::from_hours(1);
/// Humans have a daily cycle.
const MIN_DURATION_HUMAN: Duration = Duration::from_hours(24);
const MAX_DURATION: Duration = Duration::from_hours(14 * 24);

/// One arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Its RewardModel.
    pub model: String,
    /// Its weight, beside those of the others.
    pub weight: u32,
}

/// An experiment as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The RewardModel whose users are dealt.
    pub endpoint: String,
    /// Who scores.
    pub mode: Mode,
    /// The arms: control, then the others by name.
    pub variants: Vec<Variant>,
    /// Where the user's id is.
    pub key: Key,
    /// What becomes of a request without.
    pub on_missing_key: OnMissingKey,
    /// What ids are hashed under.
    pub salt: String,
    /// The part of each variant's slots that is used, in hundredths of a percent.
    pub coverage: u16,
    /// Requests that a variant serves in any case.
    pub overrides: Vec<Override>,
    /// What is compared, in the order of the resource.
    pub metrics: Vec<Metric>,
    /// When the goals are met.
    pub goal_policy: GoalPolicy,
    /// The error level of promotion and rollback together.
    pub alpha: Alpha,
    /// That of the test on the numbers of users.
    pub srm_alpha: Alpha,
    /// Which tests are used.
    pub method: Method,
    /// Whether it ends where no candidate can be good enough.
    pub futility: bool,
    /// How often it is looked at.
    pub interval: Duration,
    /// When it may begin.
    pub start_at: Option<Timestamp>,
    /// Nothing is promoted before.
    pub at_least: Duration,
    /// Nothing runs on after.
    pub at_most: Duration,
    /// What follows from the verdict.
    pub policy: DecisionPolicy,
    /// Whether everybody is control's.
    pub suspend: bool,
}

impl Design {
    /// What `experiment` asks for; `endpoint_key` is the user key of its endpoint, which it has where it names
    /// none.
    ///
    /// # Errors
    /// The first thing that is wrong, and what to do.
    pub fn read(experiment: &ABExperiment, endpoint_key: Option<&Key>) -> Result<Self, String> {
        let spec = &experiment.spec;
        let assignment = spec.assignment.clone().unwrap_or_default();
        let variants = variants(experiment)?;
        let key = assignment.key.as_ref().or(endpoint_key);
        let key = key.ok_or_else(|| {
            format!(
                "assignment.key is missing, and so is traffic.key of {}: say where a request has its user's id, such as {{header: x-user-id}}",
                spec.endpoint.name
            )
        })?;
        let uid = experiment.uid().unwrap_or_default();
        let salt = assignment.salt.unwrap_or_else(|| uid.clone());
        if salt.is_empty() || salt.contains('\0') {
            return Err(
                "assignment.salt is empty or has a zero byte: write one without".to_owned(),
            );
        }
        let coverage = u16::try_from(assignment.coverage_percent)
            .ok()
            .filter(|percent| *percent <= 100);
        let coverage = coverage.ok_or("assignment.coveragePercent must be 0 to 100")?;
        let overrides = assignment.overrides.unwrap_or_default();
        for rule in &overrides {
            if !variants.iter().any(|variant| variant.name == rule.variant) {
                return Err(format!(
                    "assignment.overrides names the variant {}, which is none of variants[].name",
                    rule.variant
                ));
            }
        }
        let metrics = metric::all(spec)?;
        let has_smallest = |metric: &Metric| metric.role != Role::Goal || metric.smallest.is_some();
        if spec.analysis.futility && !metrics.iter().all(has_smallest) {
            return Err("analysis.futility ends where no variant can be better by minimumEffect: give every Goal one, or leave futility out".to_owned());
        }
        let (at_least, at_most) = durations(spec, &metrics)?;
        let level = |field: &str, text: &crds::value::Decimal| {
            let alpha = figures::number(text).and_then(Alpha::new);
            let alpha = alpha.filter(|alpha| alpha.get() <= 0.5);
            alpha.ok_or_else(|| {
                format!("analysis.{field} is {text}: write a number above 0 and at most 0.5")
            })
        };
        let start_at = spec.schedule.as_ref().and_then(|of| of.start_at.as_ref());
        let interval = spec.analysis.interval.to_std();
        Ok(Self {
            name: experiment.name_any(),
            uid,
            endpoint: spec.endpoint.name.clone(),
            mode: spec.mode,
            variants,
            key: key.clone(),
            on_missing_key: assignment.on_missing_key,
            salt,
            coverage: coverage * 100,
            overrides,
            metrics,
            goal_policy: spec.goal_policy,
            alpha: level("alpha", &spec.analysis.alpha)?,
            srm_alpha: level("srmAlpha", &spec.analysis.srm_alpha)?,
            method: spec.analysis.method,
            futility: spec.analysis.futility,
            interval: interval
                .map_err(|error| format!("analysis.interval: {error}"))?
                .max(Duration::from_secs(1)),
            start_at: start_at.map(|time| time.0),
            at_least,
            at_most,
            policy: spec.decision.clone(),
            suspend: spec.suspend,
        })
    }

    /// The arms that are compared with control.
    pub fn candidates(&self) -> &[Variant] {
        self.variants.get(1..).unwrap_or_default()
    }

    /// The control.
    pub fn control(&self) -> &str {
        self.variants.first().map_or("", |first| &first.name)
    }

    /// A hash of everything but variants and their revisions that opens an epoch when it changes. It is of
    /// what was read: another spelling of the same number is no change.
    pub fn fingerprint(&self) -> String {
        canonical::short_hash(&canonical::to_value(&json!({
            "mode": self.mode,
            "control": self.control(),
            "key": self.key,
            "salt": self.salt,
            "metrics": self.metrics.iter().map(Metric::canonical).collect::<Vec<_>>(),
            "goalPolicy": self.goal_policy,
            "alpha": self.alpha.get(),
            "srmAlpha": self.srm_alpha.get(),
            "method": self.method,
        })))
    }
}

fn variants(experiment: &ABExperiment) -> Result<Vec<Variant>, String> {
    let spec = &experiment.spec;
    let mut variants = Vec::with_capacity(spec.variants.len());
    for variant in &spec.variants {
        let weight = variant.weight.unwrap_or(1);
        let weight = u32::try_from(weight).ok().filter(|weight| *weight > 0);
        let weight = weight.ok_or_else(|| {
            format!(
                "variants[{}].weight must be above 0: leave the variant out where it is to have no users",
                variant.name
            )
        })?;
        if variants
            .iter()
            .any(|one: &Variant| one.name == variant.name)
        {
            return Err(format!("variants has {} twice: rename one", variant.name));
        }
        variants.push(Variant {
            name: variant.name.clone(),
            model: variant.model_ref.name.clone(),
            weight,
        });
    }
    if !(2..=4).contains(&variants.len()) {
        return Err(format!(
            "variants has {}: write two to four, control among them",
            variants.len()
        ));
    }
    let endpoint = &spec.endpoint.name;
    let own = variants.iter().filter(|one| one.model == *endpoint);
    let own: Vec<&str> = own.map(|one| one.name.as_str()).collect();
    match own.as_slice() {
        [one] if *one == spec.control => {}
        [one] => {
            return Err(format!(
                "control is {}, and the endpoint's own variant is {one}: set control to {one}, or endpoint to control's RewardModel; else starting the experiment would move everybody who is not in it",
                spec.control
            ));
        }
        other => {
            return Err(format!(
                "{} of the variants have modelRef {endpoint}, the endpoint: exactly one has to, the control; for an A/A make a second RewardModel of the same model",
                other.len()
            ));
        }
    }
    let sum: u64 = variants.iter().map(|one| u64::from(one.weight)).sum();
    if let Some(few) = variants
        .iter()
        .find(|one| u64::from(one.weight) * 10_000 < LEAST * sum)
    {
        return Err(format!(
            "variants[{}] has less than 1 % of the weights: give it more, and keep users out of the experiment with assignment.coveragePercent",
            few.name
        ));
    }
    variants.sort_by(|one, other| {
        (one.name != spec.control, &one.name).cmp(&(other.name != spec.control, &other.name))
    });
    Ok(variants)
}

fn durations(
    spec: &crds::ABExperimentSpec,
    metrics: &[Metric],
) -> Result<(Duration, Duration), String> {
    let schedule = spec.schedule.clone().unwrap_or_default();
    let read = |field: &str, written: Option<&crds::value::Duration>| {
        let read = written.map(crds::value::Duration::to_std).transpose();
        read.map_err(|error| format!("schedule.{field}: {error}"))
    };
    let at_most = read("maxDuration", schedule.max_duration.as_ref())?.unwrap_or(MAX_DURATION);
    let human = metrics.iter().any(Metric::is_human_goal);
    let usual = if human {
        MIN_DURATION_HUMAN
    } else {
        MIN_DURATION
    };
    let at_least = read("minDuration", schedule.min_duration.as_ref())?;
    let at_least = at_least.unwrap_or_else(|| usual.min(at_most));
    if at_least > at_most {
        return Err("schedule.minDuration is longer than maxDuration: shorten the one or lengthen the other".to_owned());
    }
    Ok((at_least, at_most))
}
