//! Against a server of this process that breaks off, and against folders.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inference_models::digest;

use super::*;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Name, State};
use axum::http::{HeaderMap, Response};
use axum::routing::get;

/// A source that sends at most `most` bytes of a file an answer.
struct Source {
    folder: PathBuf,
    most: usize,
    answers: AtomicUsize,
    /// What it says of a file that is not there.
    absent: u16,
    /// The file that nobody may read.
    secret: &'static str,
}

async fn file(
    State(source): State<Arc<Source>>,
    Name(name): Name<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let refused = |status| Response::builder().status(status).body(Body::empty());
    if name == source.secret {
        return refused(403).unwrap();
    }
    let Ok(bytes) = std::fs::read(source.folder.join(&name)) else {
        return refused(source.absent).unwrap();
    };
    let range = headers.get("range").and_then(|range| range.to_str().ok());
    let (from, to) = range
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .map_or((0, bytes.len()), |(from, to)| {
            let to = to.parse::<usize>().map_or(bytes.len(), |to| to + 1);
            (from.parse().unwrap(), to.min(bytes.len()))
        });
    source.answers.fetch_add(1, Ordering::Relaxed);
    let part = bytes[from..to].to_vec();
    // The announced length is that of the whole range: what is missing is a connection that broke.
    let broken = futures::stream::iter([
        Ok(part[..part.len().min(source.most)].to_vec()),
        Err(std::io::Error::other("broken off")),
    ]);
    let body = if part.len() > source.most {
        Body::from_stream(broken)
    } else {
        Body::from(part.clone())
    };
    Response::builder()
        .status(206)
        .header(
            "content-range",
            format!("bytes {from}-{}/{}", to.max(1) - 1, bytes.len()),
        )
        .header("content-length", part.len())
        .header("etag", format!("\"{}\"", bytes.len()))
        .body(body)
        .unwrap()
}

impl Source {
    fn of(folder: PathBuf) -> Self {
        Self {
            folder,
            most: usize::MAX,
            answers: AtomicUsize::new(0),
            absent: 404,
            secret: "",
        }
    }
}

async fn serve(folder: PathBuf, most: usize) -> (String, Arc<Source>) {
    let own = Source::of(folder);
    serving(Source { most, ..own }).await
}

async fn serving(source: Source) -> (String, Arc<Source>) {
    let source = Arc::new(source);
    let router = Router::new()
        .route("/model/{name}", get(file))
        .with_state(source.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/model", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, source)
}

pub(super) fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../e2e/fixtures/demo-models/tiny-reward-v1")
}

pub(super) fn digest_of_demo() -> Digest {
    let mut hashes = FileHashes::default();
    for name in digest::files(&demo()).unwrap() {
        hashes.add(&name, &std::fs::read(demo().join(&name)).unwrap());
    }
    hashes.digest()
}

async fn fetched(source: &str, to: &Path, digest: Option<Digest>) -> anyhow::Result<Digest> {
    fetch(source, to, digest.as_ref(), &Settings::new()).await
}

#[tokio::test]
async fn a_download_that_breaks_off_is_continued_where_it_was() {
    let to = tempfile::tempdir().unwrap();
    let (url, source) = serve(demo(), 1_000_000).await;
    fetched(&url, to.path(), Some(digest_of_demo()))
        .await
        .unwrap();
    let weights =
        |folder: &std::path::Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(to.path()) == weights(&demo()));
    assert!(
        source.answers.load(Ordering::Relaxed) > 3,
        "it never broke off"
    );
    assert_eq!(
        digest::files(to.path()).unwrap(),
        digest::files(&demo()).unwrap()
    );
    let before = source.answers.load(Ordering::Relaxed);
    fetched(&url, to.path(), Some(digest_of_demo()))
        .await
        .unwrap();
    let looks = digest::NAMED.len();
    let again = source.answers.load(Ordering::Relaxed) - before;
    assert!(
        again <= looks + 1,
        "{again} answers for what is there already"
    );
}

#[tokio::test]
async fn a_store_that_refuses_what_is_not_there_is_fetched_from_all_the_same() {
    let to = tempfile::tempdir().unwrap();
    let closed = Source {
        absent: 403,
        ..Source::of(demo())
    };
    let (url, _) = serving(closed).await;
    let found = fetched(&url, to.path(), None).await.unwrap();
    assert_eq!(found, digest_of_demo());
}

#[tokio::test]
async fn a_file_that_every_model_has_is_not_taken_for_absent_because_it_is_refused() {
    for secret in ["config.json", "tokenizer.json", "model.safetensors"] {
        let closed = Source {
            absent: 403,
            secret,
            ..Source::of(demo())
        };
        let (url, _) = serving(closed).await;
        let to = tempfile::tempdir().unwrap();
        let error = fetched(&url, to.path(), None).await.unwrap_err();
        let failure = failure::of(&error, &Settings::new());
        assert!(failure.message.contains("access is refused"), "{failure}");
    }
}

