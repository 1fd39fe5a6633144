//! Where models are fetched from: the hub, object stores, and folders behind http.
//!
//! Owns their addresses and object stores; [`super::http`] has the rest. Invariant: credentials come
//! from the environment, and are sent to nobody but whom they are for.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use inference_models::digest;
use inference_models::files::refuse_adapters;
use object_store::path::Path as StorePath;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::http::Http;

/// Environment variables: endpoints, and who we are to a source.
pub(super) type Settings = BTreeMap<String, String>;

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

impl Remote {
    /// The source that `text` names.
    ///
    /// # Errors
    /// A sentence when it names none.
    pub(super) fn open(text: &str, settings: &Settings) -> anyhow::Result<Self> {
        let (scheme, rest) = text.split_once("://").with_context(|| {
            format!("{text:?}: write hf://OWNER/NAME@REVISION, s3://, gs://, az:// or https://")
        })?;
        match scheme {
            "hf" => Http::hub(rest, settings).map(Self::Http),
            "http" | "https" => Http::folder(text, settings).map(Self::Http),
            "s3" | "gs" | "az" | "file" => store(text, settings),
            _ => bail!("{scheme}:// is no source: write hf://, s3://, gs://, az:// or https://"),
        }
    }

    /// The files that make the model.
    pub(super) async fn list(&mut self) -> anyhow::Result<Vec<RemoteFile>> {
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
                    Err(error) => Err(anyhow!(error).context(name.to_owned())),
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
                let name = file.name.clone();
                let found = store.get_opts(&path, options).await;
                let stream = found.with_context(|| name.clone())?.into_stream();
                Ok(stream
                    .map_err(move |error| anyhow!(error).context(name.clone()))
                    .boxed())
            }
        }
    }
}

fn store(text: &str, settings: &Settings) -> anyhow::Result<Remote> {
    let url = url::Url::parse(text).with_context(|| text.to_owned())?;
    let settings = settings
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value.clone()));
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
