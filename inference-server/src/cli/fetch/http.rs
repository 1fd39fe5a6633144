//! Folders behind http, and the hub, which is one with a list of its files.
//!
//! Invariants: a token goes to the host that it is for and to no other, wherever that one redirects;
//! the address that a redirect leads to, which may be signed, is in no message.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures::StreamExt;
use inference_models::digest;
use inference_models::files::{ADAPTER_FILES, refuse_adapters, refuse_pointer};
use inference_models::legacy_tokens::ADDED_TOKENS;
use reqwest::header::{ETAG, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::failure::Refusal;
use super::remote::{Bytes, RemoteFile, Settings};

/// The hub where `HF_ENDPOINT` names no other.
const HUB: &str = "https://huggingface.co";
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
/// Every model has it.
const CONFIG: &str = "config.json";
/// No model has it.
const NOBODYS: &str = "there-is-no-such-file.json";
/// What a model may have or not, and who gives no list cannot say.
const OPTIONAL: [&str; 5] = [
    INDEX,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    ADDED_TOKENS,
];

pub(super) struct Http {
    client: Client,
    /// Ends with a slash.
    base: String,
    token: Option<String>,
    /// The hub's list of files; taken when it was read.
    listing: Option<Listing>,
    /// Whether a file that every model has could be read, where nobody lists them.
    was_read: bool,
}

/// Where a hub lists the files of a model.
struct Listing {
    url: String,
    /// Whether the revision is a branch or tag.
    moves: bool,
    /// Where its files are, less the revision.
    resolve: String,
}

#[derive(Deserialize)]
struct HubModel {
    sha: Option<String>,
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

/// An HTTP client. It takes a token away where a redirect leads to another host, port or scheme, as
/// reqwest does by itself.
fn client() -> anyhow::Result<Client> {
    Ok(Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .build()?)
}

fn secret(settings: &Settings, name: &str) -> Option<String> {
    // A file in a Secret often ends with a newline.
    let value = settings.get(name).map(|value| value.trim().to_owned());
    value.filter(|value| !value.is_empty())
}

fn is_commit(revision: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    revision.len() == 40 && revision.bytes().all(hex)
}

/// An answer that is none of trouble.
fn good(answer: Response, what: &str) -> Result<Response, Refusal> {
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(Refusal::of(status, what)),
    }
}

impl Http {
    /// `OWNER/NAME@REVISION`, from the hub of `HF_ENDPOINT` with the token of `HF_TOKEN`.
    ///
    /// # Errors
    /// A sentence when that is no address.
    pub(super) fn hub(rest: &str, settings: &Settings) -> anyhow::Result<Self> {
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
        let endpoint = settings.get("HF_ENDPOINT").map_or(HUB, String::as_str);
        let endpoint = endpoint.trim_end_matches('/');
        let resolve = format!("{endpoint}/{repo}/resolve/");
        Ok(Self {
            base: format!("{resolve}{revision}/"),
            token: secret(settings, "HF_TOKEN"),
            listing: Some(Listing {
                url: format!("{endpoint}/api/models/{repo}/revision/{revision}"),
                moves: !is_commit(revision),
                resolve,
            }),
            was_read: false,
            client: client()?,
        })
    }

    /// A folder behind http, with the token of `HTTP_TOKEN`.
    ///
    /// # Errors
    /// Only when no client can be made.
    pub(super) fn folder(url: &str, settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            base: format!("{}/", url.trim_end_matches('/')),
            token: secret(settings, "HTTP_TOKEN"),
            listing: None,
            was_read: false,
            client: client()?,
        })
    }

    fn get(&self, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.get(url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// One request; what comes of it never has an address in it, which may be signed.
    async fn send(&self, request: RequestBuilder, what: &str) -> anyhow::Result<Response> {
        let answer = request.send().await;
        answer.map_err(|error| anyhow!(error.without_url()).context(what.to_owned()))
    }

    pub(super) async fn list(&mut self) -> anyhow::Result<Vec<RemoteFile>> {
        let names = if let Some(listing) = self.listing.take() {
            self.hub_names(&listing).await?
        } else {
            self.was_read = self.look(CONFIG).await?.is_some();
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

    /// The files that the hub lists. A branch or tag is followed once: all files are of one commit.
    async fn hub_names(&mut self, listing: &Listing) -> anyhow::Result<Vec<String>> {
        let url = &listing.url;
        let answer = self.send(self.get(url), url).await?;
        let answer = good(answer, url)?;
        let bytes = answer.bytes().await.map_err(reqwest::Error::without_url);
        let model: HubModel = serde_json::from_slice(&bytes.with_context(|| url.clone())?)
            .with_context(|| format!("{url} does not answer as a hub does"))?;
        if let Some(commit) = model.sha.filter(|sha| listing.moves && is_commit(sha)) {
            self.base = format!("{}{commit}/", listing.resolve);
        }
        refuse_adapters(model.siblings.iter().map(|file| file.rfilename.as_str()))?;
        let names = model.siblings.into_iter().map(|file| file.rfilename);
        Ok(names.filter(|name| digest::counts(name)).collect())
    }

    /// Without a list: the files that every model has or may have, and the shards of its index.
    async fn known_names(&self) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = digest::NAMED.map(str::to_owned).into();
        let index = format!("{}{INDEX}", self.base);
        let answer = self.send(self.get(&index), &index).await?;
        if self.is_absent(answer.status(), INDEX).await? {
            names.push(WEIGHTS.to_owned());
            return Ok(names);
        }
        let bytes = good(answer, &index)?.bytes().await;
        let bytes = bytes.map_err(reqwest::Error::without_url)?;
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

    /// Whether there is no such file. A store that lets nobody list it refuses what is not there, as it
    /// refuses everything to those who may not read: who has read one file may, and a store that refuses
    /// what nobody has does so.
    async fn is_absent(&self, status: StatusCode, name: &str) -> anyhow::Result<bool> {
        let may_be = OPTIONAL.contains(&name) || ADAPTER_FILES.contains(&name);
        if status != StatusCode::FORBIDDEN || !self.was_read || !may_be {
            return Ok(status == StatusCode::NOT_FOUND);
        }
        let url = format!("{}{NOBODYS}", self.base);
        let answer = self.send(self.get(&url), &url).await?;
        Ok(answer.status() == StatusCode::FORBIDDEN)
    }

    /// Size and tag of a file; `None` where there is none of that name.
    pub(super) async fn look(&self, name: &str) -> anyhow::Result<Option<RemoteFile>> {
        let url = format!("{}{name}", self.base);
        // One byte instead of HEAD: it follows redirects to where the size is told.
        let request = self.get(&url).header(RANGE, "bytes=0-0");
        let answer = self.send(request, &url).await?;
        if self.is_absent(answer.status(), name).await? {
            return Ok(None);
        }
        let answer = good(answer, &url)?;
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

    pub(super) async fn read(&self, file: &RemoteFile, from: u64) -> anyhow::Result<Bytes> {
        let url = format!("{}{}", self.base, file.name);
        let mut request = self.get(&url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let answer = good(self.send(request, &url).await?, &url)?;
        let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        if tag.map(str::to_owned) != file.tag {
            let name = &file.name;
            return Err(Refusal::passing(format!(
                "{name} has changed while it was fetched: try again"
            ))
            .into());
        }
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
            let mut chunk = chunk.map_err(reqwest::Error::without_url)?;
            let cut = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            left -= cut as u64;
            Ok(chunk.split_off(cut))
        })
        .boxed()
}
