//! Keys of an identity provider, fetched and kept.
//!
//! Invariants: a key that appears is found at the first token that names it; unknown key ids cannot
//! make this server ask the provider more often than every few seconds; while the provider is away
//! the keys that it gave stay in force; symmetric keys are never taken from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::auth::Denied;

/// How old keys may get before they are fetched again.
const FRESH: Duration = Duration::from_mins(5);
/// The least time between two fetches.
const PAUSE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST: usize = 1 << 20;
/// Keys that are tried for a token that names none.
const MOST_KEYS: usize = 32;

/// One key.
pub(super) struct Key {
    id: Option<String>,
    pub(super) decoding: DecodingKey,
    /// The only algorithm that it is meant for, where it says so.
    pub(super) algorithm: Option<Algorithm>,
}

struct Set {
    keys: Vec<Arc<Key>>,
    fetched: Instant,
}

/// The keys behind an address.
pub(crate) struct Jwks {
    uri: reqwest::Url,
    client: reqwest::Client,
    set: ArcSwapOption<Set>,
    tried: Mutex<Option<Instant>>,
    pause: Duration,
}

impl Jwks {
    /// # Errors
    /// When the address is none.
    pub(crate) fn new(uri: &str) -> Result<Self, String> {
        let uri: reqwest::Url = uri.parse().map_err(|error| format!("{error}"))?;
        if !matches!(uri.scheme(), "http" | "https") {
            return Err("write https://HOST/PATH".to_owned());
        }
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            uri,
            client,
            set: ArcSwapOption::empty(),
            tried: Mutex::new(None),
            pause: PAUSE,
        })
    }

    /// The keys that a token with this key id may be signed with.
    pub(super) async fn find(self: &Arc<Self>, id: Option<&str>) -> Result<Vec<Arc<Key>>, Denied> {
        if let Some(set) = self.set.load_full() {
            let found = set.find(id);
            if !found.is_empty() {
                if set.fetched.elapsed() > FRESH {
                    // Nobody waits for it.
                    let this = self.clone();
                    tokio::spawn(async move { this.refresh().await });
                }
                return Ok(found);
            }
        }
        self.refresh().await;
        match self.set.load_full() {
            Some(set) => Ok(set.find(id)),
            None => Err(Denied::NoKeys),
        }
    }

    /// Fetches the keys, unless that was just tried.
    async fn refresh(&self) {
        let mut tried = self.tried.lock().await;
        if tried.is_some_and(|at| at.elapsed() < self.pause) {
            return;
        }
        *tried = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                tracing::info!(target: "api", keys = keys.len(), "keys of the identity provider");
                self.set.store(Some(Arc::new(Set {
                    keys,
                    fetched: Instant::now(),
                })));
            }
            Err(error) => {
                tracing::warn!(target: "api", error, "--jwt-jwks-uri: no new keys");
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Arc<Key>>, String> {
        let said = |error: reqwest::Error| error.without_url().to_string();
        let answer = self
            .client
            .get(self.uri.clone())
            .send()
            .await
            .map_err(said)?;
        let mut answer = answer.error_for_status().map_err(said)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err("the answer is too large".to_owned());
            }
        }
        parse(&body)
    }

    #[cfg(test)]
    pub(crate) fn impatient(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
    }
}

impl Set {
    fn find(&self, id: Option<&str>) -> Vec<Arc<Key>> {
        self.keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .cloned()
            .collect()
    }
}

/// Keys of kinds that are not known here are left out: one of them must not lock everybody out.
fn parse(body: &[u8]) -> Result<Vec<Arc<Key>>, String> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let document: Document = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let keys = document.keys.into_iter().filter_map(key).map(Arc::new);
    Ok(keys.take(MOST_KEYS).collect())
}

fn key(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        return None;
    }
    match jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => {}
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => return None,
    }
    let algorithm = match jwk.common.key_algorithm {
        Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
        None => None,
    };
    Some(Key {
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
        algorithm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    fn count(keys: &str) -> usize {
        parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes())
            .unwrap()
            .len()
    }

    #[test]
    fn only_public_keys_for_signatures_are_taken() {
        assert_eq!(count(EC), 1);
        let secret = r#"{"kty":"oct","kid":"s","k":"AAECAwQFBgcICQoLDA0ODw"}"#;
        let encryption = EC.replace(r#""kid""#, r#""use":"enc","kid""#);
        let unknown = r#"{"kty":"XYZ","kid":"u"}"#;
        let broken = r#"{"kty":"RSA","kid":"b"}"#;
        let keys = [secret, &encryption, unknown, broken, "1", EC].join(",");
        assert_eq!(count(&keys), 1);
    }

    #[test]
    fn what_is_no_key_set_is_an_error() {
        for body in ["", "{}", "[]", r#"{"keys":{}}"#] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn an_address_is_http() {
        for uri in ["", "file:///etc/keys", "issuer.example/keys"] {
            assert!(Jwks::new(uri).is_err(), "{uri}");
        }
    }
}
