//! Static keys, for clients that have no identity provider.
//!
//! A line of the file is `NAME KEY [SCOPE,SCOPE]`, where KEY may be `sha256:` and the hex digest of
//! the key. Invariants: keys are kept as hashes; a comparison takes the same time for all keys.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::auth::{Identity, Scopes};
use crate::http::base::routes::Scope;

/// Shorter keys can be guessed.
const SHORTEST: usize = 16;

/// The keys of a file.
pub(crate) struct ApiKeys(Vec<ApiKey>);

struct ApiKey {
    name: String,
    hash: [u8; 32],
    scopes: Scopes,
}

impl ApiKeys {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// A sentence with the line's number, and nothing of its content.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(index, line)| {
                ApiKey::parse(line).map_err(|error| format!("line {}: {error}", index + 1))
            });
        Ok(Self(keys.collect::<Result<_, _>>()?))
    }

    /// Whose key it is.
    pub(super) fn find(&self, key: &str) -> Option<Identity> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut found = None;
        // All of them, so that time does not tell which one it was.
        for known in &self.0 {
            if bool::from(known.hash.ct_eq(&hash)) {
                found = Some(known);
            }
        }
        found.map(|known| Identity {
            claims: std::sync::Arc::default(),
            subject: Some(format!("key:{}", known.name)),
            scopes: known.scopes,
        })
    }
}

impl ApiKey {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let (Some(name), Some(key), scopes, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("write NAME KEY [SCOPE,SCOPE]".to_owned());
        };
        let hash = match key.strip_prefix("sha256:") {
            Some(digest) => hash(digest)
                .ok_or_else(|| "sha256: must be followed by 64 hex digits".to_owned())?,
            None if key.len() < SHORTEST => {
                return Err(format!(
                    "the key is too short: use {SHORTEST} characters or more"
                ));
            }
            None => Sha256::digest(key.as_bytes()).into(),
        };
        let scopes = match scopes {
            None => Scopes::from_iter([Scope::Score]),
            Some(scopes) => scopes
                .split(',')
                .map(|scope| {
                    Scope::parse(scope).ok_or("scopes are score, evaluate, feedback and admin")
                })
                .collect::<Result<Scopes, _>>()?,
        };
        Ok(Self {
            name: name.to_owned(),
            hash,
            scopes,
        })
    }
}

fn hash(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_itself_or_by_its_hash() {
        let digest = hex::encode(Sha256::digest(b"second-key-0123456789"));
        let file = format!(
            "# trainers\n\nfirst first-key-0123456789\nsecond sha256:{digest} score,admin\n"
        );
        let keys = ApiKeys::parse(file.as_bytes()).unwrap();
        let first = keys.find("first-key-0123456789").unwrap();
        assert_eq!(first.subject.as_deref(), Some("key:first"));
        assert!(first.scopes.has(Scope::Score) && !first.scopes.has(Scope::Admin));
        let second = keys.find("second-key-0123456789").unwrap();
        assert!(second.scopes.has(Scope::Admin) && !second.scopes.has(Scope::Evaluate));
        for stranger in [
            "",
            "first",
            "first-key-012345678",
            &format!("sha256:{digest}"),
        ] {
            assert!(keys.find(stranger).is_none(), "{stranger}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for line in [
            "name",
            "name short",
            "name secret-0123456789 score more",
            "name secret-0123456789 root",
            "name sha256:12",
            "name sha256:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            let error = ApiKeys::parse(format!("\n{line}").as_bytes())
                .err()
                .unwrap();
            assert!(error.starts_with("line 2: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(ApiKeys::parse(&[0xff]).is_err());
    }
}
