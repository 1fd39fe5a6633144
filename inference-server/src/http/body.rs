//! From a body to a value, in the order of checks: size, type, JSON, meaning. Where too many requests
//! wait already, the next ones are told so before their JSON is looked at.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use inference_api::Problem;
use inference_api::options::with_nearest;
use inference_scoring::{ScoreError, Scorer};
use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::App;
use super::error::{self, Failure};
use super::routes::{self, Route};

/// The bytes of a JSON body, decompressed and within the limit.
pub(super) struct Payload(Bytes);

impl<S: Scorer> FromRequest<Arc<App<S>>> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App<S>>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let settings = &app.settings;
        require_json(&parts.headers)?;
        let read = read(body, settings.max_body_bytes);
        // A body that trickles in would hold its connection for ever.
        let bytes = tokio::time::timeout(settings.timeout, read)
            .await
            .map_err(|_| Problem::request_timeout("the body came too slowly: send it again"))??;
        // Only now: a connection whose body was not read could not be kept.
        if app.current.load().scorer.is_full() && scores(&parts) {
            let failure = ScoreError::Overloaded;
            app.metrics.failed(error::kind(&failure));
            return Err(error::problem(&failure, true).into());
        }
        Ok(Self(bytes))
    }
}

impl Payload {
    /// The value that the body holds.
    ///
    /// # Errors
    /// 400 or 422.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.0).map_err(|error| match error.classify() {
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
    pub(super) fn has(&self, member: &str) -> bool {
        let mut body = serde_json::Deserializer::from_slice(&self.0);
        Member(member).deserialize(&mut body).unwrap_or_default()
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

pub(super) fn too_large(limit: usize) -> Problem {
    Problem::too_large(format!(
        "the body has more than {limit} bytes, decompressed: send several requests, or raise --max-body-bytes"
    ))
}

fn scores(parts: &Parts) -> bool {
    let path = parts.extensions.get::<MatchedPath>();
    routes::find(path.map(MatchedPath::as_str)).is_some_and(Route::scores)
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            if error.to_string().contains("length limit exceeded") {
                return too_large(limit);
            }
            source = error.source();
        }
        Problem::bad_request("the body ended early, or is not compressed as it says")
    })
}

/// A missing content type is taken for JSON, as curl without a header means it.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = kind
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type(
            "send the body as application/json",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_at_the_top_only_and_in_objects_only() {
        let has = |body: &'static str| Payload(Bytes::from_static(body.as_bytes())).has("inputs");
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
