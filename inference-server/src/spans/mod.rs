//! Traces: what the spans of a request say.
//!
//! Owns the server span of each request, its parent from the W3C headers, and the children that show
//! where its time went. It must not know how spans travel; `collector` does. The API of
//! OpenTelemetry is used directly: there is one place where requests begin and end, and one where
//! they are scored. A layer over `tracing` would need a span of its own at both, open across every
//! await, and could not make children afterwards from times that were measured anyway. Invariant:
//! where traces are off, a request does nothing for them.

mod collector;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::Method;
use inference_api::Dialect;
use inference_scoring::{Scores, Timings};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt, TraceId, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

/// Bytes of an attribute that a client writes.
const TEXT_BYTES: usize = 4 * 1024;
/// The longest that leaving waits for the last spans.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);

/// Begins the spans of requests.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Spans {
    /// Spans that go to the collector at `endpoint`, sent by the runtime that this is called on.
    ///
    /// # Errors
    /// When the endpoint is none, or the environment asks for what there is not.
    pub(crate) fn start(endpoint: &str) -> anyhow::Result<Self> {
        collector::provider(endpoint).map(Self::new)
    }

    pub(crate) fn new(provider: SdkTracerProvider) -> Self {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            propagator: TraceContextPropagator::new(),
        }
    }

    /// The span of a request that has just come. `route` is the path as it is declared.
    pub(crate) fn begin(
        &self,
        request: &Request,
        route: Option<&'static str>,
        id: &str,
        model_version: &str,
    ) -> RequestSpan {
        let headers = HeaderExtractor(request.headers());
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &headers);
        let method = method(request.method());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", bounded(request.uri().path())),
            KeyValue::new("reward.request.id", id.to_owned()),
            KeyValue::new("reward.model.version", model_version.to_owned()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
        let builder = self
            .tracer
            .span_builder(name(method, route))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &parent);
        RequestSpan(Arc::new(Inner {
            tracer: self.tracer.clone(),
            context: parent.with_span(span),
            seen: Mutex::default(),
        }))
    }

    /// Sends what is left, as far as there is time.
    pub(crate) async fn flush(self) {
        let flush = move || self.provider.shutdown_with_timeout(FLUSH_PATIENCE);
        if !matches!(tokio::task::spawn_blocking(flush).await, Ok(Ok(()))) {
            tracing::warn!(target: "traces", "the last spans did not reach the collector in time");
        }
    }
}

/// The span of one request; clones are the same span. It ends with its request, also with one whose
/// client has left.
#[derive(Clone, Debug)]
pub(crate) struct RequestSpan(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    context: Context,
    seen: Mutex<Seen>,
}

/// What becomes known of a request while it is answered.
#[derive(Debug, Default)]
struct Seen {
    dialect: Option<Dialect>,
    scored: Option<Scored>,
    failure: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Scored {
    inputs: usize,
    tokens: usize,
    remembered: usize,
}

impl RequestSpan {
    pub(crate) fn trace_id(&self) -> TraceId {
        self.0.context.span().span_context().trace_id()
    }

    /// What the spans of others that belong to this one say of their parent (W3C trace context).
    pub(crate) fn traceparent(&self) -> String {
        let span = self.0.context.span();
        let context = span.span_context();
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    }

    /// What a client wants to find its request by.
    pub(crate) fn metadata(&self, metadata: &str) {
        let metadata = KeyValue::new("reward.metadata", bounded(metadata));
        self.0.context.span().set_attribute(metadata);
    }

    /// The dialect that the request has shown, where it is not that of the route.
    pub(crate) fn speaks(&self, dialect: Dialect) {
        self.seen().dialect = Some(dialect);
    }

    /// Inputs were scored, all of the request's or a part of them.
    pub(crate) fn scored(&self, began: SystemTime, scores: &Scores) {
        if !self.0.context.span().is_recording() {
            return;
        }
        let mut seen = self.seen();
        let all = seen.scored.get_or_insert_default();
        all.inputs += scores.scores.len();
        all.tokens += scores
            .scores
            .iter()
            .map(|score| score.tokens)
            .sum::<usize>();
        all.remembered += scores.hits;
        drop(seen);
        for (name, start, end) in phases(began, &scores.timings) {
            let builder = self.0.tracer.span_builder(name).with_start_time(start);
            let mut span = self.0.tracer.build_with_context(builder, &self.0.context);
            span.end_with_timestamp(end);
        }
    }

