//! From a body to a value, in the order of checks: size, type, JSON, meaning. Where too many requests
//! wait already, the next ones are told so before their JSON is looked at.
//!
//! Invariant: what all bodies take of the memory together is bounded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{BufMut, BytesMut};
use http_body_util::BodyExt;
use inference_api::Problem;
use inference_api::options::with_nearest;
use inference_scoring::{ScoreError, Scorer};
use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::{App, UsersInBody};
use crate::http::base::failure::{Failure, Unscored};
use crate::http::base::routes::{self, Route};
use crate::http::edge::codings::{self, Coding, Undone};
use crate::http::edge::{Full, Held};

/// The bytes of a JSON body, decompressed and within the limit.
pub(crate) struct Payload {
    bytes: Bytes,
    /// Their part of what all bodies may take.
    _held: Held,
}

impl<S: Scorer> FromRequest<Arc<App<S>>> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App<S>>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let settings = &app.settings;
        // What the routers of a server send was within their own limit, which is not known here.
        let is_relayed = app.is_behind_routers() && is_internal(&parts);
        let limit = if is_relayed {
            app.edge.bodies.most()
        } else {
            settings.max_body_bytes
        };
        require_length(&parts.headers, limit)?;
        let codings = codings::codings(&parts.headers)?;
        if is_relayed && !codings.is_empty() {
            // What comes out of it would be as large as all bodies together before anybody counts it.
            return Err(Problem::unsupported_media_type("routers do not compress").into());
        }
        let kind = kind(&parts)?;
        let held = app.edge.bodies.begin().map_err(|full| no_room(app, full))?;
        let read = read(body, limit, held);
        // A body that trickles in would hold its connection for ever.
        let read = tokio::time::timeout(settings.timeout, read)
            .await
            .map_err(|_| Problem::request_timeout("the body came too slowly: send it again"))?;
        let (bytes, mut held) = read.map_err(|unread| unread.into_failure(app, limit))?;
        let bytes = undo(bytes, &codings, limit)?;
        held.resize(bytes.len())
            .map_err(|full| no_room(app, full))?;
        // Only now: a connection whose body was not read could not be kept.
        if app.current.load().scorer.is_full() && scores(&parts) {
            let unscored = Unscored::from(ScoreError::Overloaded);
            app.metrics.failed(unscored.kind());
            return Err(unscored.into());
        }
        if kind == Kind::Form && serde_json::from_slice::<IgnoredAny>(&bytes).is_err() {
            return Err(wrong_type().into());
        }
        if let Some(users) = parts.extensions.get::<UsersInBody>() {
            users.look(&bytes);
        }
        Ok(Self { bytes, _held: held })
    }
}

impl Payload {
    /// The body itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value that the body holds.
    ///
    /// # Errors
    /// 400 or 422.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.bytes).map_err(|error| match error.classify() {
            Category::Data => Problem::unprocessable(format!(
                "the body does not fit: {}",
                with_nearest(error.to_string())
            )),
            Category::Syntax | Category::Eof | Category::Io => {
                Problem::bad_request(format!("the body is not JSON: {error}"))
            }
        })
    }

    /// Whether the body is an object with this member: it shows whose dialect it is in.
    pub(crate) fn has(&self, member: &str) -> bool {
        let mut body = serde_json::Deserializer::from_slice(&self.bytes);
        Member(member).deserialize(&mut body).unwrap_or_default()
    }
}

/// Refuses a body that speaks for two dialects: which of the two would be scored?
///
/// # Errors
/// 422 with both names.
pub(crate) fn require_one(payload: &Payload, member: &str, others: &[&str]) -> Result<(), Problem> {
    match others.iter().find(|other| payload.has(other)) {
        None => Ok(()),
        Some(other) => Err(Problem::unprocessable(format!(
            "{member} and {other} are of different dialects: send one of them"
        ))),
    }
}

/// Looks for a member of an object, and keeps nothing of it.
struct Member<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some((name, IgnoredAny)) = map.next_entry::<Cow<'de, str>, _>()? {
            found |= name == self.0;
        }
        Ok(found)
    }
}

