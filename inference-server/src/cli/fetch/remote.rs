//! Where models are fetched from: the hub, object stores, and folders behind http.
//!
//! Owns their addresses and how their files are listed. Invariant: credentials come from the
//! environment, and are sent to nobody but whom they are for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use inference_models::digest;
use inference_models::files::{ADAPTER_FILES, refuse_adapters, refuse_pointer};
use object_store::path::Path as StorePath;
use object_store::{GetOptions, GetRange, ObjectStore};
use reqwest::StatusCode;
use reqwest::header::{ETAG, RANGE};
use serde::Deserialize;

/// The hub where `HF_ENDPOINT` names no other.
const HUB: &str = "https://huggingface.co";
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";

/// A file of a model at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) size: Option<u64>,
    /// Changes with the file, where the source tells.
    pub(super) tag: Option<String>,
}

/// The bytes of a file.
pub(super) type Bytes = BoxStream<'static, anyhow::Result<bytes::Bytes>>;

/// Where a model is.
pub(super) enum Remote {
    /// A folder behind http, whose files are known by their names.
    Http(Http),
    /// An object store.
    Store {
        store: Box<dyn ObjectStore>,
        prefix: StorePath,
    },
}

pub(super) struct Http {
    client: reqwest::Client,
    /// Ends with a slash.
    base: String,
    token: Option<String>,
    /// The hub's list of files.
    listing: Option<String>,
}

#[derive(Deserialize)]
struct HubModel {
    siblings: Vec<HubFile>,
}

#[derive(Deserialize)]
struct HubFile {
    rfilename: String,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

impl Remote {
    /// The source that `text` names.
    ///
    /// # Errors
    /// A sentence when it names none.
    pub(super) fn open(text: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = text.split_once("://").with_context(|| {
            format!("{text:?}: write hf://OWNER/NAME@REVISION, s3://, gs://, az:// or https://")
        })?;
        match scheme {
            "hf" => hub(rest).map(Self::Http),
            "http" | "https" => {
                Http::new(format!("{}/", text.trim_end_matches('/')), None, None).map(Self::Http)
            }
            "s3" | "gs" | "az" | "file" => store(text),
            _ => bail!("{scheme}:// is no source: write hf://, s3://, gs://, az:// or https://"),
        }
    }

