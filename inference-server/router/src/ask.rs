//! One question to one endpoint.
//!
//! Owns how an answer is told from a failure, and whose the failure is. Invariant: an answer of another
//! revision than the one that was meant is no answer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use inference_api::internal::{self, By, read_answer};
use inference_scoring::{Calibration, Description, Origin, ScoreError, Scores, wire};
use serde::Deserialize;
use traffic::table::Target;

use crate::endpoints::{Endpoint, Said};
use crate::pool::{Lost, Reply, Request};

const JSON: &str = "application/json";

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

    /// The same, with the place of its input among more of them.
    pub(crate) fn moved(self, place: impl FnOnce(usize) -> usize) -> Self {
        match self {
            Self::Declined(error) => Self::Declined(error.moved(place)),
            Self::Failed(error) => Self::Failed(error.moved(place)),
            Self::Unreachable | Self::Refused(_) | Self::Late | Self::Another => self,
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
    target: &Target,
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
    let by = described(endpoint, target, &reply.body, answer.by)?;
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
    let kind = internal::CONTENT_TYPE;
    let request = request(endpoint, "POST", path, (kind, question), origin);
    let left = until.saturating_duration_since(Instant::now());
    in_time(endpoint, request, left).await
}

/// Asks an endpoint what it serves.
pub(crate) async fn model(
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<internal::Model, Unasked> {
    let (path, nothing) = (internal::MODEL_PATH, (JSON, Bytes::new()));
    let request = request(endpoint, "GET", path, nothing, &Origin::default());
    let reply = in_time(endpoint, request, patience).await?;
    if reply.status != StatusCode::OK {
        return Err(other(&reply));
    }
    let model = serde_json::from_slice(&reply.body);
    model.map_err(|_| Unasked::Failed(ScoreError::Engine { index: None }))
}

/// What an endpoint that was asked to forget has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgetting {
    Done,
    /// It remembers nothing.
    NoCache,
}

/// Asks an endpoint to forget the scores of a version.
pub(crate) async fn forget(
    endpoint: &Endpoint,
    version: &str,
    patience: Duration,
) -> Result<Forgetting, Unasked> {
    let body = internal::Forget {
        model_version: version.to_owned(),
    };
    // A string: there is nothing that JSON could not write.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let (path, body, origin) = (internal::CACHE_PATH, (JSON, body.into()), Origin::default());
    let request = request(endpoint, "POST", path, body, &origin);
    let reply = in_time(endpoint, request, patience).await?;
    match reply.status {
        StatusCode::OK => Ok(Forgetting::Done),
        StatusCode::CONFLICT => Ok(Forgetting::NoCache),
        _ => Err(other(&reply)),
    }
}

async fn in_time(
    endpoint: &Endpoint,
    request: Request,
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
    method: &'static str,
    path: &'static str,
    (kind, body): (&'static str, Bytes),
    origin: &Origin,
) -> Request {
    let (address, length) = (endpoint.pool.address(), body.len());
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n"
    );
    let trace = origin.trace.as_deref().unwrap_or_default();
    for (name, text) in [("x-request-id", origin.id.as_str()), ("traceparent", trace)] {
        // What is no header value would be another request.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            head.extend([name, ": ", text, "\r\n"]);
        }
    }
    head.push_str("\r\n");
    Request {
        head: head.into(),
        body,
    }
}

fn is_ours(reply: &Reply) -> bool {
    reply.kind == internal::CONTENT_TYPE
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
    target: &Target,
    body: &Bytes,
    by: &[u8],
) -> Result<Arc<Description>, Unasked> {
    let known = endpoint.by.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(said) = &*known
        && said.bytes == by
        && said.calibration == target.calibration
    {
        return Ok(said.description.clone());
    }
    drop(known);
    let read: By = serde_json::from_slice(by).map_err(|_| Unasked::Another)?;
    let description = Arc::new(description(read, target).ok_or_else(|| {
        endpoint.is_another.store(true, Ordering::Relaxed);
        Unasked::Another
    })?);
    let mut known = endpoint.by.lock().unwrap_or_else(PoisonError::into_inner);
    *known = Some(Said {
        bytes: body.slice_ref(by),
        calibration: target.calibration.clone(),
        description: description.clone(),
    });
    Ok(description)
}

/// How the answers of a revision are described; `None` where they are another one's.
pub(crate) fn description(by: By, target: &Target) -> Option<Description> {
    let is_meant = by
        .revision
        .as_deref()
        .is_none_or(|r| r == target.revision.as_str())
        && target
            .digest
            .as_deref()
            .is_none_or(|digest| digest == by.digest);
    let mut description = wire::description(by).filter(|_| is_meant)?;
    description.revision = Some(target.revision.to_string());
    if let Some(calibration) = &target.calibration {
        let (scale, shift) = (calibration.scale.get(), calibration.shift.get());
        description.calibration = Calibration::new(scale, shift);
    }
    Some(description)
}