/// What a body says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    /// What curl says of what it is given, whatever it is.
    Form,
}

/// A missing content type is taken for JSON, as curl without a header means it; so is the one that curl adds by
/// itself, but for administrators: a page elsewhere can have a browser send that one.
fn kind(parts: &Parts) -> Result<Kind, Problem> {
    let Some(kind) = parts.headers.get(header::CONTENT_TYPE) else {
        return Ok(Kind::Json);
    };
    let essence = kind.to_str().unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    let internal = essence == inference_api::internal::CONTENT_TYPE && scores(parts);
    if json || internal {
        Ok(Kind::Json)
    } else if essence == "application/x-www-form-urlencoded" && is_open_to_forms(parts) {
        Ok(Kind::Form)
    } else {
        Err(wrong_type())
    }
}

fn wrong_type() -> Problem {
    Problem::unsupported_media_type("send the body as application/json")
}

fn too_large(limit: usize) -> Problem {
    Problem::too_large(format!(
        "the body has more than {limit} bytes, decompressed: send several requests, or raise --max-body-bytes (of a RewardModel: traffic.limits.maxBodyBytes)"
    ))
}

fn scores(parts: &Parts) -> bool {
    route(parts).is_some_and(Route::scores)
}

fn is_internal(parts: &Parts) -> bool {
    route(parts).is_some_and(Route::is_internal)
}

fn is_open_to_forms(parts: &Parts) -> bool {
    route(parts).is_some_and(|route| route.scores() || route.takes_feedback())
}

fn route(parts: &Parts) -> Option<&'static Route> {
    let path = parts.extensions.get::<MatchedPath>();
    routes::find(path.map(MatchedPath::as_str))
}

/// A body that says that it is too large is not read.
fn require_length(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        Err(too_large(limit))
    } else {
        Ok(())
    }
}

/// Why a body was not read to its end.
enum Unread {
    TooLarge,
    Broken,
    Full(Full),
}

impl Unread {
    fn into_failure<S>(self, app: &App<S>, limit: usize) -> Failure {
        match self {
            Self::TooLarge => too_large(limit).into(),
            Self::Broken => Problem::bad_request("the body ended early: send all of it").into(),
            Self::Full(full) => no_room(app, full),
        }
    }
}

fn no_room<S>(app: &App<S>, full: Full) -> Failure {
    app.metrics
        .failed(Unscored::from(ScoreError::Overloaded).kind());
    Problem::too_many_requests(full.to_string())
        .retry_after(1)
        .into()
}

async fn read(mut body: Body, limit: usize, mut held: Held) -> Result<(Bytes, Held), Unread> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are nothing to us.
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(Unread::TooLarge);
        }
        held.resize(bytes.len() + data.len())
            .map_err(Unread::Full)?;
        bytes.put(data);
    }
    Ok((bytes.freeze(), held))
}

/// The body before it was compressed. The limit holds for what comes out of each step.
fn undo(mut bytes: Bytes, codings: &[Coding], limit: usize) -> Result<Bytes, Problem> {
    for coding in codings.iter().rev() {
        bytes = match coding.undo(&bytes, limit) {
            Ok(undone) => undone.into(),
            Err(Undone::TooLarge) => return Err(too_large(limit)),
            Err(Undone::Broken) => {
                return Err(Problem::bad_request(
                    "the body is not compressed as its content-encoding says, or does not end there",
                ));
            }
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_at_the_top_only_and_in_objects_only() {
        let has = |body: &'static str| {
            let payload = Payload {
                bytes: Bytes::from_static(body.as_bytes()),
                _held: crate::http::edge::Budget::default().begin().unwrap(),
            };
            payload.has("inputs")
        };
        for body in [r#"{"inputs":1}"#, r#"{"a":{},"\u0069nputs":null}"#] {
            assert!(has(body), "{body}");
        }
        for body in [
            "",
            "{",
            "[]",
            r#"["inputs"]"#,
            r#"{"a":{"inputs":1}}"#,
            r#"{"input":1}"#,
            r#"{"inputs":"#,
        ] {
            assert!(!has(body), "{body}");
        }
    }
}
