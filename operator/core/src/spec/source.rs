//! Where the model of a spec comes from, and what is wrong with what it says of that.
//!
//! Invariant: a source that passes can be fetched or mounted as it stands; credentials are named by
//! their Secret and are in no address.

use crds::RewardModelSpec;
use crds::conditions::StalledReason;
use crds::v1alpha1::reward_model::model::{
    HuggingFaceSource, ObjectStoreSource, PvcSource, SecretKey, SecretName,
};
use crds::v1alpha1::reward_model::rollout::Strategy;
use crds::value::Digest;

use crate::Failure;
use crate::observed::Claim;

/// The folder of a cache's volume that is ours; what else lies there is left alone.
const FETCHED: &str = "fetched";

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of a claim, read in place.
    Volume(Mount),
    /// Somewhere else, from where it is fetched.
    Remote(Remote),
}

/// A folder of a volume that a model is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The claim that is mounted, read-only.
    pub claim: String,
    /// The model's folder in it; empty for its root.
    pub folder: String,
}

/// A model that is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// As `inference-server fetch` takes it, such as `hf://OWNER/NAME@REVISION`.
    pub address: String,
    /// Another hub than the public one.
    pub endpoint: Option<String>,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
    /// The claim that it is fetched to once; without one each pod fetches it.
    pub cache: Option<String>,
}

/// A Secret, by its name alone: what is in it nobody here reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The token of a hub.
    Token(SecretKey),
    /// The environment of an object store's tools.
    Environment(SecretName),
}

impl Remote {
    /// The folder of a cache's volume that models are fetched to.
    pub const fn folder() -> &'static str {
        FETCHED
    }

    /// Where its model is in the cache, if it has one, once its digest is known.
    pub fn mount(&self, digest: &Digest) -> Option<Mount> {
        Some(Mount {
            claim: self.cache.clone()?,
            folder: format!("{FETCHED}/{}", digest.as_str().replace(':', "-")),
        })
    }
}

/// The claim that the pods of a spec mount, and the field that names it.
pub fn claim(spec: &RewardModelSpec) -> Option<(&str, &'static str)> {
    match (&spec.model.source.pvc, &spec.model.cache) {
        (Some(pvc), _) => Some((&pvc.claim_name, "model.source.pvc.claimName")),
        (None, Some(cache)) => Some((&cache.claim_name, "model.cache.claimName")),
        (None, None) => None,
    }
}

/// `words` about a volume, with the claim and the path that they are about: the scheduler and the server, who
/// say them, know neither.
pub(crate) fn placed(spec: &RewardModelSpec, words: &str) -> String {
    let Some((name, field)) = claim(spec) else {
        return words.to_owned();
    };
    if words.contains(&format!("{name:?}")) {
        return words.to_owned();
    }
    let path = spec.model.source.pvc.as_ref();
    let path = path.and_then(|pvc| pvc.path.as_deref());
    let path = path.map_or_else(String::new, |path| {
        format!(" and path {path:?} of model.source.pvc.path")
    });
    format!(
        "{words} (PersistentVolumeClaim {name:?} of {field}{path}: `kubectl describe pvc {name}` tells of the claim)"
    )
}

/// Whether a scheduler's words are about a claim.
pub(crate) fn is_about_a_claim(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("persistentvolumeclaim") || words.contains("volume node affinity")
}

/// Whether that claim is written to: models are fetched into it.
pub const fn writes_claim(spec: &RewardModelSpec) -> bool {
    spec.model.source.pvc.is_none() && spec.model.cache.is_some()
}

