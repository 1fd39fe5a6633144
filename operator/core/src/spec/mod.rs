//! What a spec means: its numbers, where its model comes from, and what is wrong with it beyond
//! what its schema and CEL rules refuse. They are checked again here, because the definition in the
//! cluster may be older than this operator.
//!
//! Invariant: a spec that passes can be built from; what would be without effect is refused, never
//! ignored; every sentence says what to do.

mod golden;
mod source;
mod step;
mod support;

use std::time::Duration;

use crds::RewardModelSpec;
use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::{OnUnschedulable, Strategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::Failure;
use crate::capacity::Limits;
use crate::gates;
use crate::observed::Claim;

pub use source::{Credentials, Mount, Remote, Source, claim, writes_claim};
pub(crate) use source::{is_about_a_claim, placed};
pub use step::Step;
pub(crate) use support::check as check_support;

/// What happens where no node has room for a new revision's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// What.
    pub then: OnUnschedulable,
    /// How long the first of them has to wait before.
    pub after: Duration,
}

/// The numbers of a spec, with the defaults where one cannot be read: what serves already is kept
/// at its size whatever else is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Pods that are wanted.
    pub replicas: i32,
    /// Pods that have to serve for the model to count as available.
    pub min_available: i32,
    /// How many pods there may be.
    pub limits: Limits,
    /// What happens where no node has room.
    pub no_room: NoRoom,
    /// How long a rollout may make no progress.
    pub progress_deadline: Duration,
    /// How long the revision before the stable one is kept warm.
    pub warm_for: Duration,
    /// Superseded revisions that are kept.
    pub revision_history_limit: usize,
}

impl Scale {
    /// The numbers of `spec`; `last` is the size that is meant where it has none.
    pub fn of(spec: &RewardModelSpec, last: i32) -> Self {
        let rollout = spec.rollout.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(last).max(0);
        let deadline = rollout.progress_deadline.to_std();
        let capacity = &rollout.capacity;
        let window = &rollout.rollback_window;
        let min_available = scaled(&capacity.min_available, replicas)
            .unwrap_or(replicas)
            .min(replicas);
        Self {
            replicas,
            min_available,
            limits: Limits {
                replicas,
                surge: scaled(&capacity.max_surge, replicas).unwrap_or(0),
                min_available,
                warm: scaled(&window.warm_replicas, replicas).unwrap_or(0),
            },
            no_room: NoRoom {
                then: capacity.on_unschedulable,
                after: capacity
                    .unschedulable_after
                    .to_std()
                    .unwrap_or(Duration::from_mins(5)),
            },
            warm_for: window.duration.to_std().unwrap_or_default(),
            progress_deadline: deadline
                .unwrap_or(Duration::from_mins(15))
                .max(Duration::from_secs(1)),
            revision_history_limit: usize::try_from(rollout.revision_history_limit).unwrap_or(0),
        }
    }
}

/// Checks `spec` and the claim that it names; answers where its model comes from.
///
/// # Errors
/// The first thing that is wrong, as the condition `Stalled` says it.
pub fn check(spec: &RewardModelSpec, claim: Claim) -> Result<Source, Failure> {
    let invalid = |message: String| Failure::new(StalledReason::InvalidSpec, message);
    let source = source::read(spec).map_err(invalid)?;
    let rollout = spec.rollout.clone().unwrap_or_default();
    if spec.replicas.is_some_and(|replicas| replicas < 0) {
        return Err(invalid("replicas must not be negative".to_owned()));
    }
    scaled(&rollout.capacity.min_available, 1)
        .map_err(|error| invalid(format!("rollout.capacity.minAvailable: {error}")))?;
    scaled(&rollout.capacity.max_surge, 1)
        .map_err(|error| invalid(format!("rollout.capacity.maxSurge: {error}")))?;
    scaled(&rollout.rollback_window.warm_replicas, 1)
        .map_err(|error| invalid(format!("rollout.rollbackWindow.warmReplicas: {error}")))?;
    for (field, duration) in [
        ("progressDeadline", &rollout.progress_deadline),
        ("rollbackWindow.duration", &rollout.rollback_window.duration),
        (
            "capacity.unschedulableAfter",
            &rollout.capacity.unschedulable_after,
        ),
    ] {
        duration
            .to_std()
            .map_err(|error| invalid(format!("rollout.{field}: {error}")))?;
    }
    for (index, step) in rollout.steps.iter().flatten().enumerate() {
        Step::read(step).map_err(|error| invalid(format!("rollout.steps[{index}]: {error}")))?;
    }
    if rollout.strategy == Strategy::Recreate && rollout.require_approval {
        return Err(invalid(
            "rollout.strategy Recreate waits for no approval: remove requireApproval, or use Canary".to_owned(),
        ));
    }
    gates::read(&rollout).map_err(invalid)?;
    golden::check(&rollout).map_err(invalid)?;
    let cors = spec
        .traffic
        .iter()
        .filter_map(|traffic| traffic.cors.as_ref());
    for origin in cors.flat_map(|cors| &cors.allow_origins) {
        check_origin(origin).map_err(invalid)?;
    }
    let gateways = spec
        .traffic
        .iter()
        .filter_map(|traffic| traffic.gateway.as_ref());
    for (index, parent) in gateways
        .flat_map(|gateway| &gateway.parent_refs)
        .enumerate()
    {
        if !parent
            .0
            .get("name")
            .is_some_and(serde_json::Value::is_string)
        {
            return Err(invalid(format!(
                "traffic.gateway.parentRefs[{index}] has no name: name the Gateway, such as {{name: public, namespace: gateways}}"
            )));
        }
    }
    source::check_claim(spec, claim, rollout.strategy)?;
    Ok(source)
}

