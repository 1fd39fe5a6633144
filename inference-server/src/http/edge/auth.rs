//! Who is asking, and whether they may.
//!
//! Invariants: credentials are checked before anything else of a request is read; where none are
//! configured scoring is open and the admin routes are closed; an answer says the class of what is
//! wrong (401 or 403) and nothing more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, header};
use inference_api::Problem;

use super::address::Peer;
use super::{ApiKeys, Edge, Jwt, Reloaded};
use crate::http::base::failure::{self, Failure};
use crate::http::base::headers::API_KEY;
use crate::http::base::routes::{self, Access, Scope};

/// Longer credentials are nobody's.
const LONGEST: usize = 8_192;

impl Scope {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "score" => Some(Self::Score),
            "evaluate" => Some(Self::Evaluate),
            "feedback" => Some(Self::Feedback),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Score => 1,
            Self::Evaluate => 2,
            Self::Feedback => 4,
            Self::Admin => 8,
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    pub(super) const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// Whom credentials belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What a token says in strings, by name.
    pub(super) claims: Arc<BTreeMap<String, String>>,
    pub(super) subject: Option<String>,
    pub(super) scopes: Scopes,
}

/// Who is asking, as the rate limit tells callers apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// What its token says in strings, by name.
    pub(crate) claims: Arc<BTreeMap<String, String>>,
    pub(crate) subject: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_admin: bool,
}

/// What credentials are taken.
#[derive(Default)]
pub(crate) struct Auth {
    pub(crate) jwt: Option<Jwt>,
    pub(crate) keys: Option<Reloaded<ApiKeys>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There are no credentials.
    Missing,
    /// They are not valid.
    Invalid,
    /// They do not reach so far.
    Scope,
    /// No credentials are configured that could open this route.
    Closed,
    /// What they are checked with cannot be had at the moment.
    NoKeys,
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Missing => Self::unauthorized("send credentials: Authorization: Bearer TOKEN"),
            Denied::Invalid => Self::unauthorized("the credentials are not valid: get new ones"),
            Denied::Scope => Self::forbidden("the credentials do not allow this"),
            Denied::Closed => Self::forbidden(
                "this route needs credentials, and the server takes none: set --jwt-secret-file, --jwt-jwks-uri or --api-key-file (of a RewardModel: traffic.auth)",
            ),
            Denied::NoKeys => {
                Self::unavailable("credentials cannot be checked now: try again").retry_after(5)
            }
        }
    }
}

impl Auth {
    /// Whether nobody is asked for credentials.
    pub(crate) const fn is_open(&self) -> bool {
        self.jwt.is_none() && self.keys.is_none()
    }

    async fn check(&self, access: Access, headers: &HeaderMap) -> Result<Identity, Denied> {
        let wanted = match access {
            Access::Open => return Ok(Identity::default()),
            Access::Any => None,
            Access::Scope(scope) => Some(scope),
        };
        if self.is_open() {
            return if wanted == Some(Scope::Admin) {
                Err(Denied::Closed)
            } else {
                Ok(Identity::default())
            };
        }
        let identity = self.identify(credentials(headers)?).await?;
        match wanted {
            Some(scope) if !identity.scopes.has(scope) => Err(Denied::Scope),
            Some(_) | None => Ok(identity),
        }
    }

    async fn identify(&self, credentials: &str) -> Result<Identity, Denied> {
        if let Some(identity) = self
            .keys
            .as_ref()
            .and_then(|keys| keys.get().find(credentials))
        {
            return Ok(identity);
        }
        match &self.jwt {
            Some(jwt) => jwt.verify(credentials).await,
            None => Err(Denied::Invalid),
        }
    }
}

/// A bearer token, or the `x-api-key` header.
fn credentials(headers: &HeaderMap) -> Result<&str, Denied> {
    let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
    let mut keys = headers.get_all(API_KEY).iter();
    let text = match (bearers.next(), keys.next()) {
        (None, None) => return Err(Denied::Missing),
        (Some(bearer), None) => {
            let text = bearer.to_str().map_err(|_| Denied::Invalid)?;
            let (scheme, token) = text.split_once(' ').ok_or(Denied::Invalid)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(Denied::Invalid);
            }
            token.trim()
        }
        (None, Some(key)) => key.to_str().map_err(|_| Denied::Invalid)?.trim(),
        // Which of them would count?
        (Some(_), Some(_)) => return Err(Denied::Invalid),
    };
    let single = bearers.next().is_none() && keys.next().is_none();
    if single && !text.is_empty() && text.len() <= LONGEST {
        Ok(text)
    } else {
        Err(Denied::Invalid)
    }
}

/// Lets nobody through who may not; the request says from then on who has sent it.
///
/// # Errors
/// What the client is told.
pub(crate) async fn admit(edge: &Edge, request: &mut Request) -> Result<(), Failure> {
    let path = request.extensions().get::<MatchedPath>();
    let access = match path.map(MatchedPath::as_str) {
        // What is no route is answered with 404, whoever asks.
        None => Access::Open,
        Some(path) => match routes::find(Some(path)) {
            Some(route) => route.access,
            // A handler that nobody has said for whom it is: it is for nobody.
            None => return Err(failure::unknown_route(request.uri().clone()).await),
        },
    };
    let peer = request.extensions().get::<Peer>().copied();
    let address = peer.map(|peer| edge.proxies.client(peer.0.ip(), request.headers()));
    let identity = edge.auth.check(access, request.headers()).await;
    let identity = identity.map_err(|denied| {
        tracing::debug!(target: "api", ?denied, ?address, "denied");
        Failure::from(Problem::from(denied))
    })?;
    request.extensions_mut().insert(Caller {
        claims: identity.claims,
        is_admin: identity.scopes.has(Scope::Admin),
        subject: identity.subject,
        address,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map(str::to_owned)
    }

    #[test]
    fn credentials_come_once_and_in_one_way() {
        assert_eq!(of(&[("authorization", "Bearer x")]).unwrap(), "x");
        assert_eq!(of(&[("authorization", "bearer  x ")]).unwrap(), "x");
        assert_eq!(of(&[("x-api-key", "x")]).unwrap(), "x");
        assert_eq!(of(&[]), Err(Denied::Missing));
        let long = format!("Bearer {}", "x".repeat(LONGEST + 1));
        for pairs in [
            &[("authorization", "Bearer x"), ("authorization", "Bearer y")][..],
            &[("authorization", "Bearer x"), ("x-api-key", "y")],
            &[("x-api-key", "x"), ("x-api-key", "y")],
            &[("authorization", "Basic x")],
            &[("authorization", "x")],
            &[("authorization", "Bearer ")],
            &[("x-api-key", "")],
            &[("authorization", long.as_str())],
        ] {
            assert_eq!(of(pairs), Err(Denied::Invalid), "{pairs:?}");
        }
    }
}