#[tokio::test]
async fn what_a_store_refuses_that_says_what_is_not_there_is_there() {
    let half = Source {
        secret: "tokenizer_config.json",
        ..Source::of(demo())
    };
    let (url, _) = serving(half).await;
    let to = tempfile::tempdir().unwrap();
    let error = fetched(&url, to.path(), None).await.unwrap_err();
    assert!(format!("{error:#}").contains("tokenizer_config.json"));
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_that_could_be_served() {
    let to = tempfile::tempdir().unwrap();
    let (url, _) = serve(demo(), usize::MAX).await;
    let wrong = Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let why = fetched(&url, to.path(), Some(wrong)).await.unwrap_err();
    let failure = failure::of(&why, &Settings::new());
    assert_eq!(failure.reason, "DigestMismatch", "{failure}");
    assert!(!failure.passes);
    assert_eq!(digest::files(to.path()).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_has_changed_is_fetched_anew() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |text: &str| std::fs::write(from.path().join("config.json"), text).unwrap();
    std::fs::write(from.path().join("model.safetensors"), "weights").unwrap();
    write("{}");
    let (url, _) = serve(from.path().to_owned(), usize::MAX).await;
    fetched(&url, to.path(), None).await.unwrap();
    write("{\"changed\": true}");
    fetched(&url, to.path(), None).await.unwrap();
    let config = std::fs::read_to_string(to.path().join("config.json")).unwrap();
    assert_eq!(config, "{\"changed\": true}");
}

#[tokio::test]
async fn an_object_store_is_listed_and_only_what_counts_is_fetched() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in [
        "config.json",
        "model.safetensors",
        "README.md",
        "pytorch_model.bin",
    ] {
        std::fs::write(from.path().join(name), name).unwrap();
    }
    let url = format!("file://{}", from.path().display());
    fetched(&url, to.path(), None).await.unwrap();
    assert_eq!(
        digest::files(to.path()).unwrap(),
        ["config.json", "model.safetensors"]
    );
    assert!(!to.path().join("README.md").exists());
}

#[tokio::test]
async fn what_cannot_be_fetched_says_what_to_do() {
    let to = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let (url, _) = serve(empty.path().to_owned(), 1).await;
    std::fs::write(to.path().join("old.safetensors"), "").unwrap();
    let full = serve(demo(), usize::MAX).await.0;
    for (source, expected) in [
        ("model", "write hf://"),
        ("ftp://x/y", "is no source"),
        ("hf://owner/name", "add @REVISION"),
        ("hf://name@1", "OWNER/NAME"),
        ("hf://../..@1", "OWNER/NAME"),
        (url.as_str(), "no safetensors"),
        (full.as_str(), "empty folder"),
    ] {
        let why = fetched(source, to.path(), None).await.unwrap_err();
        assert!(format!("{why:#}").contains(expected), "{source}: {why:#}");
    }
}

#[tokio::test]
async fn a_link_that_leads_out_of_a_folder_is_not_fetched() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (inside, outside) = (from.path().join("model"), from.path().join("secret"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(&outside, "secret").unwrap();
    std::fs::write(inside.join("model.safetensors"), "weights").unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("notes.txt")).unwrap();
    let url = format!("file://{}", inside.display());
    fetched(&url, to.path(), None).await.unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("config.json")).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let why = fetched(&url, empty.path(), None).await.unwrap_err();
    assert!(format!("{why:#}").contains("link to outside"), "{why:#}");
    assert!(!empty.path().join("config.json").exists());
}

/// What is said of a copy of the demo model with this file beside, fetched over http and from a folder.
async fn refused_with(name: &str, content: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(demo()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    std::fs::write(folder.path().join(name), content).unwrap();
    let (url, _) = serve(folder.path().to_owned(), usize::MAX).await;
    let here = format!("file://{}", folder.path().display());
    let mut said = Vec::new();
    for source in [url, here] {
        let to = tempfile::tempdir().unwrap();
        let error = fetched(&source, to.path(), None).await.unwrap_err();
        said.push(error.to_string());
        let whole = to.path().join("config.json").exists();
        assert!(!whole, "{source}: something that could be served is left");
    }
    said
}

#[tokio::test]
async fn what_could_not_be_served_as_it_was_meant_is_not_fetched() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (name, content, expected) in [
        ("model.safetensors", &pointer[..], "git lfs pull"),
        ("adapter_config.json", b"{}", "merge"),
        ("added_tokens.json", br#"{"<new>": 9999}"#, "<new>"),
    ] {
        for said in refused_with(name, content).await {
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}
