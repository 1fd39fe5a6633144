//! What every source of scores is: the trait [`Scorer`], its request and its answer; how answers are
//! judged ([`evaluation`]) and what confidence they have ([`calibration`]).
//!
//! Owns what is asked and what is answered. It must not know of a model, an engine, a runtime or HTTP,
//! so that scores may come from another process as well as from here. Invariants: an answer says by
//! whom it was given; a score that is no number is a value here, and an error only where it is shown.

pub mod calibration;
mod deadline;
mod description;
pub mod evaluation;
mod inputs;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use inference_api::InputOptions;

pub use calibration::Calibration;
pub use deadline::Deadline;
pub use description::{Activation, Backbone, Description};
pub use inputs::Inputs;

/// What is to be scored, by when, and for whom.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The inputs, in the order of the answer.
    pub inputs: Inputs,
    /// How they are turned into tokens.
    pub options: InputOptions,
    /// When the answer is of no use any more.
    pub deadline: Deadline,
    /// Whether it is a part of a long request: others come first where both want a core.
    pub bulk: bool,
    /// Where it comes from. All parts of a long request have the same.
    pub origin: Arc<Origin>,
}

/// Where a request comes from: what decides who scores it, and what it is found by in logs and traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What requests that belong together have in common, such as a user or a prompt: chosen once,
    /// before a long request is split.
    pub key: String,
    /// The revision that has to answer; any where absent.
    pub pin: Option<String>,
    /// Whether it measures, and does not use, what serves: it goes to the stable revision, unless it is
    /// pinned.
    pub measures: bool,
    /// The request's id.
    pub id: String,
    /// The W3C `traceparent` of the span that scoring belongs to.
    pub trace: Option<String>,
    /// What of it decides whether an experiment is on it; `None` where nobody asked for it.
    pub trial: Option<Trial>,
}

/// What of a request decides which arm of an experiment is its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// The user's key; `None` where the request has none.
    pub user: Option<String>,
    /// The headers that were asked for, and that it has, with their values.
    pub headers: Vec<(String, String)>,
}

/// Where that is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The user's key; nowhere where this is `None`.
    pub user: Option<UserKey>,
    /// Headers, in lower case.
    pub headers: Vec<String>,
}

/// Where a request's user key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserKey {
    /// In a header.
    Header(String),
    /// In a claim of the token.
    JwtClaim(String),
    /// In the body, by a JSON pointer.
    JsonPointer(String),
}

/// The score of one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Raw logits of all labels. They may not be finite.
    pub logits: Vec<f32>,
    /// Tokens that were scored.
    pub tokens: usize,
    /// Whether the input was cut.
    pub truncated: bool,
}

impl Score {
    /// Whether all logits are numbers.
    pub fn is_finite(&self) -> bool {
        self.logits.iter().all(|logit| logit.is_finite())
    }
}

/// The scores of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One for each input, in its order.
    pub scores: Vec<Score>,
    /// Who gave them.
    pub by: Arc<Description>,
    /// How many of them were remembered and not computed.
    pub hits: usize,
    /// Where the time went.
    pub timings: Timings,
    /// The arm of an experiment that the request is in.
    pub variant: Option<Arc<str>>,
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

impl Scores {
    /// The logit that is the score, of each input; no number where there is none.
    pub fn rewards(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.scores
            .iter()
            .map(|score| f64::from(self.by.own(&score.logits)))
    }

    /// Adds those of the next part of one request. Says whether one model gave both; where it did not,
    /// nothing is added: they are no answer together.
    #[must_use]
    pub fn extend(&mut self, part: Self) -> bool {
        let (by, other) = (&self.by, &part.by);
        let is_one = by.revision == other.revision
            && by.digest == other.digest
            && (by.label, by.native) == (other.label, other.native);
        if !is_one {
            return false;
        }
        self.scores.extend(part.scores);
        self.hits += part.hits;
        self.timings.cached &= part.timings.cached;
        self.timings.tokenise += part.timings.tokenise;
        self.timings.queue += part.timings.queue;
        self.timings.inference += part.timings.inference;
        true
    }
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
    #[error(
        "the request was not scored within its time: try again, or raise --timeout (of a RewardModel: traffic.timeout)"
    )]
    Late,
    /// The engine failed.
    #[error("the engine failed")]
    Engine {
        /// At which input, where that is known.
        index: Option<usize>,
    },
    /// No model is loaded, or it cannot be worked on for a while.
    #[error("no model can be asked now: try again")]
    NotReady,
    /// The request is pinned to a revision that is not served here.
    #[error(
        "the revision that the request is pinned to is not served here: see the resource's status"
    )]
    UnknownRevision,
}

impl ScoreError {
    /// The same, with the place of its input among more of them.
    #[must_use]
    pub fn moved(self, place: impl FnOnce(usize) -> usize) -> Self {
        match self {
            Self::Input {
                index,
                message,
                too_long,
            } => Self::Input {
                index: place(index),
                message,
                too_long,
            },
            Self::Engine { index } => Self::Engine {
                index: index.map(place),
            },
            Self::Overloaded | Self::Late | Self::NotReady | Self::UnknownRevision => self,
        }
    }
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

    /// Whether it asks in turns ([`Inputs::turns`]) what is too much at once, so that it is given a
    /// request whole. One that may have it answered by several models has to: only it can see to it that
    /// one of them answers all of a request.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Whether so many requests wait that one more would be [`ScoreError::Overloaded`] at once.
    fn is_full(&self) -> bool {
        false
    }

    /// Tokens that wait for the engine, where they wait in this process.
    fn queued_tokens(&self) -> usize {
        0
    }

    /// Whether it knows all that it needs to answer.
    fn is_ready(&self) -> bool {
        true
    }

    /// Where a request's user key is, which decides who scores it; the prompt does where this is `None`.
    fn user_key(&self) -> Option<UserKey> {
        None
    }

    /// What of a request decides which arm of an experiment is its own; `None` where there is none.
    fn wanted(&self) -> Option<Arc<Wanted>> {
        None
    }
}
