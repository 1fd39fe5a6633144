//! How many resources stand how: what alerts are made of, since no resource's name is a label.
//!
//! Owns the last word on each resource that this operator acts for. It must not know how one is watched.
//! Invariant: a resource counts once, as its last status says, and no more when it is gone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crds::conditions::ConditionType;
use crds::v1alpha1::{ab_experiment, reward_model};
use crds::{ABExperimentStatus, RewardModelStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// All phases of a kind.
const MODEL_PHASES: [&str; 9] = [
    "Pending",
    "Resolving",
    "Preparing",
    "Progressing",
    "Paused",
    "Promoting",
    "RollingBack",
    "Ready",
    "Degraded",
];
const EXPERIMENT_PHASES: [&str; 6] = [
    "Pending", "Running", "Paused", "Decided", "Applied", "Stalled",
];

/// How one resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Model {
        phase: &'static str,
        stalled: bool,
        routers_out_of_sync: bool,
    },
    Experiment {
        phase: &'static str,
    },
}

/// How each resource stands, by its uid. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<Mutex<HashMap<String, Stand>>>);

impl Standing {
    /// A model's status.
    pub(crate) fn model(&self, uid: &str, status: &RewardModelStatus) {
        let is = |kind, value| says(&status.conditions, kind, value);
        let known = status.phase.as_ref().and_then(crds::value::Word::known);
        self.all().insert(
            uid.to_owned(),
            Stand::Model {
                phase: known.map_or("Pending", of_model),
                stalled: is(ConditionType::Stalled, "True"),
                routers_out_of_sync: is(ConditionType::RoutersInSync, "False"),
            },
        );
    }

    /// An experiment's status.
    pub(crate) fn experiment(&self, uid: &str, status: &ABExperimentStatus) {
        let known = status.phase.as_ref().and_then(crds::value::Word::known);
        let phase = known.map_or("Pending", of_experiment);
        self.all()
            .insert(uid.to_owned(), Stand::Experiment { phase });
    }

    /// It is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Stand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, is: impl Fn(&Stand) -> bool) -> i64 {
        let count = self.all().values().filter(|stand| is(stand)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

fn says(conditions: &[Condition], kind: ConditionType, value: &str) -> bool {
    let mut all = conditions.iter();
    all.any(|condition| condition.type_ == kind.as_str() && condition.status == value)
}

const fn of_model(phase: reward_model::status::Phase) -> &'static str {
    use reward_model::status::Phase;
    match phase {
        Phase::Pending => "Pending",
        Phase::Resolving => "Resolving",
        Phase::Preparing => "Preparing",
        Phase::Progressing => "Progressing",
        Phase::Paused => "Paused",
        Phase::Promoting => "Promoting",
        Phase::RollingBack => "RollingBack",
        Phase::Ready => "Ready",
        Phase::Degraded => "Degraded",
    }
}

const fn of_experiment(phase: ab_experiment::status::Phase) -> &'static str {
    use ab_experiment::status::Phase;
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Paused => "Paused",
        Phase::Decided => "Decided",
        Phase::Applied => "Applied",
        Phase::Stalled => "Stalled",
    }
}

impl Collector for Standing {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let models = MODEL_PHASES.map(|word| {
            let is = |stand: &Stand| matches!(stand, Stand::Model { phase, .. } if *phase == word);
            (word, self.count(is))
        });
        by_phase(&mut to, "reward_models", "RewardModels", &models)?;
        let experiments = EXPERIMENT_PHASES.map(|word| {
            let is = |stand: &Stand| *stand == Stand::Experiment { phase: word };
            (word, self.count(is))
        });
        by_phase(&mut to, "experiments", "ABExperiments", &experiments)?;
        let stalled = |stand: &Stand| matches!(stand, Stand::Model { stalled: true, .. });
        let (name, help) = ("reward_models_stalled", "RewardModels that need a human");
        gauge(&mut to, name, help, self.count(stalled))?;
        let behind = |stand: &Stand| {
            matches!(
                stand,
                Stand::Model {
                    routers_out_of_sync: true,
                    ..
                }
            )
        };
        let (name, help) = (
            "routers_out_of_sync",
            "RewardModels of whose routers some do not act on the current traffic table",
        );
        gauge(&mut to, name, help, self.count(behind))
    }
}

fn by_phase(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: &[(&'static str, i64)],
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (phase, count) in counts {
        let labels = [("phase", *phase)];
        ConstGauge::new(*count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let gauge = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(gauge)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Metrics;
    use super::*;

    fn condition(kind: &str, status: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn model(phase: &str, conditions: &[serde_json::Value]) -> RewardModelStatus {
        serde_json::from_value(json!({"phase": phase, "conditions": conditions})).unwrap()
    }

    #[test]
    fn a_resource_counts_once_as_its_last_status_says_and_no_more_when_it_is_gone() {
        let metrics = Metrics::new();
        let all = metrics.standing();
        let has = |line: &str| {
            let text = metrics.encode();
            let line = format!("betterai_operator_{line}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        };
        has("reward_models{phase=\"Ready\"} 0");
        has("reward_models_stalled 0");
        all.model(
            "a",
            &model("Progressing", &[condition("RoutersInSync", "False")]),
        );
        all.model("b", &model("Ready", &[condition("RoutersInSync", "True")]));
        has("reward_models{phase=\"Progressing\"} 1");
        has("routers_out_of_sync 1");
        all.model("a", &model("Degraded", &[condition("Stalled", "True")]));
        has("reward_models{phase=\"Progressing\"} 0");
        has("reward_models{phase=\"Degraded\"} 1");
        has("reward_models_stalled 1");
        has("routers_out_of_sync 0");
        let running = serde_json::from_value(json!({"phase": "Running"})).unwrap();
        all.experiment("e", &running);
        has("experiments{phase=\"Running\"} 1");
        all.forget("a");
        has("reward_models_stalled 0");
        has("reward_models{phase=\"Ready\"} 1");
    }
}
