//! The headers that requests and answers have.
//!
//! Invariant: what browsers may send and see is what is listed here.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Says that all scores of an answer were remembered.
pub(crate) const CACHE: HeaderName = HeaderName::from_static("x-cache");
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The revision that has to answer, where an admin asks for one; and the one that has answered.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-betterai-revision");
/// The arm of an experiment that a request is in.
pub(crate) const VARIANT: HeaderName = HeaderName::from_static("x-betterai-variant");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What requests may have beyond what every page may send.
pub(crate) const OF_REQUESTS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    API_KEY,
    REQUEST_ID,
    REVISION,
    TRACEPARENT,
    TRACESTATE,
];

/// What answers have beyond what every page may see.
pub(crate) const OF_ANSWERS: [HeaderName; 12] = [
    header::ACCEPT_ENCODING,
    header::ALLOW,
    header::CONTENT_ENCODING,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    SERVER_TIMING,
    CACHE,
    MODEL_VERSION,
    REQUEST_ID,
    REVISION,
    VARIANT,
];

/// Names a request in its answer and in the log.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// The client's where it is a sane one.
    pub(crate) fn of_client(headers: &HeaderMap) -> Option<Self> {
        let sane = |id: &&HeaderValue| {
            id.len() <= 128 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        headers.get(REQUEST_ID).filter(sane).cloned().map(Self)
    }

    pub(crate) fn text(&self) -> String {
        self.0.to_str().unwrap_or_default().to_owned()
    }
}