    /// The files that make the model.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<RemoteFile>> {
        let mut files = match self {
            Self::Http(http) => http.list().await?,
            Self::Store { store, prefix } => list(store.as_ref(), prefix).await?,
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// The whole of a small file beside the model's; `None` where there is none.
    pub(super) async fn beside(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        match self {
            Self::Http(http) => {
                let Some(file) = http.look(name).await? else {
                    return Ok(None);
                };
                let chunks: Vec<bytes::Bytes> = http.read(&file, 0).await?.try_collect().await?;
                Ok(Some(chunks.concat()))
            }
            Self::Store { store, prefix } => {
                let path = prefix.clone().join(name);
                match store.get_opts(&path, GetOptions::default()).await {
                    Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// The bytes of `file` from `from` on.
    pub(super) async fn read(&self, file: &RemoteFile, from: u64) -> anyhow::Result<Bytes> {
        match self {
            Self::Http(http) => http.read(file, from).await,
            Self::Store { store, prefix } => {
                let options = GetOptions {
                    range: (from > 0).then_some(GetRange::Offset(from)),
                    if_match: file.tag.clone(),
                    ..GetOptions::default()
                };
                let path = prefix.clone().join(file.name.as_str());
                let found = store.get_opts(&path, options).await?;
                Ok(found.into_stream().map_err(|error| anyhow!(error)).boxed())
            }
        }
    }
}

/// `OWNER/NAME@REVISION`, from the hub of `HF_ENDPOINT` with the token of `HF_TOKEN`.
fn hub(rest: &str) -> anyhow::Result<Http> {
    let (repo, revision) = rest.split_once('@').with_context(|| {
        format!("hf://{rest}: add @REVISION, so that it is the same model tomorrow")
    })?;
    let plain = |part: &str| {
        !part.is_empty() && part.split('/').all(|name| !matches!(name, "" | "." | ".."))
    };
    ensure!(
        repo.split('/').count() == 2 && plain(repo) && plain(revision),
        "hf://{rest}: write hf://OWNER/NAME@REVISION"
    );
    let endpoint = std::env::var("HF_ENDPOINT").unwrap_or_else(|_| HUB.to_owned());
    let endpoint = endpoint.trim_end_matches('/');
    let token = std::env::var("HF_TOKEN")
        .ok()
        .filter(|token| !token.is_empty());
    let listing = format!("{endpoint}/api/models/{repo}/revision/{revision}");
    Http::new(
        format!("{endpoint}/{repo}/resolve/{revision}/"),
        token,
        Some(listing),
    )
}

fn store(text: &str) -> anyhow::Result<Remote> {
    let url = url::Url::parse(text).with_context(|| text.to_owned())?;
    let settings = std::env::vars().map(|(key, value)| (key.to_ascii_lowercase(), value));
    let (store, prefix) =
        object_store::parse_url_opts(&url, settings).with_context(|| text.to_owned())?;
    if url.scheme() == "file"
        && let Ok(folder) = url.to_file_path()
    {
        require_own_files(&folder)?;
    }
    Ok(Remote::Store { store, prefix })
}

/// # Errors
/// When a file of the folder is a link to outside of it: what is fetched is what was named.
fn require_own_files(folder: &Path) -> anyhow::Result<()> {
    let name = || format!("file://{}", folder.display());
    let root = folder.canonicalize().with_context(name)?;
    for entry in std::fs::read_dir(&root).with_context(name)? {
        let path = entry.with_context(name)?.path();
        let counts = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(digest::counts);
        let place = path
            .canonicalize()
            .with_context(|| path.display().to_string())?;
        ensure!(
            !counts || place.starts_with(&root),
            "{} is a link to outside of its folder: copy the file there, or name the folder that it is in",
            path.display()
        );
    }
    Ok(())
}

/// The files directly under `prefix` that count.
async fn list(store: &dyn ObjectStore, prefix: &StorePath) -> anyhow::Result<Vec<RemoteFile>> {
    let found = store
        .list_with_delimiter(Some(prefix))
        .await
        .context("the object store cannot be listed")?;
    let names = found.objects.iter();
    refuse_adapters(names.filter_map(|object| object.location.filename()))?;
    let file = |object: object_store::ObjectMeta| {
        let name = object.location.filename()?.to_owned();
        digest::counts(&name).then_some(RemoteFile {
            name,
            size: Some(object.size),
            tag: object.e_tag,
        })
    };
    Ok(found.objects.into_iter().filter_map(file).collect())
}

impl Http {
    fn new(base: String, token: Option<String>, listing: Option<String>) -> anyhow::Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(10))
                .read_timeout(Duration::from_secs(30))
                .build()?,
            base,
            token,
            listing,
        })
    }

    fn get(&self, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.get(url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn list(&self) -> anyhow::Result<Vec<RemoteFile>> {
        let names = if let Some(url) = &self.listing {
            self.hub_names(url).await?
        } else {
            for name in ADAPTER_FILES {
                if self.look(name).await?.is_some() {
                    refuse_adapters(std::iter::once(name))?;
                }
            }
            self.known_names().await?
        };
        let mut files = Vec::new();
        for name in names {
            files.extend(self.look(&name).await?);
        }
        Ok(files)
    }

    async fn hub_names(&self, url: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.get(url).send().await.with_context(|| url.to_owned())?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                bail!("the hub refuses access: set HF_TOKEN, and accept the model's terms")
            }
            StatusCode::NOT_FOUND => bail!("{url}: there is no such model or revision"),
            status => bail!("{url} answers {status}"),
        }
        let bytes = answer.bytes().await.with_context(|| url.to_owned())?;
        let model: HubModel = serde_json::from_slice(&bytes)
            .with_context(|| format!("{url} does not answer as a hub does"))?;
        refuse_adapters(model.siblings.iter().map(|file| file.rfilename.as_str()))?;
        let names = model.siblings.into_iter().map(|file| file.rfilename);
        Ok(names.filter(|name| digest::counts(name)).collect())
    }

    /// Without a list: the files that every model has or may have, and the shards of its index.
    async fn known_names(&self) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = digest::NAMED.map(str::to_owned).into();
        let index = format!("{}{INDEX}", self.base);
        let answer = self
            .get(&index)
            .send()
            .await
            .with_context(|| index.clone())?;
        if answer.status() == StatusCode::NOT_FOUND {
            names.push(WEIGHTS.to_owned());
            return Ok(names);
        }
        let bytes = answer.error_for_status()?.bytes().await?;
        refuse_pointer(INDEX, &bytes)?;
        let shards: ShardIndex = serde_json::from_slice(&bytes)
            .with_context(|| format!("{index} is no index of shards"))?;
        let mut shards: Vec<String> = shards.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        if let Some(name) = shards.iter().find(|name| !digest::counts(name)) {
            bail!("{index} names {name:?}, which is no safetensors file beside it");
        }
        names.push(INDEX.to_owned());
        names.extend(shards);
        Ok(names)
    }

    /// Size and tag of a file; `None` where there is none of that name.
    async fn look(&self, name: &str) -> anyhow::Result<Option<RemoteFile>> {
        let url = format!("{}{name}", self.base);
        // One byte instead of HEAD: it follows redirects to where the size is told.
        let answer = self.get(&url).header(RANGE, "bytes=0-0").send().await;
        let answer = answer.with_context(|| url.clone())?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.error_for_status().with_context(|| url.clone())?;
        let header = |name: &str| answer.headers().get(name)?.to_str().ok();
        let size = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok())
            }
            _ => header("content-length").and_then(|length| length.parse().ok()),
        };
        let tag = header(ETAG.as_str()).map(str::to_owned);
        Ok(Some(RemoteFile {
            name: name.to_owned(),
            size,
            tag,
        }))
    }

    async fn read(&self, file: &RemoteFile, from: u64) -> anyhow::Result<Bytes> {
        let url = format!("{}{}", self.base, file.name);
        let mut request = self.get(&url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let answer = request.send().await?.error_for_status()?;
        let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        ensure!(
            tag.map(str::to_owned) == file.tag,
            "{} has changed while it was fetched: try again",
            file.name
        );
        let skip = if answer.status() == StatusCode::PARTIAL_CONTENT {
            0
        } else {
            from
        };
        Ok(skipping(answer.bytes_stream(), skip))
    }
}

/// A server without ranges sends everything anew; what is there already is skipped.
fn skipping(
    stream: impl futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send + 'static,
    skip: u64,
) -> Bytes {
    let mut left = skip;
    stream
        .map(move |chunk| {
            let mut chunk = chunk?;
            let cut = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            left -= cut as u64;
            Ok(chunk.split_off(cut))
        })
        .boxed()
}