/// Where the model of a spec comes from.
///
/// # Errors
/// A sentence that says what to do.
pub fn source(spec: &RewardModelSpec) -> Result<Source, String> {
    source::read(spec)
}

/// The steps of a spec; those that cannot be read are refused by [`check`].
pub fn steps(spec: &RewardModelSpec) -> Vec<Step> {
    let written = spec.rollout.iter().flat_map(|rollout| &rollout.steps);
    written
        .flatten()
        .filter_map(|step| Step::read(step).ok())
        .collect()
}

/// A router does not start with an origin that no browser sends.
fn check_origin(origin: &str) -> Result<(), String> {
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let is_one = host.is_some_and(|host| {
        !host.is_empty()
            && !host.contains(['/', '?', '#', '@'])
            && !host.contains(char::is_whitespace)
    });
    if origin == "*" || is_one {
        return Ok(());
    }
    Err(format!(
        "traffic.cors.allowOrigins: {origin:?} is no origin: write scheme and host alone, such as \"https://lab.example\", or \"*\""
    ))
}

/// A number or a percentage of `whole`, rounded up.
fn scaled(value: &IntOrString, whole: i32) -> Result<i32, String> {
    match value {
        IntOrString::Int(number) if *number >= 0 => Ok(*number),
        IntOrString::Int(number) => Err(format!("{number} is negative")),
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse::<u32>().ok())
                .filter(|percent| *percent <= 100)
                .ok_or_else(|| {
                    format!("{text:?} is neither a number nor a percentage such as \"50%\"")
                })?;
            let scaled = (u64::from(percent) * u64::from(whole.unsigned_abs())).div_ceil(100);
            i32::try_from(scaled).map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const PRESENT: Claim = Claim::Present {
        lost: false,
        one_pod_only: false,
    };

    fn spec(source: serde_json::Value, rollout: serde_json::Value) -> RewardModelSpec {
        serde_json::from_value(
            json!({"model": {"source": source}, "rollout": rollout, "replicas": 3}),
        )
        .unwrap()
    }

    #[rstest]
    #[case::no_source(json!({}), json!({}), PRESENT, "names no source")]
    #[case::two_sources(json!({"pvc": {"claimName": "a"}, "objectStore": {"url": "s3://b"}}), json!({}), PRESENT, "more than one source")]
    #[case::remote(json!({"objectStore": {"url": "s3://b"}}), json!({}), PRESENT, "model.cache.claimName")]
    #[case::outside(json!({"pvc": {"claimName": "a", "path": "../b"}}), json!({}), PRESENT, "leaves the volume")]
    #[case::absolute(json!({"pvc": {"claimName": "a", "path": "/b"}}), json!({}), PRESENT, "leaves the volume")]
    #[case::deadline(json!({"pvc": {"claimName": "a"}}), json!({"progressDeadline": "soon"}), PRESENT, "rollout.progressDeadline")]
    #[case::available(json!({"pvc": {"claimName": "a"}}), json!({"capacity": {"minAvailable": "half"}}), PRESENT, "minAvailable")]
    #[case::percent(json!({"pvc": {"claimName": "a"}}), json!({"capacity": {"minAvailable": "150%"}}), PRESENT, "minAvailable")]
    #[case::approval(json!({"pvc": {"claimName": "a"}}), json!({"strategy": "Recreate", "requireApproval": true}), PRESENT, "remove requireApproval")]
    #[case::missing(json!({"pvc": {"claimName": "a"}}), json!({}), Claim::Missing, "create it")]
    #[case::lost(json!({"pvc": {"claimName": "a"}}), json!({}), Claim::Present { lost: true, one_pod_only: false }, "restore the volume")]
    #[case::one_pod(json!({"pvc": {"claimName": "a"}}), json!({}), Claim::Present { lost: false, one_pod_only: true }, "Recreate")]
    fn a_bad_spec_says_what_to_do(
        #[case] source: serde_json::Value,
        #[case] rollout: serde_json::Value,
        #[case] claim: Claim,
        #[case] expected: &str,
    ) {
        let failure = check(&spec(source, rollout), claim).unwrap_err();
        assert!(failure.message.contains(expected), "{}", failure.message);
    }

    #[rstest]
    #[case("https://lab.example", true)]
    #[case("http://localhost:3000", true)]
    #[case("*", true)]
    #[case("https://lab.example/", false)]
    #[case("https://lab.example/app", false)]
    #[case("lab.example", false)]
    #[case("", false)]
    fn an_origin_is_what_a_browser_sends(#[case] origin: &str, #[case] good: bool) {
        let mut all = spec(json!({"pvc": {"claimName": "a"}}), json!({}));
        let traffic = json!({"cors": {"allowOrigins": [origin]}});
        all.traffic = Some(serde_json::from_value(traffic).unwrap());
        assert_eq!(check(&all, PRESENT).is_ok(), good);
    }

    #[test]
    fn percentages_are_rounded_up() {
        let good = spec(json!({"pvc": {"claimName": "a"}}), json!({}));
        assert_eq!(Scale::of(&good, 1).min_available, 2);
    }

    #[test]
    fn a_claim_for_one_pod_goes_with_recreate() {
        let recreate = spec(
            json!({"pvc": {"claimName": "a"}}),
            json!({"strategy": "Recreate"}),
        );
        let claim = Claim::Present {
            lost: false,
            one_pod_only: true,
        };
        assert!(check(&recreate, claim).is_ok());
    }
}
