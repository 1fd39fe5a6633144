//! The hub, redirects, S3 and the cache, against servers of this process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use inference_models::digest;

use super::stand_in::{COMMIT, StandIn};
use super::tests::{demo, digest_of_demo};
use super::*;

const TOKEN: &str = "hf_verysecret";

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn hub(url: &str, token: &str) -> Settings {
    settings(&[("HF_ENDPOINT", url), ("HF_TOKEN", token)])
}

fn store(url: &str, key: &str) -> Settings {
    settings(&[
        ("AWS_ENDPOINT", url),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", "verysecretkey"),
    ])
}

async fn private() -> (String, Arc<StandIn>) {
    let own = StandIn {
        token: TOKEN,
        key: "AKIATEST",
        ..StandIn::of(demo())
    };
    own.serve().await
}

async fn failing(source: &str, settings: &Settings) -> Failure {
    let to = tempfile::tempdir().unwrap();
    let error = fetch(source, to.path(), None, settings).await.unwrap_err();
    let left = digest::files(to.path()).unwrap();
    assert_eq!(left, Vec::<String>::new(), "nothing could be served");
    failure::of(&error, settings)
}

#[tokio::test]
async fn a_private_model_of_a_hub_is_fetched_with_its_token() {
    let (url, _) = private().await;
    let to = tempfile::tempdir().unwrap();
    let source = format!("hf://team/model@{COMMIT}");
    // A token's file ends with a newline.
    let settings = hub(&url, &format!("{TOKEN}\n"));
    let found = fetch(&source, to.path(), None, &settings).await.unwrap();
    assert_eq!(found, digest_of_demo());
}

#[tokio::test]
async fn a_branch_is_followed_once_and_all_files_are_of_its_commit() {
    let (url, _) = private().await;
    let to = tempfile::tempdir().unwrap();
    // The stand-in serves no file under the name of the branch.
    let found = fetch("hf://team/model@main", to.path(), None, &hub(&url, TOKEN)).await;
    assert_eq!(found.unwrap(), digest_of_demo());
}

