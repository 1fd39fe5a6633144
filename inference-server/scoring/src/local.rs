//! The engine of this process as a [`Scorer`].
//!
//! Owns admission: how many requests are worked on, how many tokens may wait for the engine, and
//! that what cannot be admitted is told so. Tokens are made on the runtime's blocking threads.

use std::sync::Arc;
use std::time::Instant;

use inference_api::{Input, InputOptions, Side};
use inference_models::{ChatMessage, EncodeOptions, Encoded, Model, TextInput, Truncation};

use crate::cache::{CachedQueue, Scope, Store};
use crate::lanes::Lanes;
use crate::queue::Computed;
use crate::room::Room;
use crate::{Observer, Score, ScoreError, ScoreRequest, Scorer, Scores, Timings};

/// How many batches' worth of tokens may be in the queue.
const QUEUED_BATCHES: usize = 8;
/// Tokens that the CPU engine is given at once. It computes one sequence after the other, so that a
/// larger batch only makes its first sequence wait for its last.
const CPU_BATCH_TOKENS: usize = 1_024;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tokens of one batch.
    pub max_batch_tokens: usize,
    /// Requests that are worked on.
    pub max_concurrent_requests: usize,
}

/// The engine of this process.
#[derive(Debug)]
pub struct LocalScorer {
    model: Arc<Model>,
    lanes: Arc<Lanes>,
    cache: Option<CachedQueue>,
    requests: Room,
}

impl LocalScorer {
    /// Starts the engine's threads.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(
        model: Arc<Model>,
        settings: Settings,
        cache: Option<(Arc<Store>, Scope)>,
        observer: Arc<dyn Observer>,
    ) -> std::io::Result<Self> {
        let requests = Room::new(settings.max_concurrent_requests);
        let room = settings.max_batch_tokens.saturating_mul(QUEUED_BATCHES);
        let batch = settings.max_batch_tokens.min(CPU_BATCH_TOKENS);
        let lanes = Lanes::start(&model.engine, batch, room, &requests, &observer)?;
        let lanes = Arc::new(lanes);
        Ok(Self {
            model,
            cache: cache.map(|(store, scope)| CachedQueue::new(lanes.clone(), store, scope)),
            lanes,
            requests,
        })
    }

    /// The model that is served.
    pub fn model(&self) -> &Model {
        &self.model
    }

    async fn encode(
        &self,
        inputs: Vec<Input>,
        options: InputOptions,
    ) -> Result<Vec<Encoded>, ScoreError> {
        let model = self.model.clone();
        let options = encode_options(options);
        let encode = move || {
            let encode = |(index, input)| {
                let input = text_input(input);
                let encoded = model.tokenizer.encode(&input, options);
                encoded.map_err(|error| ScoreError::Input {
                    index,
                    message: error.to_string(),
                })
            };
            inputs.into_iter().enumerate().map(encode).collect()
        };
        tokio::task::spawn_blocking(encode)
            .await
            .map_err(|_| ScoreError::Engine)?
    }
}

/// The same input in the words of the model.
pub fn text_input(input: Input) -> TextInput {
    match input {
        Input::Text(text) => TextInput::Text(text),
        Input::Pair(first, second) => TextInput::Pair(first, second),
        Input::Conversation { prompt, response } => TextInput::Conversation { prompt, response },
        Input::Messages(messages) => {
            let turn = |message: inference_api::Message| ChatMessage {
                role: message.role,
                content: message.content,
            };
            TextInput::Messages(messages.into_iter().map(turn).collect())
        }
    }
}

fn encode_options(options: InputOptions) -> EncodeOptions {
    EncodeOptions {
        add_special_tokens: options.add_special_tokens,
        max_tokens: options.max_tokens,
        truncation: options.truncation.map(|side| match side {
            Side::Left => Truncation::Left,
            Side::Right => Truncation::Right,
            Side::Reject => Truncation::Reject,
        }),
    }
}

impl Scorer for LocalScorer {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let arrived = Instant::now();
        let _request = self.requests.enter(1, request.deadline).await?;
        self.lanes.in_time(&request.inputs, request.deadline)?;
        let admitted = Instant::now();
        let sequences = self.encode(request.inputs, request.options).await?;
        let tokenised = Instant::now();
        let shapes: Vec<_> = sequences
            .iter()
            .map(|s| (s.ids.len(), s.truncated))
            .collect();
        let (computed, hits) = match &self.cache {
            Some(cache) => cache.compute(sequences, request.deadline).await?,
            None => (self.lanes.compute(sequences, request.deadline).await?, 0),
        };
        let Computed {
            logits,
            waited,
            inference,
        } = computed;
        if logits.iter().flatten().any(|value| !value.is_finite()) {
            return Err(ScoreError::NotFinite);
        }
        let cached = hits == logits.len();
        let score = |(logits, (tokens, truncated))| Score {
            logits,
            tokens,
            truncated,
        };
        Ok(Scores {
            scores: logits.into_iter().zip(shapes).map(score).collect(),
            hits,
            timings: Timings {
                tokenise: tokenised - admitted,
                queue: (admitted - arrived) + waited,
                inference,
                cached,
            },
        })
    }

    fn is_full(&self) -> bool {
        self.requests.is_full()
    }

    fn queued_tokens(&self) -> usize {
        self.lanes.tokens()
    }
}