    /// Inputs were not scored; `kind` is one word.
    pub(crate) fn failed(&self, kind: &'static str) {
        self.seen().failure = Some(kind);
    }

    /// The request is answered.
    pub(crate) fn end(&self, status: u16, dialect: Option<Dialect>) {
        let span = self.0.context.span();
        let seen = std::mem::take(&mut *self.seen());
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        if let Some(dialect) = seen.dialect.or(dialect) {
            span.set_attribute(KeyValue::new("reward.dialect", word(dialect)));
        }
        if let Some(scored) = seen.scored {
            for (name, count) in [
                ("reward.inputs", scored.inputs),
                ("reward.tokens", scored.tokens),
                ("reward.cached", scored.remembered),
            ] {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new(name, count));
            }
        }
        if status >= 500 {
            let kind = seen
                .failure
                .map_or_else(|| Cow::Owned(status.to_string()), Cow::Borrowed);
            span.set_attribute(KeyValue::new("error.type", kind));
            // The status says it all; a description would repeat the answer.
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the time went, laid end to end. The lengths are measured, the places are not: a request may
/// wait for room before its text becomes tokens, and for the engine between two of its batches.
fn phases(
    began: SystemTime,
    timings: &Timings,
) -> impl Iterator<Item = (&'static str, SystemTime, SystemTime)> {
    let phases = [
        ("tokenise", timings.tokenise),
        ("queue", timings.queue),
        ("inference", timings.inference),
    ];
    let lay = |next: &mut SystemTime, (name, length)| {
        let start = *next;
        *next = start + length;
        Some((name, start, *next))
    };
    phases
        .into_iter()
        .filter(|(_, length)| !length.is_zero())
        .scan(began, lay)
}

/// A span's name is never a client's invention.
fn name(method: &'static str, route: Option<&'static str>) -> Cow<'static, str> {
    let method = if method == OTHER { "HTTP" } else { method };
    route.map_or(Cow::Borrowed(method), |route| {
        Cow::Owned(format!("{method} {route}"))
    })
}

/// A method that nobody knows, as the semantic conventions call it.
const OTHER: &str = "_OTHER";

fn method(method: &Method) -> &'static str {
    let known = [
        "GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH", "CONNECT", "TRACE",
    ];
    let found = known.into_iter().find(|known| *known == method.as_str());
    found.unwrap_or(OTHER)
}

const fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Native => "native",
        Dialect::Tei => "tei",
        Dialect::OpenAi => "openai",
        Dialect::Cohere => "cohere",
    }
}

fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_empty_ones_are_left_out() {
        let began = SystemTime::UNIX_EPOCH;
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let timings = |tokenise, queue, inference| Timings {
            tokenise: Duration::from_millis(tokenise),
            queue: Duration::from_millis(queue),
            inference: Duration::from_millis(inference),
            cached: false,
        };
        let laid: Vec<_> = phases(began, &timings(2, 0, 5)).collect();
        let expected = [("tokenise", at(0), at(2)), ("inference", at(2), at(7))];
        assert_eq!(laid, expected);
        assert_eq!(phases(began, &Timings::default()).count(), 0);
    }

    #[test]
    fn a_name_has_a_method_and_a_route_that_are_known() {
        let of = |text: &str| method(&Method::from_bytes(text.as_bytes()).unwrap());
        assert_eq!(name(of("POST"), Some("/predict")), "POST /predict");
        assert_eq!(name(of("GET"), None), "GET");
        assert_eq!(
            (of("BREW"), name(of("BREW"), None).as_ref()),
            (OTHER, "HTTP")
        );
    }

    #[test]
    fn what_a_client_writes_is_cut_between_two_scalars() {
        assert_eq!(bounded("short"), "short");
        let long = format!("a{}", "é".repeat(TEXT_BYTES));
        assert_eq!(bounded(&long).len(), TEXT_BYTES - 1);
    }
}
