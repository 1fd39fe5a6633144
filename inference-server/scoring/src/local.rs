//! The engine of this process as a [`Scorer`].
//!
//! Owns the threads: tokenising on the runtime's blocking threads, one thread for the engine. While
//! the engine computes, the next batch gathers in the queue; no timer holds a request back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inference_api::{Input, InputOptions, Side};
use inference_models::{
    ChatMessage, EncodeOptions, Encoded, Engine, Model, Packed, TextInput, Truncation,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::scheduler::{Batch, Entry, Scheduler};
use crate::{Score, ScoreError, ScoreRequest, Scorer, Scores, Timings};

/// Requests that may wait for room before more are turned away at once.
const MAX_WAITERS: usize = 2_048;
/// How many batches' worth of tokens may be in the queue.
const QUEUED_BATCHES: usize = 8;

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
    queue: Arc<Queue>,
    requests: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
    token_room: usize,
    waiters: AtomicUsize,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler<Job>,
    closed: bool,
}

/// All sequences of one request: they are scored in one batch.
#[derive(Debug)]
struct Job {
    sequences: Vec<Encoded>,
    queued: Instant,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<(Vec<Vec<f32>>, Duration, Duration), ScoreError>;

impl LocalScorer {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(model: Arc<Model>, settings: Settings) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::new(State {
                scheduler: Scheduler::new(settings.max_batch_tokens),
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let (engine, work) = (model.clone(), queue.clone());
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || work.run(engine.engine.as_ref()))?;
        let token_room = settings.max_batch_tokens.saturating_mul(QUEUED_BATCHES);
        let token_room = token_room.clamp(1, u32::MAX as usize >> 3);
        Ok(Self {
            model,
            queue,
            requests: Arc::new(Semaphore::new(settings.max_concurrent_requests.max(1))),
            tokens: Arc::new(Semaphore::new(token_room)),
            token_room,
            waiters: AtomicUsize::new(0),
        })
    }

    /// The model that is served.
    pub fn model(&self) -> &Model {
        &self.model
    }

    async fn room(
        &self,
        semaphore: &Arc<Semaphore>,
        count: u32,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, ScoreError> {
        if let Ok(permit) = semaphore.clone().try_acquire_many_owned(count) {
            return Ok(permit);
        }
        let waiter = Waiter::enter(&self.waiters)?;
        let permit = semaphore.clone().acquire_many_owned(count);
        let permit = tokio::time::timeout_at(deadline.into(), permit).await;
        drop(waiter);
        permit
            .ok()
            .and_then(Result::ok)
            .ok_or(ScoreError::Overloaded)
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

/// Counts those who wait, until it is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn enter(count: &'a AtomicUsize) -> Result<Self, ScoreError> {
        let waiter = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) < MAX_WAITERS {
            Ok(waiter)
        } else {
            Err(ScoreError::Overloaded)
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scorer for LocalScorer {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let arrived = Instant::now();
        let _request = self.room(&self.requests, 1, request.deadline).await?;
        let admitted = Instant::now();
        let sequences = self.encode(request.inputs, request.options).await?;
        let tokenised = Instant::now();
        let shapes: Vec<_> = sequences
            .iter()
            .map(|s| (s.ids.len(), s.truncated))
            .collect();
        let count: usize = shapes.iter().map(|(tokens, _)| tokens).sum();
        // What is larger than the whole room takes all of it, and so runs alone.
        let room = u32::try_from(count.min(self.token_room)).unwrap_or(u32::MAX);
        let _tokens = self.room(&self.tokens, room, request.deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = Job {
            sequences,
            queued: Instant::now(),
            answer,
        };
        self.queue.push(Entry {
            tokens: count,
            deadline: request.deadline,
            payload: job,
        });
        let (logits, waited, inference) =
            match tokio::time::timeout_at(request.deadline.into(), answered).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) => return Err(ScoreError::Engine),
                Err(_) => return Err(ScoreError::Late),
            };
        if logits.iter().flatten().any(|value| !value.is_finite()) {
            return Err(ScoreError::NotFinite);
        }
        let score = |(logits, (tokens, truncated))| Score {
            logits,
            tokens,
            truncated,
        };
        Ok(Scores {
            scores: logits.into_iter().zip(shapes).map(score).collect(),
            timings: Timings {
                tokenise: tokenised - admitted,
                queue: (admitted - arrived) + waited,
                inference,
            },
        })
    }
}

impl Drop for LocalScorer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Entry<Job>) {
        self.lock().scheduler.push(entry);
        self.changed.notify_one();
    }

    fn run(&self, engine: &dyn Engine) {
        while let Some(batch) = self.next() {
            for job in batch.late {
                // Whoever asked may have left; then there is nobody to tell.
                let _ = job.answer.send(Err(ScoreError::Late));
            }
            if !batch.ready.is_empty() {
                compute(engine, batch.ready);
            }
        }
    }

    /// The next batch; `None` when the scorer is gone.
    fn next(&self) -> Option<Batch<Job>> {
        let mut state = self.lock();
        while state.scheduler.is_empty() {
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(
            state
                .scheduler
                .take(Instant::now(), |job| job.answer.is_closed()),
        )
    }
}

fn compute(engine: &dyn Engine, jobs: Vec<Job>) {
    let began = Instant::now();
    let mut batch = Packed::default();
    for sequence in jobs.iter().flat_map(|job| &job.sequences) {
        batch.push(&sequence.ids, &sequence.type_ids);
    }
    let outcome = engine.forward(&batch);
    let took = began.elapsed();
    let mut logits = match outcome {
        Ok(logits) => logits.into_iter(),
        Err(error) => {
            tracing::error!(target: "model", %error, "a batch failed");
            for job in jobs {
                let _ = job.answer.send(Err(ScoreError::Engine));
            }
            return;
        }
    };
    for job in jobs {
        let own = logits.by_ref().take(job.sequences.len()).collect();
        let _ = job.answer.send(Ok((own, began - job.queued, took)));
    }
}
