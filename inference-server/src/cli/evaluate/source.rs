//! Where the scores of an evaluation come from: a model's folder, or a server.
//!
//! Invariant: a server that is busy for a while is waited for; one that refuses is an error that
//! says so.

use std::time::Duration;

use anyhow::{Context, bail};
use inference_api::Input;
use inference_api::evaluate::Pair;
use inference_models::{EncodeOptions, Model, Packed};
use inference_scoring::text_input;
use serde::Deserialize;
use serde_json::json;

use crate::args::Evaluate;
use crate::cli::{model, progress};

/// Pairs that are scored together.
const CHUNK: usize = 64;
/// How often a request is tried.
const TRIES: u32 = 6;
/// The longest that a server is waited for before the next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Scores of the preferred answer and of the other.
type Scores = Vec<(f32, f32)>;

/// Where scores come from.
pub(super) enum Source {
    /// A model that is loaded here.
    Folder { model: Box<Model>, label: usize },
    /// A server.
    Server {
        client: reqwest::Client,
        url: String,
        token: Option<String>,
    },
}

#[derive(Deserialize)]
struct Batch {
    reward_scores: Vec<f32>,
    model_version: String,
}

impl Source {
    /// The source that `args` name.
    pub(super) fn open(args: &Evaluate) -> anyhow::Result<Self> {
        if let Some(url) = &args.source.url {
            return Self::server(url, args);
        }
        let folder = args
            .source
            .model
            .as_ref()
            .context("name a source: --model DIR or --url URL")?;
        let loaded = model::open(folder, &args.options.load(), args.label)?;
        Ok(Self::Folder {
            model: Box::new(loaded),
            label: args.label,
        })
    }

    /// The server at `url`.
    pub(super) fn server(url: &str, args: &Evaluate) -> anyhow::Result<Self> {
        let token = args
            .token_file
            .as_ref()
            .map(|file| {
                std::fs::read_to_string(file)
                    .with_context(|| format!("--token-file {}", file.display()))
            })
            .transpose()?;
        Ok(Self::Server {
            client: reqwest::Client::builder()
                .timeout(Duration::from_mins(2))
                .build()?,
            url: url.trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()),
        })
    }

    /// Scores of each pair, and the version that gave them.
    pub(super) fn scores(&self, pairs: &[Pair]) -> anyhow::Result<(Scores, String)> {
        let progress = progress::count("evaluating", pairs.len() as u64);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut scores, mut version) = (Vec::with_capacity(pairs.len()), String::new());
        for (i, chunk) in pairs.chunks(CHUNK).enumerate() {
            let rows = match self {
                Self::Folder { model, label } => {
                    model.facts.digest.short().clone_into(&mut version);
                    local(model, *label, chunk, i * CHUNK)?
                }
                Self::Server { client, url, token } => {
                    let batch = runtime.block_on(ask(client, url, token.as_deref(), chunk))?;
                    version = batch.model_version;
                    batch.reward_scores
                }
            };
            if rows.len() != chunk.len() * 2 {
                bail!("an answer lacks scores");
            }
            scores.extend(rows.chunks_exact(2).filter_map(|pair| match pair {
                [chosen, rejected] => Some((*chosen, *rejected)),
                _ => None,
            }));
            progress.inc(chunk.len() as u64);
        }
        progress.finish_and_clear();
        Ok((scores, version))
    }
}

fn local(model: &Model, label: usize, pairs: &[Pair], first: usize) -> anyhow::Result<Vec<f32>> {
    let mut batch = Packed::default();
    for (i, input) in pairs.iter().flat_map(Pair::inputs).enumerate() {
        let encoded = model
            .tokenizer
            .encode(&text_input(input), EncodeOptions::default())
            .with_context(|| format!("pair {}", first + i / 2 + 1))?;
        batch.push(&encoded.ids, &encoded.type_ids);
    }
    let logits = model.engine.forward(&batch)?;
    let score = |row: Vec<f32>| row.get(label).copied().unwrap_or(f32::NAN);
    Ok(logits.into_iter().map(score).collect())
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
    token: Option<&str>,
    pairs: &[Pair],
) -> anyhow::Result<Batch> {
    let (mut texts, mut contexts) = (Vec::new(), Vec::new());
    for input in pairs.iter().flat_map(Pair::inputs) {
        match input {
            Input::Conversation { prompt, response } => {
                texts.push(response);
                contexts.push(Some(prompt));
            }
            Input::Text(text) => {
                texts.push(text);
                contexts.push(None);
            }
            Input::Pair(..) | Input::Messages(_) => bail!("a pair is a prompt and two answers"),
        }
    }
    let body = serde_json::to_vec(&json!({ "texts": texts, "contexts": contexts }))?;
    let mut pause = Duration::from_millis(250);
    for attempt in 1..=TRIES {
        let mut request = client
            .post(format!("{url}/predict/batch"))
            .header("content-type", "application/json")
            .body(body.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let why = match request.send().await {
            Ok(response) if response.status().is_success() => {
                let bytes = response.bytes().await.with_context(|| url.to_owned())?;
                return serde_json::from_slice(&bytes)
                    .with_context(|| format!("{url} does not answer as a scoring server does"));
            }
            Ok(response) if matches!(response.status().as_u16(), 429 | 502..=504) => {
                response.status().to_string()
            }
            Ok(response) => {
                let status = response.status();
                let said = response.text().await.unwrap_or_default();
                bail!("{url} answers {status}: {said}");
            }
            Err(error) => error.to_string(),
        };
        if attempt == TRIES {
            bail!("{url} does not answer after {TRIES} tries: {why}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    bail!("{url} was not asked")
}
