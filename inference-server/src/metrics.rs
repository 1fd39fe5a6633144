//! The server's metrics. Names and labels are contracts; labels come from closed sets.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use inference_engine::Observer;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::http::Unscored;
use crate::http::routes::{OTHER, ROUTES, STATUSES};

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
    queue_tokens: Gauge,
    batch_tokens: Histogram,
    batch_sequences: Histogram,
    left: Counter,
    cache_hits: Counter,
    cache_misses: Counter,
    cache_hit_ratio: FloatGauge,
}

impl Metrics {
    /// All of them, with a zero for each label that is known: what appears with the first error
    /// cannot be alerted on.
    pub(crate) fn new() -> Self {
        let metrics = Self::registered();
        for route in &ROUTES {
            let endpoint = route.path;
            drop(metrics.durations.get_or_create(&Endpoint { endpoint }));
            for &status in route.statuses() {
                drop(
                    metrics
                        .requests
                        .get_or_create(&Request { endpoint, status }),
                );
            }
        }
        let endpoint = OTHER;
        drop(metrics.durations.get_or_create(&Endpoint { endpoint }));
        for &status in STATUSES {
            drop(
                metrics
                    .requests
                    .get_or_create(&Request { endpoint, status }),
            );
        }
        for error_type in Unscored::KINDS {
            drop(metrics.errors.get_or_create(&ErrorType { error_type }));
        }
        metrics
    }

    /// The same, and what `more` knows when it is asked.
    pub(crate) fn and(mut self, more: Box<dyn Collector>) -> Self {
        self.registry.register_collector(more);
        self
    }

    fn registered() -> Self {
        let mut all = Registry::default();
        Self {
            requests: add(
                &mut all,
                "reward_model_requests",
                "Requests",
                Family::default(),
            ),
            durations: add(
                &mut all,
                "reward_model_request_duration_seconds",
                "Time of a request",
                Family::new_with_constructor(latency),
            ),
            predictions: add(
                &mut all,
                "reward_model_prediction_duration_seconds",
                "Time of a batch in the engine",
                latency(),
            ),
            load_time: add(
                &mut all,
                "reward_model_load_time_seconds",
                "Time of loading the model",
                Gauge::default(),
            ),
            memory: add(
                &mut all,
                "reward_model_memory_bytes",
                "Resident memory",
                Gauge::default(),
            ),
            version: add(
                &mut all,
                "reward_model_version",
                "1 for the version that is served",
                Family::default(),
            ),
            scores: add(
                &mut all,
                "reward_score_distribution",
                "Scores",
                Histogram::new(SCORE_BUCKETS),
            ),
            errors: add(
                &mut all,
                "reward_model_prediction_errors",
                "Scores that were not given",
                Family::default(),
            ),
            tokens: add(
                &mut all,
                "reward_model_tokens",
                "Tokens computed; their rate is the throughput",
                Counter::default(),
            ),
            queue_tokens: add(
                &mut all,
                "reward_model_queue_tokens",
                "Tokens that wait for the engine",
                Gauge::default(),
            ),
            batch_tokens: add(
                &mut all,
                "reward_model_batch_tokens",
                "Tokens of a batch",
                Histogram::new(exponential_buckets(8.0, 2.0, 13)),
            ),
            batch_sequences: add(
                &mut all,
                "reward_model_batch_sequences",
                "Sequences of a batch",
                Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            ),
            left: add(
                &mut all,
                "reward_model_cancelled_requests",
                "Requests whose client left before their score was computed",
                Counter::default(),
            ),
            cache_hits: add(
                &mut all,
                "reward_model_cache_hits",
                "Scores from the cache",
                Counter::default(),
            ),
            cache_misses: add(
                &mut all,
                "reward_model_cache_misses",
                "Scores that the cache did not have",
                Counter::default(),
            ),
            cache_hit_ratio: add(
                &mut all,
                "cache_hit_ratio",
                "Share of scores from the cache since the start",
                Gauge::default(),
            ),
            registry: all,
        }
    }

    /// A request was answered; its time says nothing where the answer was remembered.
    pub(crate) fn answered(&self, endpoint: &'static str, status: u16, took: Option<Duration>) {
        self.requests
            .get_or_create(&Request { endpoint, status })
            .inc();
        if let Some(took) = took {
            self.durations
                .get_or_create(&Endpoint { endpoint })
                .observe(took.as_secs_f64());
        }
    }

    /// Scores that were answered, `hits` of them from the cache.
    pub(crate) fn scored(&self, scores: &[f32], hits: usize) {
        for score in scores {
            self.scores.observe(f64::from(*score));
        }
        self.cache_hits.inc_by(hits as u64);
        self.cache_misses
            .inc_by(scores.len().saturating_sub(hits) as u64);
    }

    pub(crate) fn failed(&self, error_type: &'static str) {
        self.errors.get_or_create(&ErrorType { error_type }).inc();
    }

    pub(crate) fn loaded(&self, version: &str, seconds: f64) {
        self.load_time.set(seconds);
        // One version serves at a time.
        self.version.clear();
        self.version
            .get_or_create(&Version {
                version: version.to_owned(),
            })
            .set(1);
    }

    /// The exposition. What only changes with the load is read now.
    pub(crate) fn encode(&self, queued_tokens: usize) -> String {
        self.memory.set(resident_bytes().unwrap_or(0));
        self.queue_tokens
            .set(i64::try_from(queued_tokens).unwrap_or(i64::MAX));
        let (hits, misses) = (self.cache_hits.get(), self.cache_misses.get());
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits")]
        self.cache_hit_ratio
            .set(hits as f64 / (hits + misses).max(1) as f64);
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

impl Observer for Metrics {
    fn batch(&self, sequences: usize, tokens: usize, took: Duration) {
        self.predictions.observe(took.as_secs_f64());
        self.tokens.inc_by(tokens as u64);
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        self.batch_tokens.observe(count(tokens));
        self.batch_sequences.observe(count(sequences));
    }

    fn left(&self) {
        self.left.inc();
    }

    /// Nothing is counted: the process ends.
    fn lost(&self, _: &str) {}
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
}

/// Resident memory of this process (proc(5), statm: the second field, in pages).
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(page)
}
