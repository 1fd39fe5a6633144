//! The golden set where the spec says that it is, before anybody has scored it.
//!
//! Invariant: whatever is wrong with it becomes a sentence that says what to do.

use crds::v1alpha1::reward_model::rollout::GoldenSet;
use crds::value::Digest;
use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest as _, Sha256};

/// A golden set, as it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetFile {
    /// There is no such ConfigMap or claim.
    Missing,
    /// The ConfigMap has no such key, but these.
    NoKey(Vec<String>),
    /// It has nothing in it.
    Empty,
    /// It is there, with this SHA-256.
    Holds(Digest),
    /// Its claim is there; only a pod can read it.
    InClaim,
    /// It could not be looked up.
    Unreadable(String),
}

impl SetFile {
    /// What `key` of a ConfigMap holds, where there is one.
    pub fn of_config_map(found: Option<&ConfigMap>, key: &str) -> Self {
        let Some(map) = found else {
            return Self::Missing;
        };
        let text = map.data.as_ref().and_then(|data| data.get(key));
        let binary = map.binary_data.as_ref().and_then(|data| data.get(key));
        let bytes = text
            .map(String::as_bytes)
            .or_else(|| binary.map(|bytes| bytes.0.as_slice()));
        match bytes {
            None => {
                let texts = map.data.iter().flat_map(|data| data.keys());
                let binary = map.binary_data.iter().flat_map(|data| data.keys());
                Self::NoKey(texts.chain(binary).take(10).cloned().collect())
            }
            Some(bytes) if bytes.trim_ascii().is_empty() => Self::Empty,
            Some(bytes) => {
                let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
                Self::Holds(digest.as_str().into())
            }
        }
    }

    /// What is wrong with it, and what to do.
    pub(super) fn problem(&self, set: &GoldenSet) -> Option<String> {
        let place = place(set);
        match self {
            Self::Holds(_) | Self::InClaim => None,
            Self::Missing if set.claim.is_some() => Some(format!(
                "there is no {place} in this namespace: create it, or correct rollout.goldenSet"
            )),
            Self::Missing => Some(format!(
                "there is no {place} in this namespace: create it, or correct rollout.goldenSet (a ConfigMap holds 1 MiB at most; a larger set goes into a claim, rollout.goldenSet.claim)"
            )),
            Self::NoKey(keys) if keys.is_empty() => Some(format!(
                "{place} is empty: put one JSON object a line there, {LINE}"
            )),
            Self::NoKey(keys) => Some(format!(
                "{place} is not there, the ConfigMap has {}: correct rollout.goldenSet.configMapRef.key",
                keys.join(", ")
            )),
            Self::Empty => Some(format!(
                "{place} is empty: put one JSON object a line there, {LINE}"
            )),
            Self::Unreadable(why) => Some(format!("{place} could not be read: {why}")),
        }
    }
}

/// What a line is.
const LINE: &str = r#"{"prompt"?, "chosen", "rejected", "category"?}"#;

/// Where the spec says that the set is.
pub(super) fn place(set: &GoldenSet) -> String {
    match (&set.config_map_ref, &set.claim) {
        (Some(map), _) => format!("ConfigMap {:?}, key {:?}", map.name, map.key),
        (None, Some(claim)) => format!("PersistentVolumeClaim {:?}", claim.claim_name),
        (None, None) => "set".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(map: Value, key: &str) -> SetFile {
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        SetFile::of_config_map(Some(&map), key)
    }

    fn set(value: Value) -> GoldenSet {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_set_is_known_by_the_sha_256_of_its_bytes_in_either_form() {
        // printf 'abc' | sha256sum
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let holds = SetFile::Holds(digest.into());
        assert_eq!(read(json!({"data": {"k": "abc"}}), "k"), holds);
        assert_eq!(read(json!({"binaryData": {"k": "YWJj"}}), "k"), holds);
    }

    #[test]
    fn what_is_wrong_with_a_set_says_what_to_do() {
        let in_map = set(json!({"configMapRef": {"name": "pairs", "key": "k"}}));
        let in_claim = set(json!({"claim": {"claimName": "sets", "path": "a"}}));
        for (file, set, expected) in [
            (
                SetFile::of_config_map(None, "k"),
                &in_map,
                "goes into a claim",
            ),
            (
                read(json!({"data": {"other": "a"}}), "k"),
                &in_map,
                "has other: correct",
            ),
            (read(json!({}), "k"), &in_map, "is empty"),
            (
                read(json!({"data": {"k": " \n"}}), "k"),
                &in_map,
                "one JSON object a line",
            ),
            (
                SetFile::Missing,
                &in_claim,
                "no PersistentVolumeClaim \"sets\"",
            ),
            (
                SetFile::Unreadable("forbidden".to_owned()),
                &in_map,
                "forbidden",
            ),
        ] {
            let said = file.problem(set).unwrap();
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(SetFile::InClaim.problem(&in_claim), None);
    }
}
