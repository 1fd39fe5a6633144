//! JSON web tokens.
//!
//! Invariants: the algorithms are those of the configuration, and each key serves only those of its
//! own kind, so a token cannot choose how it is checked; `exp` is required, `nbf` is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::Reloaded;
use super::auth::{Denied, Identity};
use super::jwks::Jwks;
use crate::http::base::routes::Scope;

/// A shorter secret can be found by trying (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// What tokens must say.
#[derive(Clone, Debug, Default)]
pub(crate) struct JwtSettings {
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    /// How far the clocks of issuer and server may differ.
    pub(crate) leeway: Duration,
}

/// Checks tokens.
pub(crate) struct Jwt {
    settings: JwtSettings,
    secret: Option<Reloaded<DecodingKey>>,
    keys: Option<Arc<Jwks>>,
}

/// What is read of a token.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    scope: Option<Value>,
    #[serde(default)]
    scp: Option<Value>,
    #[serde(default)]
    scopes: Option<Value>,
    /// All others, one of which may say whose request it is.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Jwt {
    /// # Errors
    /// When an algorithm has no key to go with it, or a key no algorithm.
    pub(crate) fn new(
        settings: JwtSettings,
        secret: Option<Reloaded<DecodingKey>>,
        keys: Option<Arc<Jwks>>,
    ) -> Result<Self, String> {
        let symmetric = |algorithm: &Algorithm| is_of(*algorithm, AlgorithmFamily::Hmac);
        let (shared, published) = (
            settings.algorithms.iter().any(symmetric),
            !settings.algorithms.iter().all(symmetric),
        );
        if shared != secret.is_some() {
            return Err(
                "HS256, HS384 and HS512 go with --jwt-secret-file, and it with them".into(),
            );
        }
        if published != keys.is_some() {
            return Err(
                "RS, PS, ES and EdDSA algorithms go with --jwt-jwks-uri, and it with them".into(),
            );
        }
        Ok(Self {
            settings,
            secret,
            keys,
        })
    }

    /// Whose token it is.
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, Denied> {
        let header = decode_header(token).map_err(|_| Denied::Invalid)?;
        // An extension that has to be understood, and is not.
        if header.crit.is_some() || !self.settings.algorithms.contains(&header.alg) {
            return Err(Denied::Invalid);
        }
        if let Some(secret) = &self.secret
            && let Ok(identity) = self.check(token, &secret.get())
        {
            return Ok(identity);
        }
        let Some(keys) = &self.keys else {
            return Err(Denied::Invalid);
        };
        let candidates = keys.find(header.kid.as_deref()).await?;
        candidates
            .iter()
            .filter(|key| key.algorithm.is_none_or(|own| own == header.alg))
            .find_map(|key| self.check(token, &key.decoding).ok())
            .ok_or(Denied::Invalid)
    }

    fn check(&self, token: &str, key: &DecodingKey) -> Result<Identity, Denied> {
        let of_key = |algorithm: &&Algorithm| is_of(**algorithm, key.family());
        let algorithms: Vec<_> = self
            .settings
            .algorithms
            .iter()
            .filter(of_key)
            .copied()
            .collect();
        let first = algorithms.first().ok_or(Denied::Invalid)?;
        let mut validation = Validation::new(*first);
        validation.algorithms = algorithms;
        validation.leeway = self.settings.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        // Without one of ours, a token that names an audience is meant for somebody else.
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let claims = decode::<Claims>(token, key, &validation)
            .map_err(|_| Denied::Invalid)?
            .claims;
        Ok(claims.identity())
    }
}

impl Claims {
    fn identity(self) -> Identity {
        let claims = [self.scope, self.scp, self.scopes];
        let words = claims.iter().flatten().flat_map(words);
        let others = self.others.into_iter();
        let others = others.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        let sub = self.sub.clone().map(|sub| ("sub".to_owned(), sub));
        Identity {
            claims: Arc::new(others.chain(sub).collect()),
            subject: self.sub.map(|subject| format!("jwt:{subject}")),
            scopes: words.filter_map(Scope::parse).collect(),
        }
    }
}

/// Scopes come as one string with spaces, or as a list.
fn words(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

pub(super) fn is_of(algorithm: Algorithm, family: AlgorithmFamily) -> bool {
    family.algorithms().contains(&algorithm)
}

/// A shared secret from a file. The last line end is not part of it.
///
/// # Errors
/// When it is too short.
pub(crate) fn secret(bytes: &[u8]) -> Result<DecodingKey, String> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SHORTEST_SECRET {
        return Err(format!(
            "the secret has {} bytes: use {SHORTEST_SECRET} or more, such as `openssl rand -hex 32`",
            secret.len()
        ));
    }
    Ok(DecodingKey::from_secret(secret))
}
