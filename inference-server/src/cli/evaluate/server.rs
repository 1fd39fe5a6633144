//! A scoring server that scores the texts of an evaluation.
//!
//! Owns how much it is asked at once. Invariants: a server that is busy for a while is waited for; one
//! that cannot take so much, or not in time, is asked for less; one that refuses is an error that says
//! so. Scores are raw, whatever the server shows to others, and of one version.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use inference_api::Input;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// Texts of the first request.
const TEXTS: usize = 128;
/// How often a request is tried.
const TRIES: u32 = 6;
/// The longest that a server is waited for before the next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A scoring server.
pub(super) struct Server {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Batch {
    reward_scores: Vec<f32>,
    model_version: String,
}

/// What is read of a problem.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    index: Option<usize>,
}

/// What became of one request.
enum Outcome {
    Scored(Batch),
    /// With less it might succeed.
    TooMuch(String),
}

impl Server {
    /// The server at `url`, with the token of a file where there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let token = token_file.map(|file| {
            std::fs::read_to_string(file)
                .with_context(|| format!("--token-file {}", file.display()))
        });
        let token = token.transpose()?;
        Ok(Self {
            client: reqwest::Client::builder()
                .timeout(Duration::from_mins(2))
                .build()?,
            url: url.trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()),
        })
    }

    /// Raw scores of `inputs`, and the version that gave them.
    ///
    /// # Errors
    /// When the server refuses, does not answer, or changes its model meanwhile.
    pub(super) fn scores(
        &self,
        inputs: &[Input],
        progress: &ProgressBar,
    ) -> anyhow::Result<(Vec<f32>, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut scores, mut version) = (Vec::with_capacity(inputs.len()), None);
        let (mut rest, mut size) = (inputs, TEXTS);
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(size.min(rest.len()));
            match runtime.block_on(self.ask(chunk))? {
                Outcome::Scored(batch) => {
                    let lacking = "an answer lacks scores";
                    ensure!(
                        batch.reward_scores.len() == chunk.len(),
                        "{}: {lacking}",
                        self.url
                    );
                    let first = version.get_or_insert_with(|| batch.model_version.clone());
                    ensure!(
                        *first == batch.model_version,
                        "{} changed its model from {first} to {} meanwhile: try again",
                        self.url,
                        batch.model_version
                    );
                    scores.extend(batch.reward_scores);
                    progress.inc(chunk.len() as u64);
                    rest = later;
                }
                Outcome::TooMuch(why) => {
                    size = chunk.len() / 2;
                    progress.suspend(|| {
                        eprintln!(
                            "{} answers {why}: going on with {size} texts at once",
                            self.url
                        );
                    });
                }
            }
        }
        Ok((scores, version.unwrap_or_default()))
    }

    /// Asks until there is an answer that says something.
    async fn ask(&self, inputs: &[Input]) -> anyhow::Result<Outcome> {
        let url = &self.url;
        let body = body(inputs)?;
        let mut pause = Duration::from_millis(250);
        for attempt in 1..=TRIES {
            let mut request = self
                .client
                .post(format!("{url}/predict/batch"))
                .header("content-type", "application/json")
                .body(body.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let why = match request.send().await {
                Ok(response) if response.status().is_success() => {
                    let bytes = response.bytes().await.with_context(|| url.to_owned())?;
                    let batch = serde_json::from_slice(&bytes).with_context(|| {
                        format!("{url} does not answer as a scoring server does")
                    })?;
                    return Ok(Outcome::Scored(batch));
                }
                Ok(response) => {
                    let status = response.status();
                    let said = response.text().await.unwrap_or_default();
                    let less = inputs.len() > 1 && is_too_much(status, &said);
                    if less {
                        return Ok(Outcome::TooMuch(status.to_string()));
                    }
                    if !matches!(status.as_u16(), 429 | 502..=504) {
                        bail!("{url} answers {status}: {said}");
                    }
                    status.to_string()
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
}

/// Whether fewer texts may be taken: a body that is too large, a list that is too long (a text that is
/// wrong is named by its index), or too little time for all of them.
fn is_too_much(status: StatusCode, said: &str) -> bool {
    let names_one = || {
        let refusal: Refusal = serde_json::from_str(said).unwrap_or_default();
        refusal.index.is_some()
    };
    match status {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::GATEWAY_TIMEOUT => true,
        StatusCode::UNPROCESSABLE_ENTITY => !names_one(),
        _ => false,
    }
}

fn body(inputs: &[Input]) -> anyhow::Result<Vec<u8>> {
    let (mut texts, mut contexts) = (Vec::new(), Vec::new());
    for input in inputs {
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
    let body = json!({"texts": texts, "contexts": contexts, "raw_scores": true});
    Ok(serde_json::to_vec(&body)?)
}
