//! Whose request it is, where that decides who scores it.
//!
//! Owns where the key is looked for: the scorer says so. Invariant: a key is what was sent, unchanged; a
//! request without one is known by its prompt.

use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, HeaderValue};
use inference_api::Problem;
use inference_scoring::{Scorer, Trial, UserKey};
use serde_json::Value;

use super::Served;
use crate::http::edge::Caller;

/// Where the key of a request's user is found.
#[derive(Clone, Debug, Default)]
pub(super) enum User {
    /// Nobody asks for it, or the request has none.
    #[default]
    Unknown,
    /// It was in the head.
    Known(String),
    /// It is in the body, once that was read.
    InBody(UserInBody),
}

/// Keys that stand in the body of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsersInBody(pub(super) Vec<UserInBody>);

impl UsersInBody {
    /// Looks for them in a body.
    pub(crate) fn look(&self, body: &[u8]) {
        for user in &self.0 {
            user.look(body);
        }
    }
}

/// The key of a request's user, which stands in its body.
#[derive(Clone, Debug)]
pub(crate) struct UserInBody {
    pointer: Arc<str>,
    found: Arc<OnceLock<String>>,
}

impl UserInBody {
    /// Looks for it in a body.
    pub(crate) fn look(&self, body: &[u8]) {
        let value: Option<Value> = serde_json::from_slice(body).ok();
        let found = match value
            .as_ref()
            .and_then(|value| value.pointer(&self.pointer))
        {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return,
        };
        // It was looked for once already.
        let _ = self.found.set(found);
    }
}

impl User {
    pub(super) fn of<S: Scorer>(served: &Served<S>, headers: &HeaderMap, caller: &Caller) -> Self {
        Self::at(served.scorer.user_key(), headers, caller)
    }

    fn at(place: Option<UserKey>, headers: &HeaderMap, caller: &Caller) -> Self {
        let known =
            |key: Option<&str>| key.map_or(Self::Unknown, |key| Self::Known(key.to_owned()));
        match place {
            None => Self::Unknown,
            Some(UserKey::Header(name)) => known(headers.get(name).and_then(text)),
            Some(UserKey::JwtClaim(name)) => known(caller.claims.get(&name).map(String::as_str)),
            Some(UserKey::JsonPointer(pointer)) => Self::InBody(UserInBody {
                pointer: pointer.into(),
                found: Arc::default(),
            }),
        }
    }

    pub(super) const fn in_body(&self) -> Option<&UserInBody> {
        match self {
            Self::InBody(body) => Some(body),
            Self::Unknown | Self::Known(_) => None,
        }
    }

    pub(super) fn key(&self) -> Option<&str> {
        let key = match self {
            Self::Unknown => None,
            Self::Known(key) => Some(key.as_str()),
            Self::InBody(body) => body.found.get().map(String::as_str),
        };
        key.filter(|key| !key.is_empty())
    }

    /// Refuses a key that other implementations of the assignment would read to its middle only.
    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.key() {
            Some(key) if key.contains('\0') => Err(Problem::unprocessable(
                "the user key contains a zero byte: send an id without one",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// A header as UTF-8, which user names may need more of than ASCII.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// What of a request decides which arm of an experiment is its own.
#[derive(Debug)]
pub(super) struct OnTrial {
    user: User,
    headers: Vec<(String, String)>,
}

impl OnTrial {
    /// `None` where no experiment is in force.
    pub(super) fn of<S: Scorer>(
        served: &Served<S>,
        headers: &HeaderMap,
        caller: &Caller,
    ) -> Option<Self> {
        let wanted = served.scorer.wanted()?;
        let has = |name: &String| {
            let value = text(headers.get(name)?)?;
            Some((name.clone(), value.to_owned()))
        };
        Some(Self {
            user: User::at(wanted.user.clone(), headers, caller),
            headers: wanted.headers.iter().filter_map(has).collect(),
        })
    }

    pub(super) const fn user(&self) -> &User {
        &self.user
    }

    pub(super) fn trial(&self) -> Trial {
        Trial {
            user: self.user.key().map(str::to_owned),
            headers: self.headers.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_body(pointer: &str, body: &str) -> User {
        let user = UserInBody {
            pointer: pointer.into(),
            found: Arc::default(),
        };
        user.look(body.as_bytes());
        User::InBody(user)
    }

    #[test]
    fn a_key_in_the_body_is_a_string_or_a_number() {
        let body = r#"{"user":"a","meta":{"id":42},"none":null,"empty":"","list":[1]}"#;
        for (pointer, key) in [
            ("/user", Some("a")),
            ("/meta/id", Some("42")),
            ("/none", None),
            ("/empty", None),
            ("/list", None),
            ("/absent", None),
        ] {
            assert_eq!(in_body(pointer, body).key(), key, "{pointer}");
        }
        assert_eq!(in_body("/user", "{").key(), None);
    }

    #[test]
    fn a_key_with_a_zero_byte_is_refused() {
        assert!(in_body("/user", r#"{"user":"a\u0000b"}"#).check().is_err());
        assert!(in_body("/user", r#"{"user":"ab"}"#).check().is_ok());
    }
}
