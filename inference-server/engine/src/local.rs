//! The engine of this process as a [`Scorer`].
//!
//! Owns admission: how many requests are worked on, how many tokens may wait for the engine, and
//! that what cannot be admitted is told so.

use std::sync::Arc;
use std::time::Instant;

use inference_models::Model;
use inference_scoring::{Description, Score, ScoreError, ScoreRequest, Scorer, Scores, Timings};

use crate::cache::{Front, Scope, Store};
use crate::lanes::Lanes;
use crate::request::Computed;
use crate::room::Room;
use crate::{Observer, Tokeniser};

/// How many batches' worth of tokens may be in the queue.
const QUEUED_BATCHES: usize = 8;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Tokens of one batch, where the engine wants as many.
    pub batch_tokens: usize,
    /// Requests that are worked on.
    pub requests: usize,
}

/// The engine of this process.
#[derive(Debug)]
pub struct LocalScorer {
    description: Arc<Description>,
    tokeniser: Tokeniser,
    lanes: Arc<Lanes>,
    cache: Option<Front>,
    requests: Room,
}

impl LocalScorer {
    /// Starts the engine's threads. What it answers is given by `description`.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(
        model: Arc<Model>,
        description: Arc<Description>,
        capacity: Capacity,
        cache: Option<(Arc<Store>, Scope)>,
        observer: Arc<dyn Observer>,
    ) -> std::io::Result<Self> {
        let requests = Room::new(capacity.requests);
        let room = capacity.batch_tokens.saturating_mul(QUEUED_BATCHES);
        let batch = capacity.batch_tokens.min(model.engine.batch_tokens());
        let lanes = Lanes::start(&model.engine, batch, room, &requests, &observer)?;
        let lanes = Arc::new(lanes);
        Ok(Self {
            description,
            tokeniser: Tokeniser::new(model),
            cache: cache.map(|(store, scope)| Front::new(lanes.clone(), store, scope)),
            lanes,
            requests,
        })
    }

    /// What turns its texts into tokens; a clone waits for the same turns.
    pub fn tokeniser(&self) -> &Tokeniser {
        &self.tokeniser
    }
}

impl Scorer for LocalScorer {
    async fn score(&self, request: ScoreRequest) -> Result<Scores, ScoreError> {
        let ScoreRequest {
            inputs,
            options,
            deadline,
            bulk,
            origin,
        } = request;
        let arrived = Instant::now();
        let _request = self.requests.enter(1, deadline.from(arrived)).await?;
        let admitted = Instant::now();
        let until = deadline.from(admitted);
        if !bulk {
            self.lanes.in_time(inputs.as_slice(), until)?;
        }
        let sequences = self.tokeniser.encode(inputs, options, until).await?;
        let tokenised = Instant::now();
        let shapes: Vec<_> = sequences
            .iter()
            .map(|s| (s.ids.len(), s.truncated))
            .collect();
        let (computed, hits) = match &self.cache {
            Some(cache) => cache.compute(sequences, deadline, bulk).await?,
            None => (self.lanes.compute(sequences, deadline, bulk).await?, 0),
        };
        let Computed {
            logits,
            waited,
            inference,
        } = computed;
        tracing::trace!(target: "model", request = origin.id, sequences = logits.len(), hits, "scored");
        let cached = hits == logits.len();
        let score = |(logits, (tokens, truncated))| Score {
            logits,
            tokens,
            truncated,
        };
        Ok(Scores {
            scores: logits.into_iter().zip(shapes).map(score).collect(),
            by: self.description.clone(),
            hits,
            timings: Timings {
                tokenise: tokenised - admitted,
                queue: (admitted - arrived) + waited,
                inference,
                cached,
            },
            variant: None,
        })
    }

    fn is_full(&self) -> bool {
        self.requests.is_full()
    }

    fn queued_tokens(&self) -> usize {
        self.lanes.tokens()
    }
}