/// The source that a spec names.
///
/// # Errors
/// A sentence that says what to do.
pub(super) fn read(spec: &RewardModelSpec) -> Result<Source, String> {
    let source = &spec.model.source;
    let found =
        match (&source.pvc, &source.hugging_face, &source.object_store) {
            (Some(pvc), None, None) => Source::Volume(mount(pvc)?),
            (None, Some(hub), None) => Source::Remote(of_hub(hub, spec)?),
            (None, None, Some(store)) => Source::Remote(of_store(store, spec)?),
            (None, None, None) => return Err(
                "model.source names no source: set model.source.pvc, huggingFace or objectStore"
                    .to_owned(),
            ),
            (Some(_), _, _) | (None, Some(_), Some(_)) => {
                return Err("model.source names more than one source: keep one".to_owned());
            }
        };
    if spec.model.require_digest == Some(true) && spec.model.digest.is_none() {
        return Err("model.requireDigest is true: set model.digest (`inference-server verify --model DIR` prints it)".to_owned());
    }
    match (&found, &spec.model.digest) {
        (Source::Volume(_), _) if spec.model.cache.is_some() => Err(
            "model.cache is where remote sources are fetched to, and would be without effect beside model.source.pvc: remove it".to_owned(),
        ),
        (Source::Remote(Remote { cache: None, .. }), None) => Err(
            "a remote source needs model.cache.claimName, where it is fetched to once, or model.digest, against which each pod checks its own copy: set one of them".to_owned(),
        ),
        (Source::Volume(_) | Source::Remote(_), _) => Ok(found),
    }
}

fn mount(pvc: &PvcSource) -> Result<Mount, String> {
    let path = pvc.path.as_deref().unwrap_or_default();
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "model.source.pvc.path {path:?} leaves the volume: write it relative to the volume's root and without '..'"
        ));
    }
    Ok(Mount {
        claim: pvc.claim_name.clone(),
        folder: path.trim_matches('/').to_owned(),
    })
}

fn of_hub(hub: &HuggingFaceSource, spec: &RewardModelSpec) -> Result<Remote, String> {
    let (repo, revision) = (&hub.repo, &hub.revision);
    if repo.split('/').count() != 2 || !is_plain(repo) {
        return Err(format!(
            "model.source.huggingFace.repo {repo:?} is none: write OWNER/NAME"
        ));
    }
    if hub.allow_mutable != Some(true) && !is_commit(revision) {
        return Err(format!(
            "model.source.huggingFace.revision {revision:?} may be another model tomorrow: write a commit of 40 hex digits, or set allowMutable: true to follow a branch or tag"
        ));
    }
    if !is_plain(revision) {
        return Err(format!(
            "model.source.huggingFace.revision {revision:?} is no branch, tag or commit: correct it"
        ));
    }
    if let Some(endpoint) = &hub.endpoint {
        let schemes = ["https://", "http://"];
        check_address("model.source.huggingFace.endpoint", endpoint, &schemes)?;
    }
    Ok(Remote {
        address: format!("hf://{repo}@{revision}"),
        endpoint: hub.endpoint.clone(),
        credentials: hub.token_secret_ref.clone().map(Credentials::Token),
        cache: cache(spec),
    })
}

fn of_store(store: &ObjectStoreSource, spec: &RewardModelSpec) -> Result<Remote, String> {
    let schemes = ["s3://", "gs://", "az://", "https://"];
    check_address("model.source.objectStore.url", &store.url, &schemes)?;
    Ok(Remote {
        address: store.url.trim_end_matches('/').to_owned(),
        endpoint: None,
        credentials: store.secret_ref.clone().map(Credentials::Environment),
        cache: cache(spec),
    })
}

fn cache(spec: &RewardModelSpec) -> Option<String> {
    let cache = spec.model.cache.as_ref();
    cache.map(|cache| cache.claim_name.clone())
}

/// An address is told to everybody: in arguments, messages and events.
fn check_address(field: &str, address: &str, schemes: &[&str]) -> Result<(), String> {
    let rest = schemes
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        let schemes = schemes.join(", ");
        return Err(format!(
            "{field} is no address: begin it with one of {schemes}, and name a host or bucket"
        ));
    };
    if rest.contains(['@', '?', '#']) {
        return Err(format!(
            "{field} has a part that may be a secret ('@', '?' or '#'), and everybody can read it here: put credentials into a Secret and name it in tokenSecretRef or secretRef"
        ));
    }
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if rest.contains(is_odd) || rest.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(format!(
            "{field} has white space, '\\' or a part '..' in it: write it without"
        ));
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.split('/')
        .all(|part| part.chars().all(is_good) && !matches!(part, "" | "." | ".."))
}

