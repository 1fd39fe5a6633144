//! A [`Scorer`] over an engine: admission, queue, deadlines, calibration.
//!
//! Owns when a request is scored. It must not know of HTTP, nor of how a model computes. Invariants:
//! a request is answered once, by a score or an error; a batch is admitted whole or not at all;
//! whatever waits is bounded.

pub mod cache;
pub mod calibration;
pub mod evaluation;
mod lanes;
mod local;
mod pace;
mod queue;
mod room;
pub mod scheduler;

use std::time::{Duration, Instant};

use inference_api::{Input, InputOptions};

pub use calibration::Calibration;
pub use local::{LocalScorer, Settings, text_input};

/// What is to be scored, and by when.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The inputs, in the order of the answer.
    pub inputs: Vec<Input>,
    /// How they are turned into tokens.
    pub options: InputOptions,
    /// When the answer is of no use any more.
    pub deadline: Instant,
}

/// The score of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Raw logits of all labels.
    pub logits: Vec<f32>,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Whether the input was cut.
    pub truncated: bool,
}

/// The scores of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One for each input, in its order.
    pub scores: Vec<Score>,
    /// How many of them were remembered and not computed.
    pub hits: usize,
    /// Where the time went.
    pub timings: Timings,
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Text to tokens.
    pub tokenise: Duration,
    /// Waiting for room and for the engine.
    pub queue: Duration,
    /// The forward passes of its batches.
    pub inference: Duration,
    /// Whether all scores were remembered, so that the times say nothing of the model.
    pub cached: bool,
}

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// An input cannot be scored.
    #[error("{message}")]
    Input {
        /// Which one.
        index: usize,
        /// What to do.
        message: String,
        /// Whether it has more tokens than are allowed.
        too_long: bool,
    },
    /// There is no room.
    #[error("the server has no room for the request: try again")]
    Overloaded,
    /// The deadline passed after admission.
    #[error("the request was not scored within its time: try again, or raise --timeout")]
    Late,
    /// The model answered something that is no number.
    #[error("the model's score is not finite")]
    NotFinite,
    /// The engine failed.
    #[error("the engine failed")]
    Engine,
    /// No model is loaded.
    #[error("no model is loaded yet: try again")]
    NotReady,
}

/// Watches the engine's work.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// A batch was computed.
    fn batch(&self, sequences: usize, tokens: usize, took: Duration);
    /// A request's client left before its score was computed.
    fn left(&self);
}

/// What every source of scores does: an engine here, or a revision elsewhere.
pub trait Scorer: Send + Sync + 'static {
    /// Scores a request.
    ///
    /// # Errors
    /// See [`ScoreError`].
    fn score(
        &self,
        request: ScoreRequest,
    ) -> impl Future<Output = Result<Scores, ScoreError>> + Send;

    /// Whether so many requests wait that one more would be [`ScoreError::Overloaded`] at once.
    fn is_full(&self) -> bool {
        false
    }

    /// Tokens that wait for the engine, where they wait in this process.
    fn queued_tokens(&self) -> usize {
        0
    }
}