#[tokio::test]
async fn a_token_does_not_travel_to_where_a_hub_redirects() {
    let (elsewhere, other) = StandIn::of(demo()).serve().await;
    let (url, own) = private().await;
    *own.redirects_to.lock().unwrap() = Some(elsewhere);
    let to = tempfile::tempdir().unwrap();
    let source = format!("hf://team/model@{COMMIT}");
    let found = fetch(&source, to.path(), None, &hub(&url, TOKEN)).await;
    assert_eq!(found.unwrap(), digest_of_demo());
    assert!(
        other.given.load(Ordering::Relaxed) > 0,
        "it never came there"
    );
    assert_eq!(other.leaked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_address_of_a_redirect_is_in_no_message() {
    let (url, own) = private().await;
    // Nobody listens there.
    *own.redirects_to.lock().unwrap() = Some("http://127.0.0.1:9".to_owned());
    let source = format!("hf://team/model@{COMMIT}");
    let failure = failing(&source, &hub(&url, TOKEN)).await;
    assert_eq!(failure.reason, "SourceUnreachable");
    assert!(failure.passes, "{failure}");
    assert!(!failure.to_string().contains("signature"), "{failure}");
}

#[tokio::test]
async fn what_a_hub_refuses_is_said_without_the_token() {
    let (url, own) = private().await;
    let model = format!("hf://team/model@{COMMIT}");
    let other = format!("hf://team/other@{COMMIT}");
    for (source, token, words, passes) in [
        (&model, "hf_anothersecret", "access is refused", false),
        (&model, "", "access is refused", false),
        (
            &"hf://team/model@nowhere".to_owned(),
            TOKEN,
            "no such model or revision",
            false,
        ),
        (&other, TOKEN, "no such model or revision", false),
    ] {
        let failure = failing(source, &hub(&url, token)).await;
        assert_eq!(failure.reason, "SourceUnreachable", "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        for token in [TOKEN, "hf_anothersecret"] {
            assert!(!failure.message.contains(token), "{failure}");
        }
        assert_eq!(failure.passes, passes, "{failure}");
    }
    own.is_down.store(true, Ordering::Relaxed);
    let failure = failing(&model, &hub(&url, TOKEN)).await;
    assert!(failure.passes, "{failure}");
}

#[tokio::test]
async fn a_model_of_an_object_store_is_fetched_with_its_keys_and_no_others() {
    let (url, _) = private().await;
    let to = tempfile::tempdir().unwrap();
    let good = store(&url, "AKIATEST");
    let found = fetch("s3://bucket/models/v1", to.path(), None, &good).await;
    assert_eq!(found.unwrap(), digest_of_demo());
    for (source, key, reason, words) in [
        (
            "s3://bucket/models/v1",
            "AKIAOTHER",
            "SourceUnreachable",
            "secretRef",
        ),
        (
            "s3://nowhere/models/v1",
            "AKIATEST",
            "SourceUnreachable",
            "bucket's name",
        ),
        (
            "s3://bucket/models/v2",
            "AKIATEST",
            "ModelInvalid",
            "no safetensors",
        ),
    ] {
        let failure = failing(source, &store(&url, key)).await;
        assert_eq!(failure.reason, reason, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        assert!(!failure.passes, "{failure}");
        for secret in ["verysecretkey", "AKIAOTHER"] {
            assert!(!failure.message.contains(secret), "{failure}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_no_fault_of_the_source_and_is_not_tried_again() {
    let (url, _) = private().await;
    let to = tempfile::tempdir().unwrap();
    let part = to.path().join("model.safetensors.part");
    let source = format!("hf://team/model@{COMMIT}");
    let files = Remote::open(&source, &hub(&url, TOKEN))
        .unwrap()
        .list()
        .await;
    Plan::begin(&source, to.path(), &files.unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", part).unwrap();
    let error = fetch(&source, to.path(), None, &hub(&url, TOKEN)).await;
    let failure = failure::of(&error.unwrap_err(), &Settings::new());
    assert_eq!(failure.reason, "VolumeUnavailable", "{failure}");
    assert!(failure.message.contains("enlarge"), "{failure}");
    assert!(!failure.passes);
}

/// A copy of the demo model that may be changed, at a hub.
async fn changing() -> (tempfile::TempDir, String, Arc<StandIn>) {
    let from = tempfile::tempdir().unwrap();
    for name in digest::files(&demo()).unwrap() {
        std::fs::copy(demo().join(&name), from.path().join(&name)).unwrap();
    }
    let (url, own) = StandIn::of(from.path().to_owned()).serve().await;
    (from, url, own)
}

fn digest_of(folder: &Path) -> Digest {
    let mut hashes = FileHashes::default();
    for name in digest::files(folder).unwrap() {
        hashes.add(&name, &std::fs::read(folder.join(&name)).unwrap());
    }
    hashes.digest()
}

/// Changes what the model is: a file more, another one longer, one less.
fn change(from: &Path) {
    let config = std::fs::read_to_string(from.join("config.json")).unwrap();
    std::fs::write(from.join("config.json"), config + " ").unwrap();
    std::fs::write(from.join("special_tokens_map.json"), "{}").unwrap();
    std::fs::remove_file(from.join("tokenizer_config.json")).unwrap();
}

#[tokio::test]
async fn the_model_that_is_there_stays_whole_until_the_new_one_is() {
    let (from, url, own) = changing().await;
    let to = tempfile::tempdir().unwrap();
    let source = format!("hf://team/model@{COMMIT}");
    let settings = hub(&url, "");
    let old = fetch(&source, to.path(), None, &settings).await.unwrap();
    change(from.path());
    // It breaks off within config.json.
    let given = own.given.load(Ordering::Relaxed);
    own.gives.store(given + 20, Ordering::Relaxed);
    fetch(&source, to.path(), None, &settings)
        .await
        .unwrap_err();
    assert_eq!(digest_of(to.path()), old);
    // It comes, and is another one than was wanted.
    own.gives.store(usize::MAX, Ordering::Relaxed);
    let wanted = Some(&old);
    fetch(&source, to.path(), wanted, &settings)
        .await
        .unwrap_err();
    assert_eq!(digest_of(to.path()), old);
    // It comes, and is no model.
    let weights = from.path().join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    std::fs::write(&weights, pointer).unwrap();
    fetch(&source, to.path(), None, &settings)
        .await
        .unwrap_err();
    assert_eq!(digest_of(to.path()), old);
    std::fs::write(&weights, whole).unwrap();
    let new = fetch(&source, to.path(), None, &settings).await.unwrap();
    assert_eq!(
        (&new, digest_of(to.path())),
        (&digest_of(from.path()), new.clone())
    );
    assert_ne!(new, old);
    let left = std::fs::read_dir(to.path()).unwrap();
    let left = left.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_str().unwrap().contains("part")
    });
    assert_eq!(left.count(), 0, "what was begun");
}

#[tokio::test]
async fn what_has_not_changed_is_not_fetched_again() {
    let (from, url, own) = changing().await;
    let to = tempfile::tempdir().unwrap();
    let source = format!("hf://team/model@{COMMIT}");
    let settings = hub(&url, "");
    fetch(&source, to.path(), None, &settings).await.unwrap();
    change(from.path());
    let before = own.given.load(Ordering::Relaxed);
    let found = fetch(&source, to.path(), None, &settings).await.unwrap();
    assert_eq!(found, digest_of(from.path()));
    let given = own.given.load(Ordering::Relaxed) - before;
    let config = std::fs::read(from.path().join("config.json")).unwrap();
    assert!(given < config.len() + 100, "{given}");
}

/// Fetches into a cache, as the program does.
async fn cached(
    root: &Path,
    digest: Option<Digest>,
    settings: &Settings,
) -> anyhow::Result<Digest> {
    let (args, settings) = (
        Fetch {
            source: format!("hf://team/model@{COMMIT}"),
            to: None,
            cache: Some(root.to_owned()),
            digest,
            keep: Vec::new(),
            as_of: None,
            owner: None,
            output: None,
        },
        settings.clone(),
    );
    let root = root.to_owned();
    let model = tokio::task::spawn_blocking(move || into_cache(&args, &root, &settings));
    model.await.unwrap().map(|model| model.facts.digest)
}

#[tokio::test]
async fn a_model_is_fetched_once_into_a_cache_and_found_there_by_its_digest() {
    let (url, own) = private().await;
    let root = tempfile::tempdir().unwrap();
    let found = cached(root.path(), None, &hub(&url, TOKEN)).await.unwrap();
    assert_eq!(found, digest_of_demo());
    let name = found.to_string().replace(':', "-");
    let files = digest::files(&root.path().join(&name)).unwrap();
    assert_eq!(files, digest::files(&demo()).unwrap());
    own.is_down.store(true, Ordering::Relaxed);
    let again = cached(root.path(), Some(found), &hub(&url, TOKEN)).await;
    assert_eq!(again.unwrap(), digest_of_demo(), "without its source");
}

#[tokio::test]
async fn a_broken_model_of_a_cache_is_fetched_anew() {
    let (url, _) = private().await;
    let root = tempfile::tempdir().unwrap();
    let found = cached(root.path(), None, &hub(&url, TOKEN)).await.unwrap();
    let folder = root.path().join(found.to_string().replace(':', "-"));
    std::fs::write(folder.join("model.safetensors"), "torn").unwrap();
    cached(root.path(), Some(found.clone()), &hub(&url, TOKEN))
        .await
        .unwrap();
    assert!(load(&folder, &found).is_ok());
}

#[tokio::test]
async fn a_fetch_that_was_broken_off_goes_on_in_the_next_run() {
    let (url, own) = private().await;
    let root = tempfile::tempdir().unwrap();
    let whole = std::fs::metadata(demo().join("model.safetensors")).unwrap();
    let half = usize::try_from(whole.len() / 2).unwrap();
    own.gives.store(half, Ordering::Relaxed);
    let broken = cached(root.path(), None, &hub(&url, TOKEN)).await;
    assert!(broken.is_err());
    let models = |root: &Path| {
        let all = std::fs::read_dir(root).unwrap().flatten();
        let names = all.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("sha256-")).count()
    };
    assert_eq!(models(root.path()), 0, "half of a model has no name");
    own.gives.store(usize::MAX, Ordering::Relaxed);
    cached(root.path(), None, &hub(&url, TOKEN)).await.unwrap();
    assert_eq!(models(root.path()), 1);
    let all: u64 = digest::files(&demo())
        .unwrap()
        .iter()
        .map(|name| std::fs::metadata(demo().join(name)).unwrap().len())
        .sum();
    let given = u64::try_from(own.given.load(Ordering::Relaxed)).unwrap();
    // Each look at a file is one byte.
    assert!(given < all + 100, "{given} bytes for {all}");
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_in_a_cache() {
    let (url, _) = private().await;
    let root = tempfile::tempdir().unwrap();
    let wrong = Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let error = cached(root.path(), Some(wrong.clone()), &hub(&url, TOKEN)).await;
    let failure = failure::of(&error.unwrap_err(), &Settings::new());
    assert_eq!(failure.reason, "DigestMismatch");
    let folder = root.path().join(wrong.to_string().replace(':', "-"));
    assert!(!folder.exists());
}
