//! The server's metrics. Names and labels are contracts; labels come from closed sets.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorType {
    error_type: &'static str,
}

/// Raw logits of reward models lie within some tens around zero, most of them near it.
const SCORE_BUCKETS: [f64; 17] = [
    -30.0, -20.0, -10.0, -7.5, -5.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0,
    30.0,
];

/// The server's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    durations: Family<Endpoint, Histogram>,
    predictions: Histogram,
    scores: Histogram,
    errors: Family<ErrorType, Counter>,
    load_time: FloatGauge,
    memory: Gauge,
    version: Family<Version, Gauge>,
    tokens: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::<Endpoint, Histogram>::new_with_constructor(latency);
        let (predictions, scores) = (latency(), Histogram::new(SCORE_BUCKETS));
        let errors = Family::default();
        let (load_time, memory, version) =
            (FloatGauge::default(), Gauge::default(), Family::default());
        let (tokens, cache_hits) = (Counter::default(), FloatGauge::default());
        registry.register("reward_model_requests", "Requests", requests.clone());
        registry.register(
            "reward_model_request_duration_seconds",
            "Time of a request",
            durations.clone(),
        );
        registry.register(
            "reward_model_prediction_duration_seconds",
            "Time of a batch in the engine",
            predictions.clone(),
        );
        registry.register(
            "reward_model_load_time_seconds",
            "Time of loading the model",
            load_time.clone(),
        );
        registry.register(
            "reward_model_memory_bytes",
            "Resident memory",
            memory.clone(),
        );
        registry.register(
            "reward_model_version",
            "1 for the version that is served",
            version.clone(),
        );
        registry.register("reward_score_distribution", "Scores", scores.clone());
        registry.register(
            "cache_hit_ratio",
            "Share of scores from the cache",
            cache_hits,
        );
        registry.register(
            "reward_model_prediction_errors",
            "Scores that were not given",
            errors.clone(),
        );
        registry.register("reward_model_tokens", "Tokens scored", tokens.clone());
        Self {
            registry,
            requests,
            durations,
            predictions,
            scores,
            errors,
            load_time,
            memory,
            version,
            tokens,
        }
    }

    pub(crate) fn answered(&self, endpoint: &'static str, status: u16, took: Duration) {
        self.requests
            .get_or_create(&Request { endpoint, status })
            .inc();
        self.durations
            .get_or_create(&Endpoint { endpoint })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn scored(&self, scores: &[f32], tokens: usize, inference: Duration) {
        self.predictions.observe(inference.as_secs_f64());
        self.tokens.inc_by(tokens as u64);
        for score in scores {
            self.scores.observe(f64::from(*score));
        }
    }

    pub(crate) fn failed(&self, error_type: &'static str) {
        self.errors.get_or_create(&ErrorType { error_type }).inc();
    }

    pub(crate) fn loaded(&self, version: &str, seconds: f64) {
        self.load_time.set(seconds);
        self.version
            .get_or_create(&Version {
                version: version.to_owned(),
            })
            .set(1);
    }

    pub(crate) fn encode(&self) -> String {
        self.memory.set(resident_bytes().unwrap_or(0));
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
}

/// Resident memory of this process (proc(5), statm: the second field, in pages of 4 KiB).
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm
        .split(' ')
        .nth(1)?
        .parse::<i64>()
        .ok()
        .map(|pages| pages * 4096)
}
