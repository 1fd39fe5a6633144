//! One question to one endpoint.
//!
//! Owns how an answer is told from a failure, and whose the failure is. Invariant: an answer of another
//! revision than the one that was meant is no answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use inference_api::internal::{self, By, read_answer};
use inference_scoring::{Calibration, Description, Origin, ScoreError, Scores, wire};
use serde::Deserialize;
use traffic::table::Row;

use crate::endpoints::Endpoint;
use crate::pool::{Lost, Reply};

/// Why an endpoint gave no scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// Nobody took the connection, or it broke.
    Unreachable,
    /// It has no room, or no model just now.
    Refused(ScoreError),
    /// The request is wrong: nobody else would answer it.
    Declined(ScoreError),
    /// It failed.
    Failed(ScoreError),
    /// It was not in time.
    Late,
    /// It is another revision.
    Another,
}

impl Unasked {
    /// Whether another endpoint of the revision may do better.
    pub(crate) const fn is_of_the_endpoint(&self) -> bool {
        match self {
            Self::Unreachable | Self::Another => true,
            Self::Refused(error) => matches!(error, ScoreError::NotReady),
            Self::Declined(_) | Self::Failed(_) | Self::Late => false,
        }
    }

    /// What it is to the client.
    pub(crate) fn error(self) -> ScoreError {
        match self {
            Self::Unreachable | Self::Another => ScoreError::NotReady,
            Self::Refused(error) | Self::Declined(error) | Self::Failed(error) => error,
            Self::Late => ScoreError::Late,
        }
    }
}

impl From<ScoreError> for Unasked {
    fn from(error: ScoreError) -> Self {
        match error {
            ScoreError::Input { .. } | ScoreError::UnknownRevision => Self::Declined(error),
            ScoreError::Overloaded | ScoreError::NotReady => Self::Refused(error),
            ScoreError::Late => Self::Late,
            ScoreError::Engine { .. } => Self::Failed(error),
        }
    }
}

/// Asks an endpoint for scores. The body is written once for all that are asked.
pub(crate) async fn scores(
    endpoint: &Endpoint,
    row: &Row,
    question: Bytes,
    origin: &Origin,
    until: Instant,
) -> Result<Scores, Unasked> {
    let reply = post(endpoint, internal::PATH, question, origin, until).await?;
    if !is_ours(&reply) {
        return Err(other(&reply));
    }
    let read = read_answer(&reply.body);
    let read = read.map_err(|_| Unasked::Failed(ScoreError::Engine { index: None }))?;
    let answer = read.map_err(|why| Unasked::from(wire::error(why)))?;
    let by = described(endpoint, row, &reply.body, answer.by)?;
    Ok(wire::scores(answer, by))
}

/// Sends a question, and waits until its deadline.
pub(crate) async fn post(
    endpoint: &Endpoint,
    path: &'static str,
    question: Bytes,
    origin: &Origin,
    until: Instant,
) -> Result<Reply, Unasked> {
    let request = request(endpoint, Method::POST, path, question, origin)?;
    let left = until.saturating_duration_since(Instant::now());
    in_time(endpoint, request, left).await
}

/// Asks an endpoint what it serves.
pub(crate) async fn model(
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<internal::Model, Unasked> {
    let path = internal::MODEL_PATH;
    let request = request(
        endpoint,
        Method::GET,
        path,
        Bytes::new(),
        &Origin::default(),
    )?;
    let reply = in_time(endpoint, request, patience).await?;
    if reply.status != StatusCode::OK {
        return Err(other(&reply));
    }
    let model = serde_json::from_slice(&reply.body);
    model.map_err(|_| Unasked::Failed(ScoreError::Engine { index: None }))
}

async fn in_time(
    endpoint: &Endpoint,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Reply, Unasked> {
    match tokio::time::timeout(patience, endpoint.pool.send(request)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(Lost::NotConnected | Lost::Broken)) => Err(Unasked::Unreachable),
        Err(_) => Err(Unasked::Late),
    }
}

fn request(
    endpoint: &Endpoint,
    method: Method,
    path: &'static str,
    body: Bytes,
    origin: &Origin,
) -> Result<Request<Full<Bytes>>, Unasked> {
    const ID: HeaderName = HeaderName::from_static("x-request-id");
    const TRACE: HeaderName = HeaderName::from_static("traceparent");
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, endpoint.pool.address())
        .header(CONTENT_TYPE, internal::CONTENT_TYPE);
    let trace = origin.trace.as_deref().unwrap_or_default();
    for (name, text) in [(ID, origin.id.as_str()), (TRACE, trace)] {
        if let Ok(value) = HeaderValue::from_str(text)
            && !text.is_empty()
        {
            request = request.header(name, value);
        }
    }
    request
        .body(Full::new(body))
        .map_err(|_| Unasked::Unreachable)
}

fn is_ours(reply: &Reply) -> bool {
    let kind = reply.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind == internal::CONTENT_TYPE)
}

/// What a server tells in words, before a request has reached what scores.
#[derive(Deserialize)]
struct Told {
    detail: String,
    index: Option<usize>,
}

/// An answer that is not of the internal route.
fn other(reply: &Reply) -> Unasked {
    match reply.status.as_u16() {
        429 => Unasked::Refused(ScoreError::Overloaded),
        503 => Unasked::Refused(ScoreError::NotReady),
        504 => Unasked::Late,
        // Something else lives at the address.
        404 | 405 => Unasked::Another,
        413 | 422 => match serde_json::from_slice::<Told>(&reply.body) {
            Ok(told) => Unasked::Declined(ScoreError::Input {
                index: told.index.unwrap_or(0),
                message: told.detail,
                too_long: false,
            }),
            Err(_) => Unasked::Failed(ScoreError::Engine { index: None }),
        },
        _ => Unasked::Failed(ScoreError::Engine { index: None }),
    }
}

/// Who gave the answer, where it is who was meant.
fn described(
    endpoint: &Endpoint,
    row: &Row,
    body: &Bytes,
    by: &[u8],
) -> Result<Arc<Description>, Unasked> {
    let known = endpoint.by.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((bytes, description)) = &*known
        && bytes == by
    {
        return Ok(description.clone());
    }
    drop(known);
    let read: By = serde_json::from_slice(by).map_err(|_| Unasked::Another)?;
    let description = Arc::new(description(read, row).ok_or_else(|| {
        endpoint.is_another.store(true, Ordering::Relaxed);
        Unasked::Another
    })?);
    let mut known = endpoint.by.lock().unwrap_or_else(PoisonError::into_inner);
    *known = Some((body.slice_ref(by), description.clone()));
    Ok(description)
}

/// How the answers of a revision are described; `None` where they are another one's.
pub(crate) fn description(by: By, row: &Row) -> Option<Description> {
    let is_meant = by
        .revision
        .as_deref()
        .is_none_or(|r| r == row.revision.as_str())
        && row
            .digest
            .as_deref()
            .is_none_or(|digest| digest == by.digest);
    let mut description = wire::description(by).filter(|_| is_meant)?;
    description.revision = Some(row.revision.to_string());
    if let Some(calibration) = &row.calibration {
        let (scale, shift) = (calibration.scale.get(), calibration.shift.get());
        description.calibration = Calibration::new(scale, shift);
    }
    Some(description)
}
