//! The operator's own metrics. Labels come from closed sets; no object's name is one.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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
        Self {
            registry,
            reconciles,
            duration,
            writes,
            empty_writes,
            events_dropped,
            definitions_missing,
        }
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

    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}