fn is_commit(revision: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    revision.len() == 40 && revision.bytes().all(hex)
}

/// Checks the claim that a spec's pods mount.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_claim(
    spec: &RewardModelSpec,
    found: Claim,
    strategy: Strategy,
) -> Result<(), Failure> {
    let Some((name, field)) = claim(spec) else {
        return Ok(());
    };
    match found {
        Claim::Missing => Err(Failure::new(
            StalledReason::VolumeUnavailable,
            format!(
                "there is no PersistentVolumeClaim {name:?} in this namespace: create it, or correct {field}"
            ),
        )),
        Claim::Present { lost: true, .. } => Err(Failure::new(
            StalledReason::VolumeUnavailable,
            format!(
                "PersistentVolumeClaim {name:?} has lost its volume: restore the volume, or name another claim"
            ),
        )),
        Claim::ReadOnly => Err(Failure::new(
            StalledReason::InvalidSpec,
            format!(
                "PersistentVolumeClaim {name:?} is ReadOnlyMany, so nothing can be fetched into it: name a claim that is ReadWriteMany (or ReadWriteOnce, where all pods are on one node) in {field}"
            ),
        )),
        Claim::Present {
            one_pod_only: true, ..
        } if strategy == Strategy::Canary => Err(Failure::new(
            StalledReason::InvalidSpec,
            format!(
                "PersistentVolumeClaim {name:?} is ReadWriteOncePod, so a new revision cannot start beside the old one: use ReadOnlyMany or ReadWriteMany, or set rollout.strategy: Recreate"
            ),
        )),
        Claim::Present { .. } | Claim::NotNeeded | Claim::NotAsked => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn spec(model: Value) -> RewardModelSpec {
        serde_json::from_value(json!({ "model": model })).unwrap()
    }

    fn cached(source: Value) -> RewardModelSpec {
        spec(json!({"source": source, "cache": {"claimName": "cache"}}))
    }

    fn hub(more: Value) -> RewardModelSpec {
        let mut hub = json!({"repo": "team/model", "revision": COMMIT});
        hub.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        cached(json!({ "huggingFace": hub }))
    }

    #[rstest]
    #[case::no_owner(json!({"repo": "model"}), "OWNER/NAME")]
    #[case::deep(json!({"repo": "a/b/c"}), "OWNER/NAME")]
    #[case::up(json!({"repo": "../model"}), "OWNER/NAME")]
    #[case::query(json!({"repo": "team/model?x"}), "OWNER/NAME")]
    #[case::branch(json!({"revision": "main"}), "allowMutable")]
    #[case::short(json!({"revision": "0123456789"}), "allowMutable")]
    #[case::capitals(json!({"revision": COMMIT.to_uppercase()}), "allowMutable")]
    #[case::odd_branch(json!({"revision": "a b", "allowMutable": true}), "no branch")]
    #[case::up_branch(json!({"revision": "../x", "allowMutable": true}), "no branch")]
    #[case::no_scheme(json!({"endpoint": "hub.example"}), "no address")]
    #[case::other_scheme(json!({"endpoint": "file:///etc"}), "no address")]
    #[case::password(json!({"endpoint": "https://me:secret@hub.example"}), "tokenSecretRef")]
    #[case::signed(json!({"endpoint": "https://hub.example?token=secret"}), "tokenSecretRef")]
    fn a_bad_hub_says_what_to_do_and_repeats_no_secret(#[case] more: Value, #[case] words: &str) {
        let why = read(&hub(more)).unwrap_err();
        assert!(why.contains(words), "{why}");
        assert!(
            !why.contains("secret@") && !why.contains("=secret"),
            "{why}"
        );
    }

    #[rstest]
    #[case::ftp("ftp://a/b", "no address")]
    #[case::file("file:///etc", "no address")]
    #[case::http("http://store/models", "no address")]
    #[case::nothing("s3://", "no address")]
    #[case::root("s3:///models", "no address")]
    #[case::password("https://me:secret@store/models", "secretRef")]
    #[case::signed("https://store/models?X-Amz-Signature=secret", "secretRef")]
    #[case::up("s3://bucket/../other", "'..'")]
    #[case::space("s3://bucket/a b", "white space")]
    fn a_bad_store_says_what_to_do_and_repeats_no_secret(#[case] url: &str, #[case] words: &str) {
        let why = read(&cached(json!({"objectStore": {"url": url}}))).unwrap_err();
        assert!(why.contains(words), "{why}");
        assert!(
            !why.contains("secret@") && !why.contains("=secret"),
            "{why}"
        );
    }

    #[test]
    fn all_sources_at_once_are_one_sentence() {
        let all = json!({
            "pvc": {"claimName": "a"},
            "huggingFace": {"repo": "?", "revision": "?", "endpoint": "?"},
            "objectStore": {"url": "?"},
        });
        let why = read(&cached(all)).unwrap_err();
        assert!(why.contains("keep one"), "{why}");
    }

    #[test]
    fn a_remote_source_is_fetched_once_or_checked_by_each_pod() {
        let source = json!({"objectStore": {"url": "s3://bucket/model/"}});
        let why = read(&spec(json!({ "source": source }))).unwrap_err();
        assert!(
            why.contains("model.cache.claimName") && why.contains("model.digest"),
            "{why}"
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        let alone = read(&spec(json!({"source": source, "digest": digest})));
        let Ok(Source::Remote(remote)) = alone else {
            panic!("{alone:?}")
        };
        assert_eq!(remote.address, "s3://bucket/model");
        assert_eq!(remote.mount(&digest.as_str().into()), None);
    }

    #[test]
    fn a_cache_has_a_folder_for_each_digest() {
        let Ok(Source::Remote(remote)) = read(&hub(json!({}))) else {
            panic!("not remote")
        };
        assert_eq!(remote.address, format!("hf://team/model@{COMMIT}"));
        let digest = format!("sha256:{}", "a".repeat(64));
        let mount = remote.mount(&digest.as_str().into()).unwrap();
        assert_eq!(mount.claim, "cache");
        assert_eq!(mount.folder, format!("fetched/sha256-{}", "a".repeat(64)));
    }

    #[test]
    fn a_digest_that_is_required_is_asked_for_whatever_the_source() {
        for source in [
            json!({"pvc": {"claimName": "a"}}),
            json!({"objectStore": {"url": "s3://a"}}),
        ] {
            let model =
                json!({"source": source, "cache": {"claimName": "c"}, "requireDigest": true});
            let why = read(&spec(model)).unwrap_err();
            assert!(why.contains("model.digest"), "{why}");
        }
    }

    #[test]
    fn a_cache_beside_a_volume_is_no_silent_wish() {
        let model = json!({"source": {"pvc": {"claimName": "a"}}, "cache": {"claimName": "c"}});
        let why = read(&spec(model)).unwrap_err();
        assert!(why.contains("remove it"), "{why}");
    }

    #[rstest]
    #[case(Claim::Missing, "model.cache.claimName")]
    #[case(Claim::ReadOnly, "ReadWriteMany")]
    #[case(Claim::Present { lost: true, one_pod_only: false }, "restore")]
    #[case(Claim::Present { lost: false, one_pod_only: true }, "Recreate")]
    fn a_bad_cache_says_what_to_do(#[case] claim: Claim, #[case] words: &str) {
        let failure = check_claim(&hub(json!({})), claim, Strategy::Canary).unwrap_err();
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}
