//! What a spec means: its numbers, where its model is mounted from, and what is wrong with it beyond
//! what its schema and CEL rules refuse. They are checked again here, because the definition in the
//! cluster may be older than this operator.
//!
//! Invariant: a spec that passes can be built from; what this version does not do is refused, never
//! ignored; every sentence says what to do.

mod step;
mod unbuilt;

use std::time::Duration;

use crds::RewardModelSpec;
use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::rollout::Strategy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::Failure;
use crate::capacity::Limits;
use crate::observed::Claim;

pub use step::Step;

/// A folder of a volume that a model is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The claim that is mounted, read-only.
    pub claim: String,
    /// The model's folder in it; empty for its root.
    pub folder: String,
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
            warm_for: window.duration.to_std().unwrap_or_default(),
            progress_deadline: deadline
                .unwrap_or(Duration::from_mins(15))
                .max(Duration::from_secs(1)),
            revision_history_limit: usize::try_from(rollout.revision_history_limit).unwrap_or(0),
        }
    }
}

/// Checks `spec` and the claim that it names; answers where its model is mounted from.
///
/// # Errors
/// The first thing that is wrong, as the condition `Stalled` says it.
pub fn check(spec: &RewardModelSpec, claim: Claim) -> Result<Mount, Failure> {
    let invalid = |message: String| Failure::new(StalledReason::InvalidSpec, message);
    let mount = mount(spec).map_err(invalid)?;
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
    ] {
        duration
            .to_std()
            .map_err(|error| invalid(format!("rollout.{field}: {error}")))?;
    }
    for (index, step) in rollout.steps.iter().flatten().enumerate() {
        Step::read(step).map_err(|error| invalid(format!("rollout.steps[{index}]: {error}")))?;
    }
    unbuilt::check(spec).map_err(invalid)?;
    check_claim(&mount.claim, claim, rollout.strategy)?;
    Ok(mount)
}

/// The steps of a spec; those that cannot be read are refused by [`check`].
pub fn steps(spec: &RewardModelSpec) -> Vec<Step> {
    let written = spec.rollout.iter().flat_map(|rollout| &rollout.steps);
    written
        .flatten()
        .filter_map(|step| Step::read(step).ok())
        .collect()
}

fn mount(spec: &RewardModelSpec) -> Result<Mount, String> {
    let source = &spec.model.source;
    match (&source.pvc, &source.hugging_face, &source.object_store) {
        (Some(pvc), None, None) => {
            let path = pvc.path.as_deref().unwrap_or_default();
            if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(format!(
                    "model.source.pvc.path {path:?} leaves the volume: write it relative to the volume's root and without '..'"
                ));
            }
            if spec.model.require_digest == Some(true) && spec.model.digest.is_none() {
                return Err("model.requireDigest is true: set model.digest (`inference-server verify --model DIR` prints it)".to_owned());
            }
            Ok(Mount {
                claim: pvc.claim_name.clone(),
                folder: path.trim_matches('/').to_owned(),
            })
        }
        (None, Some(_), None) | (None, None, Some(_)) => Err(
            "this version of the operator serves models from a claim only: copy the model's files to a PersistentVolumeClaim and name it in model.source.pvc".to_owned(),
        ),
        (None, None, None) => Err("model.source names no source: set model.source.pvc".to_owned()),
        (Some(_), _, _) | (None, Some(_), Some(_)) => {
            Err("model.source names more than one source: keep one".to_owned())
        }
    }
}

fn check_claim(name: &str, claim: Claim, strategy: Strategy) -> Result<(), Failure> {
    match claim {
        Claim::Missing => Err(Failure::new(
            StalledReason::VolumeUnavailable,
            format!(
                "there is no PersistentVolumeClaim {name:?} in this namespace: create it, or correct model.source.pvc.claimName"
            ),
        )),
        Claim::Present { lost: true, .. } => Err(Failure::new(
            StalledReason::VolumeUnavailable,
            format!(
                "PersistentVolumeClaim {name:?} has lost its volume: restore the volume, or name another claim"
            ),
        )),
        Claim::Present {
            one_pod_only: true, ..
        } if strategy == Strategy::Canary => Err(Failure::new(
            StalledReason::InvalidSpec,
            format!(
                "PersistentVolumeClaim {name:?} is ReadWriteOncePod, so a new revision cannot start beside the old one: use ReadOnlyMany or ReadWriteMany, or set rollout.strategy: Recreate"
            ),
        )),
        Claim::Present { .. } | Claim::NotNeeded | Claim::NotAsked => Ok(()),
    }
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
    #[case::remote(json!({"objectStore": {"url": "s3://b"}}), json!({}), PRESENT, "copy the model's files")]
    #[case::outside(json!({"pvc": {"claimName": "a", "path": "../b"}}), json!({}), PRESENT, "leaves the volume")]
    #[case::absolute(json!({"pvc": {"claimName": "a", "path": "/b"}}), json!({}), PRESENT, "leaves the volume")]
    #[case::deadline(json!({"pvc": {"claimName": "a"}}), json!({"progressDeadline": "soon"}), PRESENT, "rollout.progressDeadline")]
    #[case::available(json!({"pvc": {"claimName": "a"}}), json!({"capacity": {"minAvailable": "half"}}), PRESENT, "minAvailable")]
    #[case::percent(json!({"pvc": {"claimName": "a"}}), json!({"capacity": {"minAvailable": "150%"}}), PRESENT, "minAvailable")]
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
