//! What makes a revision this revision: canonical JSON, its hash, and the names made of it.
//!
//! Invariant: the hash depends on nothing but the spec's `model` (less what changes no score),
//! `server` and the resolved digest, so that a new default of the operator restarts no model.

mod admin_key;
pub mod canonical;
pub mod names;

use std::fmt;

use crds::RewardModelSpec;
use crds::value::Digest;
use serde_json::{Value, json};

pub use admin_key::AdminKey;

/// Hash of a revision: ten hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionHash(String);

impl RevisionHash {
    /// A hash as it stands in a label or status, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 10 && hex).then(|| Self(text.to_owned()))
    }

    /// The ten digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RevisionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a source: the same source is read once, whatever is pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(String);

impl SourceKey {
    /// A key as it stands in a status.
    pub fn from_status(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The ten digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One reading of a source: which, and how often it was read anew on the command `retry`. What a
/// later reading found counts more than what an earlier one did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verification {
    /// The source.
    pub source: SourceKey,
    /// Counts the readings.
    pub attempt: u32,
}

impl Verification {
    /// A verification as it stands in an annotation, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let (source, attempt) = text.split_once('.')?;
        Some(Self {
            source: SourceKey(source.to_owned()),
            attempt: attempt.parse().ok()?,
        })
    }

    /// Whether what this reading found answers `wanted`.
    pub fn answers(&self, wanted: &Self) -> bool {
        self.source == wanted.source && self.attempt >= wanted.attempt
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.source.0, self.attempt)
    }
}

/// The part of a spec that a revision is made of.
pub fn revision_spec(spec: &RewardModelSpec) -> Value {
    let mut model = canonical::to_value(&spec.model);
    if let Some(fields) = model.as_object_mut() {
        for absent in ["digest", "requireDigest", "cache", "calibration"] {
            fields.remove(absent);
        }
    }
    json!({ "model": model, "server": canonical::to_value(&spec.server) })
}

/// The hash of the revision that `spec` asks for, with the digest that its source resolved to.
pub fn revision_hash(spec: &RewardModelSpec, digest: &Digest) -> RevisionHash {
    let mut identity = revision_spec(spec);
    if let Some(fields) = identity.as_object_mut() {
        fields.insert("digest".to_owned(), Value::from(digest.as_str()));
    }
    RevisionHash(canonical::short_hash(&identity))
}

/// The key of the source that `spec` names, and of the cache that it is fetched to: in another one it
/// is not there yet.
pub fn source_key(spec: &RewardModelSpec) -> SourceKey {
    let source = canonical::to_value(&spec.model.source);
    let cache = spec.model.cache.as_ref();
    let read = match cache.filter(|_| spec.model.source.pvc.is_none()) {
        Some(cache) => json!({"source": source, "cache": canonical::to_value(cache)}),
        None => source,
    };
    SourceKey(canonical::short_hash(&read))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn spec(value: Value) -> RewardModelSpec {
        serde_json::from_value(value).unwrap()
    }

    fn hash(value: Value) -> RevisionHash {
        revision_hash(&spec(value), &DIGEST.into())
    }

    fn model() -> Value {
        json!({"source": {"pvc": {"claimName": "models", "path": "v1"}}})
    }

    #[test]
    fn what_changes_no_score_changes_no_revision() {
        let plain = hash(json!({"model": model()}));
        let mut decorated = model();
        decorated["digest"] = DIGEST.into();
        decorated["requireDigest"] = true.into();
        decorated["calibration"] = json!({"scale": "2"});
        decorated["cache"] = json!({"claimName": "cache"});
        decorated["head"] = json!({});
        let decorated = json!({"model": decorated, "server": {"args": [], "resources": {}}, "replicas": 7, "suspend": true});
        assert_eq!(hash(decorated), plain);
    }

    #[test]
    fn what_changes_scores_or_pods_changes_the_revision() {
        let plain = hash(json!({"model": model()}));
        for other in [
            json!({"model": {"source": {"pvc": {"claimName": "models", "path": "v2"}}}}),
            json!({"model": model(), "server": {"args": ["--threads", "2"]}}),
            json!({"model": model(), "server": {"image": "example.com/server:2"}}),
        ] {
            assert_ne!(hash(other), plain);
        }
        let other_digest = DIGEST.replace('0', "1");
        assert_ne!(
            revision_hash(
                &spec(json!({"model": model()})),
                &other_digest.as_str().into()
            ),
            plain
        );
    }

    #[test]
    fn the_hash_of_a_known_spec_never_changes() {
        // A changed hash would restart every model at an operator upgrade. The figure is SHA-256
        // over the sorted JSON, as Python computes it.
        assert_eq!(hash(json!({"model": model()})).as_str(), "6ffeed615d");
    }

    #[test]
    fn another_cache_is_another_reading_and_no_other_revision() {
        let of = |claim: &str| {
            let source = json!({"objectStore": {"url": "s3://bucket/model"}});
            spec(json!({"model": {"source": source, "cache": {"claimName": claim}}}))
        };
        let (one, other) = (of("a"), of("b"));
        assert_ne!(source_key(&one), source_key(&other));
        let hash = |spec| revision_hash(spec, &DIGEST.into());
        assert_eq!(hash(&one), hash(&other));
    }

    #[test]
    fn only_ten_hex_digits_are_a_hash() {
        assert!(RevisionHash::parse("0123456789").is_some());
        for text in [
            "",
            "012345678",
            "01234567890",
            "012345678g",
            "ABCDEF0123",
            "é234567890",
        ] {
            assert_eq!(RevisionHash::parse(text), None, "{text}");
        }
    }
}
