//! The operator's own metrics. Labels come from closed sets; no object's name is one.

mod standing;

use std::time::Duration;

use crds::RewardModelStatus;
use crds::v1alpha1::reward_model::status::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::standing::Standing;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    kind: &'static str,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// The operator's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Family<Reconciled, Counter>,
    duration: Histogram,
    writes: Family<Written, Counter>,
    empty_writes: Family<WrittenKind, Counter>,
    events_dropped: Counter,
    definitions_missing: Gauge,
    leader: Gauge,
    transitions: Family<Stage, Counter>,
    rollouts: Family<Ended, Histogram>,
    standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WrittenKind {
    kind: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("betterai_operator");
        let reconciles = Family::default();
        let duration = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let writes = Family::default();
        let empty_writes = Family::default();
        let events_dropped = Counter::default();
        let definitions_missing = Gauge::default();
        registry.register("reconciles", "Reconciles by result", reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time of one reconcile",
            duration.clone(),
        );
        registry.register("writes", "Writes to the API server", writes.clone());
        registry.register(
            "noop_writes",
            "Writes that changed nothing",
            empty_writes.clone(),
        );
        registry.register(
            "events_dropped",
            "Events that were not written because too many waited",
            events_dropped.clone(),
        );
        registry.register(
            "crd_missing",
            "1 while a custom resource definition is missing",
            definitions_missing.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this operator acts", leader.clone());
        let transitions = Family::default();
        registry.register(
            "rollout_transitions",
            "Stages of rollouts that were entered",
            transitions.clone(),
        );
        let rollouts = Family::<Ended, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(1.0, 2.0, 18))
        });
        registry.register(
            "rollout_duration_seconds",
            "Time of a rollout, by how it ended",
            rollouts.clone(),
        );
        let standing = Standing::default();
        registry.register_collector(Box::new(standing.clone()));
        Self {
            registry,
            reconciles,
            duration,
            writes,
            empty_writes,
            events_dropped,
            definitions_missing,
            leader,
            transitions,
            rollouts,
            standing,
        }
    }

    /// How each resource stands that this operator acts for.
    pub(crate) const fn standing(&self) -> &Standing {
        &self.standing
    }

    pub(crate) fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.reconciles
            .get_or_create(&Reconciled { kind, result })
            .inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn wrote(&self, kind: &'static str, verb: &'static str) {
        self.writes.get_or_create(&Written { kind, verb }).inc();
    }

    /// A write that the API server found to change nothing.
    pub(crate) fn wrote_nothing(&self, kind: &'static str) {
        self.empty_writes.get_or_create(&WrittenKind { kind }).inc();
    }

    pub(crate) fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    pub(crate) fn definitions_missing(&self, missing: bool) {
        self.definitions_missing.set(i64::from(missing));
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// What is new in a status: a stage that was entered, a rollout that ended.
    pub(crate) fn moved(&self, before: Option<&RewardModelStatus>, after: &RewardModelStatus) {
        let stage = |status: &RewardModelStatus| {
            let rollout = status.rollout.as_ref()?;
            Some((rollout.id.clone(), rollout.step.clone()?))
        };
        let now = stage(after);
        if now.is_some()
            && before
                .and_then(stage)
                .map(|(id, step)| (id, step.kind, step.index))
                != now.clone().map(|(id, step)| (id, step.kind, step.index))
        {
            let word = now.map(|(_, step)| step.kind).unwrap_or_default();
            let stage = word_of(&word);
            self.transitions.get_or_create(&Stage { stage }).inc();
        }
        let last = |status: &RewardModelStatus| status.history.as_ref()?.first().cloned();
        let ended = last(after).filter(|entry| before.and_then(last).as_ref() != Some(entry));
        if let Some(entry) = ended {
            let outcome = entry.outcome.as_ref().and_then(crds::value::Word::known);
            let outcome = outcome.map_or("Unknown", |outcome| match outcome {
                Outcome::Promoted => "Promoted",
                Outcome::FastPromoted => "FastPromoted",
                Outcome::Aborted => "Aborted",
                Outcome::RolledBack => "RolledBack",
                Outcome::Superseded => "Superseded",
            });
            let took = entry.started_at.zip(entry.finished_at);
            let took = took.map_or(0.0, |(from, to)| to.0.duration_since(from.0).as_secs_f64());
            self.rollouts
                .get_or_create(&Ended { outcome })
                .observe(took.max(0.0));
        }
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

/// A stage as a label: one of a closed set.
fn word_of(kind: &str) -> &'static str {
    const STAGES: [&str; 10] = [
        "Load",
        "Shadow",
        "Gate",
        "SetWeight",
        "Pause",
        "Next",
        "Approval",
        "Promote",
        "Retreat",
        "RollBack",
    ];
    let mut all = STAGES.into_iter();
    all.find(|stage| *stage == kind).unwrap_or("Other")
}
