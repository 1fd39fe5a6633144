//! How spans reach a collector: OTLP as protobuf over HTTP, in batches.
//!
//! Owns the endpoint, the resource and the sending. The SDK's own thread gathers batches from a
//! bounded queue, which drops what does not fit. Invariant: whatever the collector does, no request
//! waits for it, nothing grows, and there is one warning a minute at most. The SDK adds one when its
//! queue is full for the first time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use url::Url;

/// The longest that one try may take. No other begins later than this after the first.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two warnings.
const QUIET: Duration = Duration::from_mins(1);

/// Makes spans and sends them, as the environment says: the variables of OpenTelemetry for headers,
/// sampling, batches and the resource.
pub(super) fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let url = traces(endpoint).context("--otlp-endpoint")?;
    let client = Client {
        http: reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?,
        runtime: Handle::current(),
        warned: Mutex::new(None),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(TIMEOUT)
        .with_http_client(client)
        .build()
        .context("--otlp-endpoint")?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(Calm(exporter))
        .with_resource(resource())
        .build())
}

/// The URL that spans are sent to.
fn traces(endpoint: &str) -> anyhow::Result<Url> {
    let write = "write http://HOST:4318, the base URL of an OTLP/HTTP receiver";
    let mut url = Url::parse(endpoint).map_err(|error| anyhow!("{error}: {write}"))?;
    ensure!(
        matches!(url.scheme(), "http" | "https"),
        "the scheme {:?} is not spoken here, nor is gRPC: {write}",
        url.scheme()
    );
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "a URL shows up in logs: put credentials into OTEL_EXPORTER_OTLP_HEADERS"
    );
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "traces"]);
    }
    Ok(url)
}

/// Who sends the spans: what the environment says, else the name of this program.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let named = found
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named {
        return found;
    }
    let own = KeyValue::new("service.name", env!("CARGO_PKG_NAME"));
    Resource::builder().with_attribute(own).build()
}

/// Sends on the server's runtime, because the thread that gathers batches has none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    warned: Mutex<Option<Instant>>,
}

impl Client {
    fn warn(&self, reason: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| at.elapsed() < QUIET) {
            return;
        }
        *warned = Some(Instant::now());
        tracing::warn!(
            target: "traces",
            reason,
            "the collector takes no spans; they are lost unless it soon does"
        );
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self
            .runtime
            .spawn(async move { http.send_bytes(request).await });
        let answer = match sent.await {
            Ok(answer) => answer,
            // The server has left.
            Err(error) => return Err(error.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => self.warn(&format!("it answers {}", answer.status())),
            Err(error) => self.warn(&causes(error.as_ref())),
        }
        answer
    }
}

/// An error with what it is due to, which is where the reason is.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// An exporter whose failures are not logged once more by the SDK, for each batch: [`Client`] has
/// told them.
#[derive(Debug)]
struct Calm(opentelemetry_otlp::SpanExporter);

impl SpanExporter for Calm {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        if let Err(error) = self.0.export(batch).await {
            tracing::debug!(target: "traces", spans, %error, "lost");
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_endpoint_whatever_its_path() {
        for (endpoint, expected) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("https://c/", "https://c/v1/traces"),
            ("https://c/otlp", "https://c/otlp/v1/traces"),
            ("https://c/otlp/?key=a", "https://c/otlp/v1/traces?key=a"),
        ] {
            assert_eq!(traces(endpoint).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_broken_endpoint_is_told_what_to_write() {
        for (endpoint, expected) in [
            ("collector:4318", "write http://HOST:4318"),
            ("collector", "write http://HOST:4318"),
            ("grpc://collector:4317", "gRPC"),
            ("http://", "write http://HOST:4318"),
            ("http://me:secret@collector", "OTEL_EXPORTER_OTLP_HEADERS"),
        ] {
            let error = traces(endpoint).unwrap_err().to_string();
            assert!(error.contains(expected), "{endpoint}: {error}");
        }
    }
}
